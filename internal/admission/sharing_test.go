package admission

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/fair"
)

// silent is a connection that says nothing until it is told to go.
type silent struct {
	entry PreAuthEntry
	limit *PreAuthLimiter
	conns *Connections
	from  netip.Addr
	gone  bool
}

// Evict implements Evictable.
func (c *silent) Evict() {
	if c.limit.Evict(&c.entry) {
		c.gone = true
		c.limit.Remove(&c.entry)
		c.conns.ReleasePreAuth()
		c.conns.Release()
	}
}

// comes is what a server does for a connection that says nothing yet.
func (c *silent) comes(t *testing.T) bool {
	t.Helper()
	if !c.conns.TryAcquire() {
		return false
	}
	c.conns.MakeRoom()
	if out := c.limit.Add(&c.entry, c, c.from); out != nil {
		out.Evict()
	}
	return true
}

// However many sources take what they can, one more gets in at once, and stays until it
// speaks while as many others come as there are places for each that holds as much.
func TestSourcesTogetherKeepNobodyOut(t *testing.T) {
	synctest.Test(t, testSourcesTogetherKeepNobodyOut)
}

func testSourcesTogetherKeepNobodyOut(t *testing.T) {
	const places = 64
	for _, sources := range []int{1, 3, 4, 5, 16, 56, 200} {
		var l PreAuthLimiter
		var excess Excess
		l.Init(places, &excess)
		conns := NewConnections(1000, places)
		conns.Limiter = &l
		attack := func(n int) {
			for i := range n {
				c := &silent{limit: &l, conns: conns, from: netip.AddrFrom4([4]byte{10, 0, byte(i % sources >> 8), byte(i % sources)})}
				if !c.comes(t) {
					t.Fatalf("%d sources: no place", sources)
				}
				time.Sleep(Grace)
			}
		}
		attack(10 * places)
		for range 20 {
			honest := &silent{limit: &l, conns: conns, from: netip.MustParseAddr("192.0.2.1")}
			if !honest.comes(t) {
				t.Fatalf("%d sources: a newcomer has to wait", sources)
			}
			others := 10 * places // while the attackers have more than one each
			if sources > places/2 {
				others = places / 2
			}
			attack(others)
			if honest.gone || !l.Remove(&honest.entry) {
				t.Fatalf("%d sources: whoever has least was put out", sources)
			}
			conns.ReleasePreAuth()
			conns.Release()
		}
		got := excess.Report(time.Now())
		if len(got) != 1 || got[0].Row != RowUnidentified || got[0].Caller.Source == netip.MustParseAddr("192.0.2.1") {
			t.Errorf("%d sources: reported %v", sources, got)
		}
	}
}

// Those that have lost their place are counted as room before they have gone: no more are
// put out than come.
func TestNoMoreAreEvictedThanCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l PreAuthLimiter
		l.Init(64, nil)
		conns := NewConnections(1000, 64)
		conns.Limiter = &l
		var all []*silent
		for i := range byte(56) {
			c := &silent{limit: &l, conns: conns, from: netip.AddrFrom4([4]byte{10, 0, 0, i % 10})}
			all = append(all, c)
			if !c.comes(t) {
				t.Fatal("no place")
			}
		}
		time.Sleep(2 * Grace)
		for _, c := range all {
			c.entry.owner = slow{c} // takes its time to go
		}
		for conns.TryAcquire() {
			for range 3 {
				conns.MakeRoom()
			}
		}
		if n := l.places.Len(); n != 56-8 {
			t.Errorf("%d of 56 are left when eight more have come", n)
		}
		for _, c := range all {
			c.Evict()
		}
		if n := l.Evicting(); n != 0 || conns.PreAuth() != 56 {
			t.Errorf("%d are still to go, %d places are taken", n, conns.PreAuth())
		}
	})
}

// slow is a connection that has not heard yet that it has to go.
type slow struct{ *silent }

// Evict implements Evictable.
func (slow) Evict() {}

// Connections of a load balancer that have yet to say whose they are have no share, and the
// oldest of them goes where all places are taken; whoever has been named is of its own source.
func TestBalancerIsAClassUntilItNamesASource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l PreAuthLimiter
		l.Init(64, nil)
		conns := NewConnections(1000, 64)
		conns.Limiter = &l
		balancer := netip.MustParseAddr("10.0.0.1")
		named := &silent{limit: &l, conns: conns, from: balancer} // by a LOCAL header
		if !named.comes(t) {
			t.Fatal("no place")
		}
		var first *silent
		for i := range 1000 {
			c := &silent{limit: &l, conns: conns, from: balancer}
			if !conns.TryAcquire() {
				t.Fatalf("connection %d has to wait", i)
			}
			conns.MakeRoom()
			l.AddBehind(&c.entry, c, balancer)
			if first == nil {
				first = c
			}
			if i == 54 && (l.Sources() != 2 || first.gone) {
				t.Errorf("%d classes; the first has gone: %t", l.Sources(), first.gone)
			}
			time.Sleep(Grace)
		}
		if !first.gone || named.gone || l.places.Len() != 56 {
			t.Errorf("the first has gone: %t; the named one: %t; %d are left", first.gone, named.gone, l.places.Len())
		}
	})
}

// Many clients at once that speak as soon as they can lose none of them: what is beyond
// the places waits in the listen queue.
func TestBurstOfHonestClientsLosesNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l PreAuthLimiter
		l.Init(64, nil)
		conns := NewConnections(1000, 64)
		conns.Limiter = &l
		var burst []*silent
		for i := range byte(100) {
			c := &silent{limit: &l, conns: conns, from: netip.AddrFrom4([4]byte{10, 0, 0, i % 10})}
			if !c.comes(t) {
				break
			}
			burst = append(burst, c)
		}
		time.Sleep(Grace / 2)
		for i, c := range burst {
			if c.gone || !l.Remove(&c.entry) {
				t.Errorf("client %d of %d is put out before it could speak", i, len(burst))
			}
		}
		if len(burst) != 64 {
			t.Errorf("%d of 64 places are had", len(burst))
		}
	})
}

// Whoever waits for a place has somebody go by and by, and the addresses of one IPv6
// network are one source.
func TestOneNetworkIsOneSource(t *testing.T) { synctest.Test(t, testOneNetworkIsOneSource) }

func testOneNetworkIsOneSource(t *testing.T) {
	var l PreAuthLimiter
	l.Init(64, nil)
	conns := NewConnections(1000, 64)
	conns.Limiter = &l
	for i := range 64 {
		c := &silent{limit: &l, conns: conns, from: netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i+1))}
		if !conns.TryAcquire() {
			t.Fatal("no place")
		}
		out := l.Add(&c.entry, c, c.from)
		if (out != nil) != (i >= l.Share()) {
			t.Fatalf("connection %d of one network puts out %v", i, out)
		}
		if out != nil {
			out.Evict()
		}
	}
	if n := l.Sources(); n != 1 {
		t.Errorf("%d sources", n)
	}
	for conns.TryAcquire() { // those whose source nobody knows yet
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if !conns.Acquire(ctx.Done()) {
		t.Error("no place for who waits")
	}
}

// cutter counts that it is cut.
type cutter struct{ cut int }

// Close implements io.Closer.
func (c *cutter) Close() error { c.cut++; return nil }

// Callers that have had their reply and do not close take a quarter of the places
// together, and who comes last reads its reply all the same.
func TestThoseThatLingerTogetherTakeAPart(t *testing.T) {
	for _, callers := range []int{1, 4, 16, 40, 200} {
		var l Lingering
		var excess Excess
		l.Init(160, &excess)
		if l.Share() != 10 {
			t.Fatalf("a share of %d", l.Share())
		}
		linger := func(k fair.Caller) (*LingeringEntry, *cutter) {
			e, c := &LingeringEntry{}, &cutter{}
			if out := l.Add(k, e, c); out != nil {
				_ = out.Close()
			}
			return e, c
		}
		for i := range 1000 {
			linger(fair.Caller{Function: fmt.Sprint(i % callers)})
		}
		if n := l.places.Len(); n != min(40, 10*callers) {
			t.Errorf("%d callers: %d linger", callers, n)
		}
		e, honest := linger(fair.Caller{Function: "honest"})
		for i := range 30 {
			linger(fair.Caller{Function: fmt.Sprint(i % callers)})
		}
		if honest.cut != 0 {
			t.Errorf("%d callers: whoever has one is cut", callers)
		}
		l.Remove(e)
		if got := excess.Report(time.Now()); len(got) != 1 || got[0].Row != RowLingering || got[0].Caller.Function == "honest" {
			t.Errorf("%d callers: reported %v", callers, got)
		}
	}
}

// A minute has one line of each row, and it names who asked most.
func TestExcessIsReportedOnceAMinuteAndByName(t *testing.T) {
	var c Excess
	var told [Rows]int
	c.Over = func(r Row) { told[r]++ }
	now := time.Unix(1000, 0)
	greedy, other := fair.Caller{Function: "greedy"}, fair.Caller{Source: netip.MustParseAddr("192.0.2.9")}
	for i := range 100 {
		c.Add(RowDials, greedy)
		if i%3 == 0 {
			c.Add(RowDials, other)
		}
	}
	c.Add(RowMemory, other)
	want := []Exceeded{{RowMemory, 1, other}, {RowDials, 134, greedy}}
	if got := c.Report(now); !slices.Equal(got, want) {
		t.Errorf("reported %v, want %v", got, want)
	}
	c.Add(RowDials, other)
	if got := c.Report(now.Add(ReportEvery - 1)); got != nil {
		t.Errorf("within the minute: %v", got)
	}
	c.Add(RowDials, other)
	if got := c.Report(now.Add(ReportEvery)); !slices.Equal(got, []Exceeded{{RowDials, 2, other}}) {
		t.Errorf("after the minute: %v", got)
	}
	if told[RowDials] != 136 || told[RowMemory] != 1 {
		t.Errorf("told %v", told)
	}
	(*Excess)(nil).Add(RowDials, other)
	for r := range Rows {
		if r.String() == "" {
			t.Errorf("row %d has no name", r)
		}
	}
}
