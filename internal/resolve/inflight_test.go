package resolve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/fair"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/resolve/upstream"
)

// crowdedNet is the upstreams of a resolver whose names below silent.example nobody
// answers, and those below good.example after ten milliseconds.
type crowdedNet struct {
	r         *Resolver
	log       *egresstest.Buffer
	registry  *prometheus.Registry
	now, most atomic.Int32 // questions at upstreams, and how many there were at once
}

// newCrowdedNet makes a resolver with so many places for lookups.
func newCrowdedNet(t *testing.T, lookups int) *crowdedNet {
	n := &crowdedNet{log: &egresstest.Buffer{}, registry: prometheus.NewRegistry()}
	n.r, _ = newScripted(t, Config{Lookups: lookups, Registerer: n.registry, Logger: slog.New(slog.NewJSONHandler(n.log, nil))}, nil)
	n.r.upstreams.Query = n.query
	return n
}

// query is the upstream.
func (n *crowdedNet) query(ctx context.Context, try upstream.Try) (*dns.Msg, error) {
	k := try.Question
	now := n.now.Add(1)
	defer n.now.Add(-1)
	for seen := n.most.Load(); seen < now && !n.most.CompareAndSwap(seen, now); seen = n.most.Load() {
	}
	after := 10 * time.Millisecond
	if strings.HasSuffix(k.Name, "silent.example") {
		after = time.Hour
	}
	select {
	case <-time.After(after):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	q := dns.Question{Name: k.Name + ".", Qtype: k.Type, Qclass: dns.ClassINET}
	return script{q.Name + " A": {answer: q.Name + " 0 IN A 192.0.2.1"}}.message(q), nil
}

// lookup looks a name up for a caller that waits five seconds.
func (n *crowdedNet) lookup(t *testing.T, c fair.Caller, name string) error {
	ctx, cancel := context.WithTimeout(fair.WithCaller(t.Context(), c), 5*time.Second)
	defer cancel()
	_, err := n.r.Lookup(ctx, name)
	return err
}

// refused returns egress_lookups_refused_total by cause.
func (n *crowdedNet) refused(t *testing.T, cause string) (sum float64) {
	families, err := n.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "egress_lookups_refused_total" && m.GetLabel()[0].GetValue() == cause {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// mustBeEmpty fails the test where something is held that nobody waits for.
func (n *crowdedNet) mustBeEmpty(t *testing.T) {
	t.Helper()
	synctest.Wait()
	inflight := 0
	for i := range n.r.cache.all {
		inflight += len(n.r.cache.all[i].inflight)
	}
	if taken, callers := n.r.places.Taken(), n.r.places.Callers(); taken != 0 || callers != 0 || inflight != 0 || len(n.r.asking) != 0 || n.now.Load() != 0 {
		t.Errorf("%d places of %d callers, %d in flight, %d tokens, %d questions are left", taken, callers, inflight, len(n.r.asking), n.now.Load())
	}
}

func function(name string) fair.Caller { return fair.CallerOf(name, netip.Addr{}) }
func source(text string) fair.Caller {
	return fair.CallerOf("", netip.MustParseAddr(text))
}

// attackers is who asks for silent names, i being the number of the question.
var attackers = []struct {
	name string
	who  func(i int) fair.Caller
}{
	{"one function", func(int) fair.Caller { return function("attacker") }},
	{"one source", func(int) fair.Caller { return source("10.0.0.1") }},
	{"many addresses of one prefix", func(i int) fair.Caller { return source(fmt.Sprintf("2001:db8::%x", i+1)) }},
	{"many sources of no function", func(i int) fair.Caller { return source(fmt.Sprintf("10.1.%d.%d", i/250, i%250)) }},
	{"who forges the addresses of the honest function", func(int) fair.Caller { return fair.Caller{Function: "honest", ByAddress: true} }},
	{"seven functions", func(i int) fair.Caller { return function(fmt.Sprintf("attacker%d", i%7)) }},
}

// Whatever others ask for, a function's lookups take as long as they do by themselves.
func TestLookupsOfOneCallerStandInNobodysWay(t *testing.T) {
	for _, attacker := range attackers {
		t.Run(attacker.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newCrowdedNet(t, 48)
				var all sync.WaitGroup
				for round := range 100 { // 500 new names a second, and an honest one each ten milliseconds
					for i := range 5 {
						name, who := fmt.Sprintf("x%d-%d.silent.example", round, i), attacker.who(5*round+i)
						all.Go(func() { _ = n.lookup(t, who, name) })
					}
					began := time.Now()
					if err := n.lookup(t, function("honest"), fmt.Sprintf("n%d.good.example", round)); err != nil {
						t.Fatalf("round %d: %v", round, err)
					}
					if took := time.Since(began); took != 10*time.Millisecond {
						t.Fatalf("round %d took %v", round, took)
					}
				}
				if most := n.most.Load(); most > 64 {
					t.Errorf("%d questions at once, of 64", most)
				}
				all.Wait()
				n.mustBeEmpty(t)
			})
		})
	}
}

// Who is beyond its share learns it by a reason of its own, and so does the operator.
func TestLookupBeyondTheShareOfItsCallerIsToldAsThat(t *testing.T) {
	for _, tt := range []struct {
		who           fair.Caller
		cause, logged string
	}{
		{function("billing"), "function", `"function":"billing"`},
		{source("2001:db8::7"), "source", `"source":"2001:db8::"`},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := newCrowdedNet(t, 48)
			errs := make([]error, 21)
			var all sync.WaitGroup
			for i := range errs {
				all.Go(func() { errs[i] = n.lookup(t, tt.who, fmt.Sprintf("n%d.silent.example", i)) })
				synctest.Wait() // so that the first is the oldest
			}
			all.Wait()
			for i, err := range errs {
				var limit *fair.ShareError
				if got, want := errors.As(err, &limit), i < 5; got != want || want && limit.Reason != verdict.ReasonLimitFunction || !want && !errors.Is(err, ErrTimeout) {
					t.Errorf("lookup %d: %v", i, err)
				}
			}
			if got := n.refused(t, tt.cause); got != 5 {
				t.Errorf("%v counted as %s, want 5", got, tt.cause)
			}
			if text := n.log.String(); strings.Count(text, "more than its share") != 1 || !strings.Contains(text, tt.logged) {
				t.Errorf("logged: %s", text)
			}
			time.Sleep(time.Minute)
			for i := range 17 {
				all.Go(func() { _ = n.lookup(t, tt.who, fmt.Sprintf("m%d.silent.example", i)) })
				synctest.Wait()
			}
			all.Wait()
			if text := n.log.String(); strings.Count(text, "more than its share") != 2 || !strings.Contains(text, `"times":5`) {
				t.Errorf("logged a minute later: %s", text)
			}
			n.mustBeEmpty(t)
		})
	}
}

// A question ends when the last of those who wait for it has left, and not before.
func TestLookupThatNobodyWaitsForHoldsNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newCrowdedNet(t, 48)
		n.r.types = []uint16{dns.TypeA, dns.TypeAAAA}
		var all sync.WaitGroup
		var leave []context.CancelFunc
		for range 3 {
			ctx, cancel := context.WithCancel(t.Context())
			leave = append(leave, cancel)
			all.Go(func() { _, _ = n.r.Lookup(ctx, "x.silent.example") })
		}
		synctest.Wait()
		for i, cancel := range leave {
			if got := n.r.places.Taken(); got != 2 {
				t.Errorf("%d places before asker %d has left, want those of two families", got, i)
			}
			cancel()
			synctest.Wait()
		}
		n.mustBeEmpty(t)
		all.Wait()
	})
}

// Two callers wait for one name, whose question belongs to the one with too many. When
// that one needs the place, the other one's wait goes on.
func TestLookupThatOthersWaitForOutlivesWhoHasBegunIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newCrowdedNet(t, 48)
		var all sync.WaitGroup
		all.Go(func() { _ = n.lookup(t, function("attacker"), "n.good.example") })
		synctest.Wait()
		all.Go(func() {
			if err := n.lookup(t, function("honest"), "n.good.example"); err != nil {
				t.Errorf("the other one: %v", err)
			}
		})
		synctest.Wait()
		for i := range 16 {
			all.Go(func() { _ = n.lookup(t, function("attacker"), fmt.Sprintf("n%d.silent.example", i)) })
			synctest.Wait()
		}
		if got := n.refused(t, "function"); got != 1 {
			t.Errorf("%v evicted, want the oldest", got)
		}
		all.Wait()
		n.mustBeEmpty(t)
	})
}

// With one place there is no share, and it is of use nevertheless.
func TestLookupsWorkWithOnePlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newCrowdedNet(t, 1)
		for _, who := range []fair.Caller{{}, function("a"), source("10.0.0.1")} {
			if err := n.lookup(t, who, "n.good.example"); err != nil {
				t.Errorf("%v: %v", who, err)
			}
		}
		n.mustBeEmpty(t)
	})
}

// Answers of an asker who has been evicted say nothing of the upstream or of the name.
func TestEvictedLookupIsNoFailureOfTheName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newScripted(t, Config{Lookups: 4}, script{"x.example. A": {answer: first}})
		mustLookup(t, r, "x.example", "192.0.2.1")
		time.Sleep(61 * time.Second) // it is stale now
		s.play(script{"x.example. A": {answer: first, after: time.Second}, "y.example. A": {answer: first, after: time.Second}, "z.example. A": {answer: first, after: time.Second}})
		var all sync.WaitGroup
		for _, name := range []string{"x.example", "y.example", "z.example"} {
			all.Go(func() { _, _ = r.Lookup(t.Context(), name) })
			synctest.Wait()
		}
		all.Wait()
		if e := r.cache.get(key{Name: "x.example", Type: dns.TypeA}); e == nil || e.Rechecked(0) {
			t.Error("an eviction counts as a failure of every upstream")
		}
		if got := slices.Index(s.asked, "x.example. A"); got != 0 {
			t.Errorf("asked %v", s.asked)
		}
	})
}

// Lookups that begin at the same time take each other's places while they begin.
func TestLookupsThatBeginAtOnceTakeEachOthersPlaces(t *testing.T) {
	n := newCrowdedNet(t, 2)
	n.r.upstreams.Query = func(context.Context, upstream.Try) (*dns.Msg, error) { return nil, errDown }
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			for k := range 500 {
				if err := n.lookup(t, function(fmt.Sprint(k%3)), fmt.Sprintf("n%d-%d.good.example", i, k)); err == nil {
					t.Error("an answer of nobody")
				}
			}
		})
	}
	all.Wait()
	if taken, callers := n.r.places.Taken(), n.r.places.Callers(); taken != 0 || callers != 0 {
		t.Errorf("%d places of %d callers are left", taken, callers)
	}
}
