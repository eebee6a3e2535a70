package admission

import (
	"bytes"
	"cmp"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// asked are the default limits.
var asked = Wanted{Tunnels: 20000, PerFunction: 5000, PreAuth: 4096}

// Whatever the limits and the descriptors are, all that clients can bring the
// server to hold leaves a reserve, and nothing of it is zero.
func TestWhatClientsCanHoldFitsTheDescriptorsWithAReserve(t *testing.T) {
	for _, tunnels := range []int{1, 10, 100, 400, 1000, 20000, 30000} {
		fitsWithAReserve(t, Wanted{Tunnels: tunnels, PerFunction: max(tunnels/4, 1), PreAuth: asked.PreAuth})
	}
}

func fitsWithAReserve(t *testing.T, asked Wanted) {
	t.Helper()
	for _, files := range []int{1, 16, 64, 128, 256, 257, 512, 1024, 1500, 4096, 20000, 65535, 1 << 20, 1 << 30} {
		r := Fit(asked, files, 0)
		for name, n := range map[string]int{
			"seats": r.Connections, "unidentified": r.PreAuth, "tunnels": r.Tunnels, "tunnels of a function": r.PerFunction,
			"kept": r.KeepAlive, "pooled": r.Pooled, "pipes": r.Pipes, "beside": r.ExtraDials,
		} {
			if n < 1 {
				t.Errorf("%d descriptors for %d tunnels: %s is %d", files, asked.Tunnels, name, n)
			}
		}
		if files < 128 {
			continue // too few to serve anyone and keep a reserve
		}
		most := r.Connections + r.Tunnels + r.Pooled + 2*r.Pipes + r.ExtraDials
		if spare := files - most; spare < files/64 || spare < leastReserve {
			t.Errorf("%d descriptors: clients can hold %d, which leaves %d", files, most, spare)
		}
		if r.Connections < r.PreAuth+r.Tunnels+r.KeepAlive {
			t.Errorf("%d descriptors: %d seats for %d unidentified, %d tunnels and %d kept", files, r.Connections, r.PreAuth, r.Tunnels, r.KeepAlive)
		}
	}
}

// The descriptors of a Fargate task take the default limits whole.
func TestDefaultLimitsFitTheDescriptorsOfATask(t *testing.T) {
	var log bytes.Buffer
	r := Fit(asked, 65535, 1<<30)
	r.WarnIfCut(asked, asked, slog.New(slog.NewJSONHandler(&log, nil)))
	if r.Tunnels != asked.Tunnels || r.PreAuth != asked.PreAuth || log.Len() > 0 {
		t.Errorf("%+v, %s", r, &log)
	}
}

// Where the whole is cut so is the part of it that one caller may have, or that part
// would be the whole: one function would take every tunnel there is.
func TestEachLimitIsCutInProportion(t *testing.T) {
	for _, files := range []int{256, 1024, 20000, 65535} {
		for _, per := range []int{1, 100, 5000, 10000, 20000} {
			w := Wanted{Tunnels: 20000, PerFunction: per, PreAuth: 4096}
			r := Fit(w, files, 0)
			switch {
			case r.PerFunction < 1 || r.PerFunction > r.Tunnels:
				t.Errorf("%d descriptors: %d of %d tunnels are one function's", files, r.PerFunction, r.Tunnels)
			case r.PerFunction > 1 && r.PerFunction*w.Tunnels > per*r.Tunnels:
				t.Errorf("%d descriptors: one function has %d of %d tunnels, which is more than %d of %d", files, r.PerFunction, r.Tunnels, per, w.Tunnels)
			case r.Tunnels == w.Tunnels && r.PerFunction != per:
				t.Errorf("%d descriptors: a function has %d of %d though the tunnels are whole", files, r.PerFunction, per)
			}
			if most := r.Connections + r.Tunnels + r.Pooled + 2*r.Pipes + r.ExtraDials; most > files-leastReserve {
				t.Errorf("%d descriptors: clients can hold %d", files, most)
			}
		}
	}
}

// A machine that has not the descriptors for the defaults is not at fault: nobody
// asked for that many.
func TestLimitsThatAreCutAreTold(t *testing.T) {
	for _, row := range []struct {
		asked  Wanted
		files  int
		memory uint64
		want   string
	}{
		{Wanted{}, 256, 0, `"level":"INFO"`},
		{Wanted{}, 0, 256 << 20, `"level":"INFO"`},
		{Wanted{Tunnels: 10}, 4096, 0, `"level":"INFO"`},
		{Wanted{Tunnels: 10000}, 1024, 0, `"level":"WARN"`},
		{Wanted{PreAuth: 4096}, 1024, 0, `"level":"WARN"`},
		{Wanted{PerFunction: 5000}, 1024, 0, `"level":"WARN"`},
		{asked, 256, 0, `"tunnels":20000,"tunnels_cut_to":73,"tunnels_per_function":5000,"tunnels_per_function_cut_to":18,"unidentified":4096,"unidentified_cut_to":24,"kept_alive":8192,"kept_alive_cut_to":6,"pooled":1024,"pooled_cut_to":6,"pipes":128,"pipes_cut_to":3,"extra_dials":1024,"extra_dials_cut_to":3}`},
		{asked, 0, 256 << 20, `"tunnels":20000,"tunnels_cut_to":20000,"tunnels_per_function":5000,"tunnels_per_function_cut_to":5000,"unidentified":4096,"unidentified_cut_to":1024}`},
		{asked, 1024, 0, `"tunnels_cut_to":`},
	} {
		var log bytes.Buffer
		wanted := Wanted{Tunnels: cmp.Or(row.asked.Tunnels, asked.Tunnels), PerFunction: cmp.Or(row.asked.PerFunction, asked.PerFunction), PreAuth: cmp.Or(row.asked.PreAuth, asked.PreAuth)}
		Fit(wanted, row.files, row.memory).WarnIfCut(row.asked, wanted, slog.New(slog.NewJSONHandler(&log, nil)))
		if !strings.Contains(log.String(), row.want) {
			t.Errorf("%d descriptors, %d bytes: logged %q, want %s", row.files, row.memory, &log, row.want)
		}
	}
}

// The state changes at 70 and at 65 per cent and nowhere between, so that a proxy
// at the edge does not refuse every other request.
func TestMemoryIsShortFromOneMarkDownToAnother(t *testing.T) {
	var used, limit uint64 = 0, 1000
	m := Memory{Measure: func(uint64) (uint64, uint64) { return used, limit }}
	for _, row := range []struct {
		used uint64
		want bool
	}{{0, false}, {699, false}, {700, true}, {690, true}, {650, true}, {649, false}, {699, false}, {1200, true}, {0, false}} {
		used = row.used
		m.Look()
		if got := m.Short(); got != row.want {
			t.Errorf("at %d of %d: short %v, want %v", row.used, limit, got, row.want)
		}
	}
	used, limit = 1<<40, 0
	if m.Look(); m.Short() {
		t.Error("short of memory that has no limit")
	}
}

// In between the clock's looks so many requests may come as to fill what is left.
func TestMemoryIsLookedAtByTheNumberOfRequestsToo(t *testing.T) {
	looks := 0
	m := Memory{Measure: func(uint64) (uint64, uint64) { looks++; return 0, 1000 }}
	for range 10 * lookEvery {
		m.Short()
	}
	if looks != 10 {
		t.Errorf("looked %d times with %d requests", looks, 10*lookEvery)
	}
	if (&Memory{}).Short() {
		t.Error("short where nobody looks")
	}
}

// nobody is a connection that evicts itself by doing nothing.
type nobody struct{ entry PreAuthEntry }

func (*nobody) Evict() {}

// Two goroutines settle between them whether a connection that has lost its place
// spoke first or was evicted first, and neither does the other's part.
func TestConnectionThatLosesItsPlaceSpeaksOrIsEvicted(t *testing.T) {
	var l PreAuthLimiter
	var c Excess
	l.Init(1, &c)
	from := netip.MustParseAddr("127.0.0.1")
	lost := func() *PreAuthEntry {
		var out Evictable
		for out == nil {
			c := &nobody{}
			out = l.Add(&c.entry, c, from)
		}
		return &out.(*nobody).entry
	}
	speaks := lost()
	if !l.Remove(speaks) || l.Evict(speaks, from) {
		t.Error("what has spoken is evicted")
	}
	silent := lost()
	if !l.Evict(silent, from) || l.Remove(silent) || l.Evict(silent, from) {
		t.Error("what has been evicted speaks, or is evicted twice")
	}
	if got := c.Report(time.Now()); len(got) != 1 || got[0] != (Exceeded{RowUnidentified, 1, Caller{Source: from}}) {
		t.Errorf("reported: %v", got)
	}
}

// What a connection pays for its place, its source's list and a dial for its bounds:
// beside some thirty system calls. The clock's part and contention are left out.
func BenchmarkAdmission(b *testing.B) {
	conns := NewConnections(16, 16)
	var l PreAuthLimiter
	l.Init(16, nil)
	var m Memory
	var d DialLimiter
	d.Init(1024, nil)
	key := DialKey{Usage: &Usage{}}
	c := &nobody{}
	done := make(chan struct{})
	from := netip.MustParseAddr("127.0.0.1")
	b.ReportAllocs()
	for b.Loop() {
		conns.Acquire(done)
		l.Add(&c.entry, c, from)
		l.Remove(&c.entry)
		conns.ReleasePreAuth()
		_ = m.Short()
		_ = d.Begin(key)
		d.End(key)
		conns.Release()
	}
}
