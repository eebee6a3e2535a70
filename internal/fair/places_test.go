package fair_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/bounds"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/fair"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// lookup holds a place, and writes down why it has lost it.
type lookup struct {
	place  fair.Place
	caller fair.Caller
	lost   verdict.Reason
}

func (l *lookup) Evict(r verdict.Reason) { l.lost = r }

// begin acquires a place and carries out what that costs.
func begin(s *fair.Places, c fair.Caller) (*lookup, fair.Eviction, bool) {
	l := &lookup{caller: c}
	out, ok := s.Acquire(&l.place, c, l)
	out.CarryOut()
	return l, out, ok
}

func function(i int) fair.Caller { return fair.Caller{Function: fmt.Sprintf("f%d", i)} }
func source(i int) fair.Caller {
	return fair.CallerOf("", netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
}

func TestCallerIsTheFunctionElseTheSource(t *testing.T) {
	for _, tt := range []struct{ function, address, want string }{
		{"billing", "10.0.0.1", "billing"},
		{"", "10.0.0.1", "10.0.0.1"},
		{"", "::ffff:10.0.0.1", "10.0.0.1"},
		{"", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"},
		{"", "fe80::1%eth0", "fe80::"},
	} {
		c := fair.CallerOf(tt.function, netip.MustParseAddr(tt.address))
		if got := c.String(); got != tt.want || tt.function != "" && c.Source.IsValid() {
			t.Errorf("%q at %s is %q, want %q", tt.function, tt.address, got, tt.want)
		}
		if got := fair.CallerFrom(fair.WithCaller(context.Background(), c)); got != c {
			t.Errorf("a context for %v is for %v", c, got)
		}
	}
	if c := fair.CallerFrom(context.Background()); c != (fair.Caller{}) {
		t.Errorf("a context for nobody is for %v", c)
	}
}

// The zero Places has none.
func TestZeroPlacesRefuse(t *testing.T) {
	var s fair.Places
	if l, out, ok := begin(&s, function(1)); ok || out.Reason != verdict.ReasonLimitTotal || l.lost != verdict.ReasonNone {
		t.Errorf("a place of none: %+v", out)
	}
}

// Whoever has its share gives up its own oldest, for a reason of its own.
func TestCallerWithItsShareGivesUpItsOldest(t *testing.T) {
	for _, tt := range []struct {
		who   fair.Caller
		cause string
	}{{function(1), fair.CauseFunction}, {source(1), fair.CauseSource}} {
		var s fair.Places
		s.Init(100, &bounds.DNSQuestions)
		other, _, _ := begin(&s, function(2))
		var mine []*lookup
		for i := range 27 {
			l, out, ok := begin(&s, tt.who)
			mine = append(mine, l)
			if over := i >= 25; !ok || out.Happened() != over || over && (out.Cause() != tt.cause || out.Caller != tt.who) {
				t.Errorf("place %d: %t, %+v", i, ok, out)
			}
			if i == 2 {
				s.Renew(&mine[0].place) // the second is the oldest now
			}
		}
		for i, l := range mine {
			if want := i == 1 || i == 2; (l.lost == verdict.ReasonLimitFunction) != want || !want && l.lost != verdict.ReasonNone {
				t.Errorf("place %d was lost for %q", i, l.lost)
			}
			s.Release(&l.place)
		}
		if other.lost != verdict.ReasonNone || s.Taken() != 1 || s.Callers() != 1 {
			t.Errorf("the other one's place: %q; %d places of %d callers are left", other.lost, s.Taken(), s.Callers())
		}
	}
}

// What has lost its place and does not end cannot pile up.
func TestPlacesThatAreLostAndDoNotEndAreBounded(t *testing.T) {
	var s fair.Places
	s.Init(100, &bounds.DNSQuestions)
	var all []*lookup
	refused := 0
	for range 1000 {
		l, out, ok := begin(&s, function(1))
		if !ok {
			refused++
			if out.Reason != verdict.ReasonLimitFunction || out.Owner != nil {
				t.Fatalf("refused as %+v", out)
			}
			continue
		}
		all = append(all, l)
	}
	if len(all) > 25+25/4+1 || refused != 1000-len(all) {
		t.Errorf("%d places were had at once", len(all))
	}
	if _, _, ok := begin(&s, function(2)); !ok {
		t.Error("another caller is refused")
	}
	for _, l := range all {
		s.Release(&l.place)
		s.Release(&l.place) // does nothing
	}
	if s.Taken() != 1 || s.Callers() != 1 {
		t.Errorf("%d places of %d callers are left", s.Taken(), s.Callers())
	}
}

// Sources of no function, however many, have half together; and who has most gives way.
func TestForgedSourcesTakeNoPlaceOfAFunction(t *testing.T) {
	var s fair.Places
	s.Init(64, &bounds.DNSQuestions)
	honest, _, _ := begin(&s, function(1))
	for i := range 10_000 {
		l, out, ok := begin(&s, source(i))
		if !ok || out.Happened() && out.Cause() != fair.CauseAll {
			t.Fatalf("source %d: %t, %+v", i, ok, out)
		}
		if l.lost != verdict.ReasonNone {
			t.Fatal("the newest goes before the oldest")
		}
		if out.Owner != nil {
			s.Release(&out.Owner.(*lookup).place)
		}
	}
	if got := s.Taken(); got != 33 || honest.lost != verdict.ReasonNone {
		t.Errorf("%d places are taken, want 33; the function's was lost for %q", got, honest.lost)
	}
}

// Where nobody has to go for another, who has its share is refused, and others are not.
func TestWhoTriesTakesNobodysPlace(t *testing.T) {
	var s fair.Places
	if _, ok := s.TryAcquire(&fair.Place{}, function(1), &lookup{}); ok {
		t.Error("a place of none")
	}
	s.Init(100, &bounds.DNSQuestions)
	got := 0
	for i := range 60 {
		var p fair.Place
		if out, ok := s.TryAcquire(&p, function(1), &lookup{}); ok {
			got++
		} else if i < 25 || out.Cause() != fair.CauseFunction {
			t.Errorf("place %d: %+v", i, out)
		}
	}
	for i := range 60 {
		var p fair.Place
		if out, ok := s.TryAcquire(&p, source(i), &lookup{}); ok {
			got++
		} else if i < 50 || out.Cause() != fair.CauseAll {
			t.Errorf("source %d: %+v", i, out)
		}
	}
	if _, ok := s.TryAcquire(&fair.Place{}, function(2), &lookup{}); !ok || got != 75 || s.Callers() != 52 {
		t.Errorf("%d places, then %t; %d callers", got, ok, s.Callers())
	}
}

// Callers that together have all places, each no more than its share, keep nobody out who
// has less; and do not take them from each other in turn.
func TestWhoTriesTakesAPlaceOfWhoHasMore(t *testing.T) {
	var s fair.Places
	s.Init(64, &bounds.DNSQuestions)
	lost := map[fair.Caller]int{}
	try := func(c fair.Caller) bool {
		l := &lookup{caller: c}
		out, ok := s.TryAcquire(&l.place, c, l)
		if out.Owner != nil {
			lost[out.Owner.(*lookup).caller]++
			s.Release(&out.Owner.(*lookup).place)
		}
		return ok
	}
	for range 200 {
		for i := range 4 {
			try(function(i))
		}
	}
	if s.Taken() != 64 || len(lost) != 0 {
		t.Fatalf("%d places are taken, lost were %v", s.Taken(), lost)
	}
	got := map[bool]int{}
	for range 20 {
		got[try(function(9))]++
		got[try(function(0))]++ // which wants back what it has lost
	}
	// A fifth each of 64.
	if n := got[true]; n < 12 || n > 14 || s.Taken() != 64 {
		t.Errorf("%d more places were had, lost were %v", n, lost)
	}
	if ok := try(source(1)); !ok || s.Taken() != 64 {
		t.Errorf("a source: %t, %d places are taken", ok, s.Taken())
	}
}

// model is the same by counting everything again at each step.
type model struct{ held []*lookup } // from the oldest to the newest

func (m *model) count(of func(*lookup) bool) (n int) {
	for _, l := range m.held {
		if of(l) {
			n++
		}
	}
	return n
}

// Against a model: who has less than whoever has most never loses a place, the bounds
// hold, and nothing is left in the end.
func TestWhoHasLessThanOthersLosesNothing(t *testing.T) {
	for most := 1; most <= 40; most++ {
		random := rand.New(rand.NewPCG(uint64(most), 1))
		var s fair.Places
		s.Init(most, &bounds.DNSQuestions)
		m := &model{}
		for range 3000 {
			if len(m.held) > 0 && random.IntN(5) == 0 {
				i := random.IntN(len(m.held))
				s.Release(&m.held[i].place)
				m.held = append(m.held[:i], m.held[i+1:]...)
				continue
			}
			who := function(random.IntN(6))
			if random.IntN(2) == 0 {
				who = source(random.IntN(50))
			}
			before := m.count(func(l *lookup) bool { return l.caller == who })
			l, out, ok := begin(&s, who)
			if !ok {
				t.Fatalf("of %d: refused", most)
			}
			if out.Owner != nil {
				gone := out.Owner.(*lookup)
				n := m.count(func(l *lookup) bool { return l.caller == gone.caller })
				if gone.caller != who && n <= before {
					t.Fatalf("of %d: %v with %d gives way to %v with %d", most, gone.caller, n, who, before)
				}
				for i, other := range m.held {
					if other.caller == gone.caller {
						if other != gone {
							t.Fatalf("of %d: not the oldest of %v has to go", most, gone.caller)
						}
						m.held = append(m.held[:i], m.held[i+1:]...)
						break
					}
				}
				s.Release(&gone.place)
			}
			m.held = append(m.held, l)
			forged := m.count(func(l *lookup) bool { return l.caller.Source.IsValid() })
			if s.Taken() != len(m.held) || len(m.held) > most || forged > max(most/2, 1) {
				t.Fatalf("of %d: %d are taken, %d held, %d by sources", most, s.Taken(), len(m.held), forged)
			}
		}
		for _, l := range m.held {
			s.Release(&l.place)
		}
		if s.Taken() != 0 || s.Callers() != 0 {
			t.Errorf("of %d: %d places of %d callers are left", most, s.Taken(), s.Callers())
		}
	}
}

// BenchmarkPlaces measures a place that is had and given back by a caller with others
// beside it; it leaves out contention.
//
//	go test -run=^$ -bench=Places ./internal/fair
func BenchmarkPlaces(b *testing.B) {
	var s fair.Places
	s.Init(4096, &bounds.DNSQuestions)
	for i := range 1000 {
		begin(&s, source(i))
	}
	l, c := &lookup{}, function(1)
	begin(&s, c)
	b.ReportAllocs()
	for b.Loop() {
		s.Acquire(&l.place, c, l)
		s.Release(&l.place)
	}
}

// Of those who have as many places, who has used one last is the last to give way.
func TestWhoUsesItsPlaceIsTheLastToGiveWay(t *testing.T) {
	var s fair.Places
	s.InitSources(8, &bounds.DNSQuestions)
	used, _, _ := begin(&s, source(0))
	for i := 1; i < 100; i++ {
		_, out, _ := begin(&s, source(i))
		if i < 8 && out.Happened() {
			t.Errorf("sources may have all, and number %d costs %+v", i, out)
		}
		if out.Owner != nil {
			s.Release(&out.Owner.(*lookup).place)
		}
		if i%5 == 0 {
			s.Renew(&used.place)
		}
	}
	if used.lost != verdict.ReasonNone {
		t.Error("a place that is used has been lost")
	}
}
