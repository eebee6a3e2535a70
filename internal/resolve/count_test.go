package resolve

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// A request asks twice for what need not be waited for, and then waits. Its questions are
// counted once, whatever the cache makes of them.
func TestQuestionCountsOnceHoweverOftenItIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		r, s := newScripted(t, Config{Families: Both, Registerer: reg}, script{
			"x.example. A":    {answer: "x.example. 60 A 192.0.2.1"},
			"x.example. AAAA": {answer: "x.example. 10 AAAA 2001:db8::1"},
			"no.example. A":   {rcode: dns.RcodeNameError, authority: soa}, "no.example. AAAA": {rcode: dns.RcodeNameError, authority: soa},
		})
		over, cancel := context.WithCancel(t.Context())
		cancel()
		request := func(name string) map[string]float64 {
			before := counted(t, reg)
			for range 2 {
				if _, err := r.Lookup(over, name); err == nil {
					return since(before, counted(t, reg))
				}
			}
			_, _ = r.Lookup(t.Context(), name)
			return since(before, counted(t, reg))
		}
		expect := func(what, name string, want map[string]float64) {
			t.Helper()
			if diff := cmp.Diff(want, request(name)); diff != "" {
				t.Errorf("%s: %s", what, diff)
			}
		}
		expect("nothing is cached", "x.example", map[string]float64{"miss": 2})
		expect("both are", "x.example", map[string]float64{"hit": 2})
		time.Sleep(11 * time.Second)
		expect("one has expired", "x.example", map[string]float64{"hit": 1, "miss": 1})
		expect("there is no such name", "no.example", map[string]float64{"miss": 2})
		expect("that is cached", "no.example", map[string]float64{"negative": 2})
		time.Sleep(61 * time.Second)
		// Not at once: what the first of the two shows would be known when the second begins.
		down := reply{err: errDown, after: time.Millisecond}
		s.play(script{"x.example. A": down, "x.example. AAAA": down})
		expect("all have expired, and nobody answers", "x.example", map[string]float64{"miss": 2, "stale": 2})
		expect("and that is known", "x.example", map[string]float64{"stale": 2})
	})
}

// since returns what has been added.
func since(before, after map[string]float64) map[string]float64 {
	added := map[string]float64{}
	for result, n := range after {
		if n != before[result] {
			added[result] = n - before[result]
		}
	}
	return added
}
