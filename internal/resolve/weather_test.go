package resolve

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// silence is an upstream that says nothing.
var silence = reply{after: time.Hour}

// within looks a name up for a client that waits so long, and returns how long it took.
func within(t *testing.T, r *Resolver, wait time.Duration, name string) (Answer, time.Duration, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	began := time.Now()
	a, err := r.Lookup(ctx, name)
	return a, time.Since(began), err
}

// mustTake looks a name up, and compares its addresses, whether they are stale, and how
// long it took.
func mustTake(t *testing.T, r *Resolver, name string, took time.Duration, stale bool, want ...string) {
	t.Helper()
	a, d, err := within(t, r, 5*time.Second, name)
	if err != nil || !slices.Equal(a.Addrs, addrs(want...)) || a.Stale != stale || d != took {
		t.Errorf("%s: %v, stale %t, %v, after %v; want %v, stale %t, after %v", name, a.Addrs, a.Stale, err, d, want, stale, took)
	}
}

// An outage of the upstreams costs names with an expired answer staleAfter once, and then
// nothing; when one is well again its answers are used, whatever they are by then.
func TestOutageCostsNamesWithAStaleAnswerOneWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		plays, dead := script{}, script{}
		for i := range 20 {
			name := fmt.Sprintf("n%d.example", i)
			plays[name+". A"] = reply{answer: name + ". 60 IN A 192.0.2.1"}
			dead[name+". A"] = silence
		}
		r, s := newScripted(t, Config{Registerer: reg, StaleFor: 20 * time.Minute, Upstreams: []netip.AddrPort{
			netip.MustParseAddrPort("127.0.0.1:53"), netip.MustParseAddrPort("127.0.0.2:53"),
		}}, plays)
		for i := range 20 {
			mustLookup(t, r, fmt.Sprintf("n%d.example", i), "192.0.2.1")
		}
		time.Sleep(61 * time.Second)
		s.play(dead)
		mustTake(t, r, "n0.example", staleAfter, true, "192.0.2.1")
		asked := s.questions()
		for range 15 * 60 {
			for i := range 20 {
				mustTake(t, r, fmt.Sprintf("n%d.example", i), 0, true, "192.0.2.1")
			}
			time.Sleep(time.Second)
		}
		if n, most := s.questions()-asked, 2*maxProbing*15*60/int(r.cfg.Timeout/time.Second); n > most || n < most/2 {
			t.Errorf("upstreams that are down were asked %d times in 15 minutes, want %d at most, whatever the names", n, most)
		}
		for name := range plays {
			plays[name] = reply{answer: name[:len(name)-1] + "60 IN A 192.0.2.2"}
		}
		s.play(plays)
		time.Sleep(15 * time.Second)
		for range 2 {
			for i := range 20 {
				_, _, _ = within(t, r, time.Second, fmt.Sprintf("n%d.example", i))
			}
			time.Sleep(recheckAfter)
		}
		mustTake(t, r, "n7.example", 0, false, "192.0.2.2")
		if n := staleServed(t, reg); n < 15*60*20 {
			t.Errorf("the age of %d stale answers is counted", n)
		}
	})
}

// staleServed returns how many ages egress_dns_stale_age_seconds has.
func staleServed(t *testing.T, reg *prometheus.Registry) (n uint64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "egress_dns_stale_age_seconds" {
			n = f.GetMetric()[0].GetHistogram().GetSampleCount()
		}
	}
	return n
}

// A name that nobody answers for, with an expired answer, is its own outage: others are
// asked for as ever.
func TestExpiredAnswerServesWhereItsNameAloneIsMute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newScripted(t, Config{}, script{"x.example. A": {answer: first}, "y.example. A": {answer: "y.example. 60 IN A 192.0.2.9"}})
		mustTake(t, r, "x.example", 0, false, "192.0.2.1")
		mustTake(t, r, "y.example", 0, false, "192.0.2.9")
		time.Sleep(time.Minute)
		s.play(script{"x.example. A": silence, "y.example. A": {answer: "y.example. 60 IN A 192.0.2.10"}})
		mustTake(t, r, "x.example", staleAfter, true, "192.0.2.1")
		mustTake(t, r, "x.example", 0, true, "192.0.2.1")
		// Nothing has answered for a while, so the expired one serves this once.
		mustTake(t, r, "y.example", 0, true, "192.0.2.9")
		synctest.Wait()
		mustTake(t, r, "y.example", 0, false, "192.0.2.10")
	})
}

// An answer that comes after its client has been served an expired one is kept.
func TestQuestionGoesOnBehindAStaleAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newScripted(t, Config{}, script{"x.example. A": {answer: first}})
		mustTake(t, r, "x.example", 0, false, "192.0.2.1")
		time.Sleep(time.Minute)
		s.play(script{"x.example. A": {answer: second, after: 4 * time.Second}})
		mustTake(t, r, "x.example", staleAfter, true, "192.0.2.1")
		time.Sleep(4 * time.Second)
		mustTake(t, r, "x.example", 0, false, "192.0.2.2")
		mustAsk(t, s, 2)
	})
}

// families are the two of x.example.
func families(ip4, ip6 reply) script {
	return script{"x.example. A": ip4, "x.example. AAAA": ip6, "y.example. A": {answer: "y.example. 0 IN A 192.0.2.9"}, "y.example. AAAA": {authority: soa}}
}

const (
	oneIP4 = "x.example. 600 IN A 192.0.2.1"
	oneIP6 = "x.example. 600 IN AAAA 2001:db8::1"
)

// A family that does not come costs resolutionDelay once, and is asked for again seldom.
func TestFamilyThatIsMuteCostsOneDelay(t *testing.T) {
	for _, tt := range []struct {
		name     string
		ip4, ip6 reply
		want     string
	}{
		{"AAAA", reply{answer: oneIP4}, silence, "192.0.2.1"},
		{"A", silence, reply{answer: oneIP6}, "2001:db8::1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, s := newScripted(t, Config{Families: Both}, families(tt.ip4, tt.ip6))
				mustTake(t, r, "x.example", resolutionDelay, false, tt.want)
				for range 5 * 60 {
					mustTake(t, r, "x.example", 0, false, tt.want)
					_, _, _ = within(t, r, time.Second, "y.example")
					time.Sleep(time.Second)
				}
				n := 0
				for _, q := range s.asked {
					if q[0] == 'x' {
						n++
					}
				}
				if n > 12 {
					t.Errorf("asked %d times in five minutes", n)
				}
				over, cancel := context.WithCancel(t.Context())
				cancel()
				if a, err := r.Lookup(over, "x.example"); err != nil || len(a.Addrs) != 1 {
					t.Errorf("what is known is not at hand: %v, %v", a.Addrs, err)
				}
			})
		})
	}
}

// A family that comes late is part of the next answer, which is judged whole, and stays
// so beyond its TTL: else the one that is left would pass by itself.
func TestFamilyThatComesLateIsPartOfTheNextAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newScripted(t, Config{Families: Both}, families(reply{answer: oneIP4},
			reply{answer: "x.example. 10 IN AAAA fd00::1", after: 300 * time.Millisecond}))
		mustTake(t, r, "x.example", resolutionDelay, false, "192.0.2.1")
		time.Sleep(time.Second)
		mustTake(t, r, "x.example", 0, false, "192.0.2.1", "fd00::1")
		time.Sleep(10 * time.Second)
		s.play(families(reply{answer: oneIP4}, silence))
		mustTake(t, r, "x.example", resolutionDelay, true, "192.0.2.1", "fd00::1")
	})
}

// Both families are waited for where they come together, and where neither has come the
// expired ones serve.
func TestFamiliesAreWaitedForTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newScripted(t, Config{Families: Both}, families(
			reply{answer: "x.example. 60 IN A 192.0.2.1", after: 400 * time.Millisecond}, reply{answer: "x.example. 60 IN AAAA 2001:db8::1", after: 430 * time.Millisecond}))
		mustTake(t, r, "x.example", 430*time.Millisecond, false, "192.0.2.1", "2001:db8::1")
		time.Sleep(time.Minute)
		s.play(families(silence, silence))
		mustTake(t, r, "x.example", staleAfter, true, "192.0.2.1", "2001:db8::1")
		mustTake(t, r, "x.example", 0, true, "192.0.2.1", "2001:db8::1")
	})
	synctest.Test(t, func(t *testing.T) { // neither has addresses: no delay cuts the wait short
		r, _ := newScripted(t, Config{Families: Both}, families(reply{authority: soa}, reply{answer: oneIP6, after: time.Second}))
		mustTake(t, r, "x.example", time.Second, false, "2001:db8::1")
	})
}

// Three hundred clients who ask for a name that is mute cost one question at a time, and
// when that is known each next one is told at once.
func TestMuteNameIsAskedForSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newScripted(t, Config{}, script{"x.example. A": silence, "y.example. A": {answer: "y.example. 0 IN A 192.0.2.9"}})
		var all sync.WaitGroup
		ask := func(took time.Duration) {
			for range 300 {
				all.Go(func() {
					if _, d, err := within(t, r, 3*time.Second, "x.example"); !errors.Is(err, ErrTimeout) || d != took {
						t.Errorf("%v after %v, want ErrTimeout after %v", err, d, took)
					}
				})
			}
			time.Sleep(time.Millisecond)
			_, _, _ = within(t, r, time.Second, "y.example")
			all.Wait()
			synctest.Wait()
		}
		ask(3 * time.Second)
		ask(0)
		mustAsk(t, s, 3)
		time.Sleep(2 * time.Second)
		ask(3 * time.Second)
		for range 3 { // the second silence is kept for twice as long
			time.Sleep(500 * time.Millisecond)
			ask(0)
		}
		s.play(script{"x.example. A": {answer: first}})
		time.Sleep(time.Second)
		mustTake(t, r, "x.example", 0, false, "192.0.2.1")
	})
}

// Nothing that this machine lacks is remembered of a name, and expired answers serve.
func TestLocalErrorIsNoFailureOfTheName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newScripted(t, Config{}, script{"x.example. A": {answer: first}})
		mustTake(t, r, "x.example", 0, false, "192.0.2.1")
		time.Sleep(time.Minute)
		lacking := reply{err: fmt.Errorf("socket: %w", syscall.EMFILE)}
		s.play(script{"x.example. A": lacking, "y.example. A": lacking})
		mustTake(t, r, "x.example", 0, true, "192.0.2.1")
		if _, _, err := within(t, r, time.Second, "y.example"); !errors.Is(err, ErrLocal) {
			t.Errorf("%v, want ErrLocal", err)
		}
		s.play(script{"x.example. A": {answer: second}, "y.example. A": {answer: "y.example. 60 IN A 192.0.2.9"}})
		mustTake(t, r, "x.example", 0, false, "192.0.2.2")
		mustTake(t, r, "y.example", 0, false, "192.0.2.9")
	})
}

// The clock of the machine may jump: what counts is how much time has passed. What begins
// at the end of an int64 is as far away as it says.
func TestTTLsOfAnySizeAreWithinTheBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, ttl := range []uint32{1 << 31, 1<<31 - 1, 1<<32 - 1} {
			r, s := newScripted(t, Config{StaleFor: -1}, script{"x.example. A": {answer: fmt.Sprintf("x.example. %d IN A 192.0.2.1", ttl)}})
			mustTake(t, r, "x.example", 0, false, "192.0.2.1")
			s.play(script{"x.example. A": {rcode: dns.RcodeServerFailure}})
			time.Sleep(time.Hour - time.Second)
			mustTake(t, r, "x.example", 0, false, "192.0.2.1")
			time.Sleep(time.Second)
			mustFail(t, r, "x.example", ErrFailed)
		}
	})
}

// An upstream list that is only the program itself asks nobody.
func TestUpstreamThatIsTheProgramItselfIsNotAsked(t *testing.T) {
	own := netip.MustParseAddrPort("127.0.0.1:53")
	r, s := newScripted(t, Config{Upstreams: []netip.AddrPort{own}, Own: func(a netip.AddrPort) bool { return a == own }}, script{"x.example. A": {answer: first}})
	mustFail(t, r, "x.example", ErrFailed)
	mustAsk(t, s, 0)
	if n := len(r.upstreams.Servers()); n != 0 {
		t.Errorf("%d servers are asked", n)
	}
}
