package proxy

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
)

// Whatever the limits and the descriptors are, all that clients can bring the
// server to hold leaves a reserve, and nothing of it is zero.
func TestWhatClientsCanHoldFitsTheDescriptorsWithAReserve(t *testing.T) {
	for _, tunnels := range []int{0, 1, 10, 100, 400, 1000, 30000} {
		fitsWithAReserve(t, Limits{Tunnels: tunnels}.withDefaults())
	}
}

func fitsWithAReserve(t *testing.T, asked Limits) {
	t.Helper()
	for _, files := range []int{1, 16, 64, 128, 256, 257, 512, 1024, 1500, 4096, 20000, 65535, 1 << 20, 1 << 30} {
		r := newRoom(asked, files, 0)
		for name, n := range map[string]int{
			"seats": r.seats, "unidentified": r.unidentified, "tunnels": r.tunnels,
			"kept": r.kept, "pooled": r.pooled, "pipes": r.pipes, "beside": r.beside,
		} {
			if n < 1 {
				t.Errorf("%d descriptors for %d tunnels: %s is %d", files, asked.Tunnels, name, n)
			}
		}
		if files < 128 {
			continue // too few to serve anyone and keep a reserve
		}
		most := r.seats + r.tunnels + r.pooled + 2*r.pipes + r.beside
		if spare := files - most; spare < files/64 || spare < leastReserve {
			t.Errorf("%d descriptors: clients can hold %d, which leaves %d", files, most, spare)
		}
		if r.seats < r.unidentified+r.tunnels+r.kept {
			t.Errorf("%d descriptors: %d seats for %d unidentified, %d tunnels and %d kept", files, r.seats, r.unidentified, r.tunnels, r.kept)
		}
	}
}

// The descriptors of a Fargate task take the default limits whole.
func TestDefaultLimitsFitTheDescriptorsOfATask(t *testing.T) {
	asked := Limits{}.withDefaults()
	var log bytes.Buffer
	r := newRoom(asked, 65535, 1<<30)
	r.tell(asked, slog.New(slog.NewJSONHandler(&log, nil)))
	if r.tunnels != asked.Tunnels || r.unidentified != asked.Unidentified || log.Len() > 0 {
		t.Errorf("%+v, %s", r, &log)
	}
}

// A machine that has not the descriptors for the defaults is not at fault: nobody
// asked for that many.
func TestLimitsThatAreCutAreTold(t *testing.T) {
	asked := Limits{}.withDefaults()
	for _, row := range []struct {
		asked  Limits
		files  int
		memory uint64
		want   string
	}{
		{Limits{}, 256, 0, `"level":"INFO"`},
		{Limits{}, 0, 256 << 20, `"level":"INFO"`},
		{Limits{Tunnels: 10}, 4096, 0, `"level":"INFO"`},
		{Limits{Tunnels: 10000}, 1024, 0, `"level":"WARN"`},
		{Limits{Unidentified: 4096}, 1024, 0, `"level":"WARN"`},
		{asked, 256, 0, `"tunnels":20000,"tunnels_cut_to":73,"unidentified":4096,"unidentified_cut_to":24`},
		{asked, 0, 256 << 20, `"tunnels":20000,"tunnels_cut_to":20000,"unidentified":4096,"unidentified_cut_to":1024`},
		{asked, 1024, 0, `"tunnels_cut_to":`},
	} {
		var log bytes.Buffer
		newRoom(row.asked.withDefaults(), row.files, row.memory).tell(row.asked, slog.New(slog.NewJSONHandler(&log, nil)))
		if !strings.Contains(log.String(), row.want) {
			t.Errorf("%d descriptors, %d bytes: logged %q, want %s", row.files, row.memory, &log, row.want)
		}
	}
}

// The state changes at 70 and at 65 per cent and nowhere between, so that a proxy
// at the edge does not refuse every other request.
func TestMemoryIsShortFromOneMarkDownToAnother(t *testing.T) {
	var used, limit uint64 = 0, 1000
	m := memory{measure: func() (uint64, uint64) { return used, limit }}
	for _, row := range []struct {
		used uint64
		want bool
	}{{0, false}, {699, false}, {700, true}, {690, true}, {650, true}, {649, false}, {699, false}, {1200, true}, {0, false}} {
		used = row.used
		m.look()
		if got := m.short(); got != row.want {
			t.Errorf("at %d of %d: short %v, want %v", row.used, limit, got, row.want)
		}
	}
	used, limit = 1<<40, 0
	if m.look(); m.short() {
		t.Error("short of memory that has no limit")
	}
}

// In between the clock's looks so many requests may come as to fill what is left.
func TestMemoryIsLookedAtByTheNumberOfRequestsToo(t *testing.T) {
	looks := 0
	m := memory{measure: func() (uint64, uint64) { looks++; return 0, 1000 }}
	for range 10 * lookEvery {
		m.short()
	}
	if looks != 10 {
		t.Errorf("looked %d times with %d requests", looks, 10*lookEvery)
	}
	if (&memory{}).short() {
		t.Error("short where nobody looks")
	}
}

// Two goroutines settle between them whether a connection that has lost its place
// spoke first or was put out first, and neither does the other's part.
func TestConnectionThatLosesItsPlaceSpeaksOrIsPutOut(t *testing.T) {
	var w crowd
	w.init(1)
	lost := func() *conn {
		var out *conn
		for out == nil {
			out = w.enter(&conn{client: netip.MustParseAddrPort("127.0.0.1:1")})
		}
		return out
	}
	speaks := lost()
	if !w.leave(speaks) || w.putOut(speaks) {
		t.Error("what has spoken is put out")
	}
	silent := lost()
	if !w.putOut(silent) || w.leave(silent) || w.putOut(silent) {
		t.Error("what has been put out speaks, or is put out twice")
	}
	if n, from := w.tally(); n != 1 || from != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("%d were put out, of %v", n, from)
	}
}

// What a connection pays for its seat, its place and its source's list, and a
// dial for its bounds: beside some thirty system calls. The clock's part and
// contention are left out.
func BenchmarkAdmission(b *testing.B) {
	s := New(Options{Files: -1})
	a := s.metrics.newAccount("billing")
	key := dialKey{account: a}
	b.ReportAllocs()
	c := &conn{server: s}
	for b.Loop() {
		s.sit()
		c.unidentified = true
		c.joinCrowd()
		c.identified()
		_ = s.memory.short()
		_ = s.dialing.begin(key)
		s.dialing.end(key)
		<-s.seats
	}
}
