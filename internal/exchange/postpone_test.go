package exchange

import (
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/bounds"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/clientconn"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/gate"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/httphead"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// One caller is refused as often as it can be, and waits each time for the record that its
// refusals share. It never has all connections: another's refusal has a place, its record
// and its answer. What had no place is in no record, is counted, and is told to the log.
func TestRefusalsThatWaitAreNotAllOfOneCaller(t *testing.T) {
	for _, attacker := range []struct{ function, source string }{{"greedy", "10.0.0.1"}, {"", "2001:db8::1"}} {
		synctest.Test(t, func(t *testing.T) {
			var log strings.Builder
			reg := prometheus.NewRegistry()
			s := NewShared(Options{
				Policy: func() (*policy.Policy, *identity.Table) { return nil, nil },
				Audit:  audit.New(io.Discard, audit.Options{RefusalRecords: 1}),
				Logger: slog.New(slog.NewTextHandler(&log, nil)),
				Files:  256, Registerer: reg,
			})
			defer s.Stop()
			log.Reset() // of the limits that are cut
			var mu sync.Mutex
			got := map[string][2]int{} // by function: recorded, dropped
			refuse := func(function, source string) {
				x := s.Begin(&clientconn.Conn{Client: netip.AddrPortFrom(netip.MustParseAddr(source), 1)}, gate.Plain, &httphead.Head{})
				x.Event.Function = function
				ok, err := x.recordRefusal(audit.Refused, verdict.ReasonHostNotAllowed)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				n := got[function]
				if ok {
					n[0]++
				} else {
					n[1]++
				}
				got[function] = n
			}
			refuse(attacker.function, attacker.source) // the record of its own
			refuse("honest", "10.0.0.2")
			all := s.Resources.Connections
			var wait sync.WaitGroup
			for range all {
				wait.Go(func() { refuse(attacker.function, attacker.source) })
			}
			synctest.Wait()
			for range 3 {
				wait.Go(func() { refuse("honest", "10.0.0.2") })
			}
			wait.Wait()
			share := bounds.Refusals.PartOf(all / 2)
			if n := got[attacker.function]; n != [2]int{1 + share, all - share} {
				t.Errorf("of %d refusals of one caller %d are recorded and %d dropped, want the share of %d to wait", all, n[0], n[1], share)
			}
			if n := got["honest"]; n != [2]int{4, 0} {
				t.Errorf("of another's 4 refusals %d are recorded and %d dropped", n[0], n[1])
			}
			if n := value(t, reg, "egress_refusals_dropped_total"); int(n) != all-share {
				t.Errorf("%v counted as dropped, want %d", n, all-share)
			}
			if text := log.String(); strings.Count(text, bounds.OverShare) != 1 || !strings.Contains(text, "share=refusals") {
				t.Errorf("logged: %s", text)
			}
			if n := s.refusals.places.Taken(); n != 0 {
				t.Errorf("%d places are taken behind all", n)
			}
		})
	}
}

// value returns the value of a counter without labels.
func value(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}
