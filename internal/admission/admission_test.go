package admission

import (
	"net/netip"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/fair"
)

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
	if !l.Remove(speaks) || l.Evict(speaks) {
		t.Error("what has spoken is evicted")
	}
	silent := lost()
	if !l.Evict(silent) || l.Remove(silent) || l.Evict(silent) {
		t.Error("what has been evicted speaks, or is evicted twice")
	}
	if got := c.Report(time.Now()); len(got) != 1 || got[0] != (Exceeded{RowUnidentified, 1, fair.Caller{Source: from}}) {
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
