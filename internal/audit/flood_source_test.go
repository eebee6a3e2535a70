package audit

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

func TestCallersWithoutAFunctionAreToldApartBySource(t *testing.T) {
	for _, c := range []struct {
		what, first, second string
		shared              bool
	}{
		{"the same address", "10.0.0.1:1", "10.0.0.1:2", true},
		{"the same address, mapped", "10.0.0.1:1", "[::ffff:10.0.0.1]:2", true},
		{"neighbours", "10.0.0.1:1", "10.0.0.2:1", false},
		{"one /64", "[2001:db8::1]:1", "[2001:db8::ffff:2]:1", true},
		{"two /64", "[2001:db8::1]:1", "[2001:db8:0:1::1]:1", false},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := New(io.Discard, Options{RefusalRecords: 1})
			began := time.Now()
			for _, from := range []string{c.first, c.second} {
				e := denial(l, "")
				e.Client = netip.MustParseAddrPort(from)
				if err := l.Record(e); err != nil {
					t.Fatal(err)
				}
			}
			if waited := time.Since(began) > 0; waited != c.shared {
				t.Errorf("%s: the second one waited: %v", c.what, waited)
			}
		})
	}
}

func TestAGroupBeyondTheBudgetSharesRecordsWithoutWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out output
		l := spent(t, &out, Options{RefusalRecords: 2})
		began := time.Now()
		var events []*Event
		for i := range 12 {
			e := denial(l, []string{"f", "g", "f"}[i%3])
			e.Kind = Answered
			if i == 11 {
				e.Reason = verdict.ReasonBadTarget
			}
			events = append(events, e)
		}
		if _, err := l.RecordAll(events); err != nil || time.Since(began) != 0 {
			t.Fatalf("%v, after %v", err, time.Since(began))
		}
		l.Flush() // the flood records are posted
		var got []string
		for _, e := range entries(t, out.Bytes(), l.Process())[2:] {
			got = append(got, fmt.Sprint(e.Event, " ", e.Function, " ", e.Reason, " ", e.Suppressed))
		}
		want := "flood f  0|flood g  0|answered f host_not_allowed 6|answered g host_not_allowed 0|answered g host_not_allowed 0|" +
			"answered g host_not_allowed 1|answered f bad_target 0"
		if s := strings.Join(got, "|"); s != want {
			t.Errorf("got  %s\nwant %s", s, want)
		}
		for i, e := range events {
			if want := []uint64{0, 1, 0}[i%3]; e.Suppressed != 0 || i < 11 && want == 0 && e.ID != events[0].ID {
				t.Errorf("event %d was left with %d suppressed and id %d", i, e.Suppressed, e.ID)
			}
		}
	})
}

func TestHundredThousandsOfRefusalsAddUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out output
		l := New(&out, Options{RefusalRecords: 6000})
		callers, each := 2000, 100
		if testing.Short() || raceDetector {
			callers = 300
		}
		var wg sync.WaitGroup
		told := make([][]ID, callers)
		for g := range callers {
			wg.Go(func() {
				e := denial(l, "f")
				for range each {
					e.ID = l.NextID()
					if err := l.Record(e); err != nil {
						t.Error(err)
					}
					told[g] = append(told[g], e.ID)
				}
			})
		}
		wg.Wait()
		if err := l.Record(&Event{Kind: Stopped}); err != nil {
			t.Fatal(err)
		}
		all := entries(t, out.Bytes(), l.Process())
		n, of := weight(all)
		if n != uint64(callers*each) || l.Totals()[0].Count != n || len(all) > 20_000 {
			t.Errorf("%d of %d refusals in %d records (%v), totals %v", n, callers*each, len(all), of, l.Totals())
		}
		recorded := map[string]bool{}
		for _, e := range all {
			recorded[e.ID] = true
		}
		for _, ids := range told {
			for _, id := range ids {
				if !recorded[l.FormatID(id)] {
					t.Fatalf("%s was told to a client and is no record", l.FormatID(id))
				}
			}
		}
	})
}

func TestARefusalWithinTheBudgetDoesNotAllocate(t *testing.T) {
	l := New(io.Discard, Options{RefusalRecords: 1 << 30})
	e := denial(l, "f")
	group := []*Event{e, e, e}
	if n := testing.AllocsPerRun(100, func() { _ = l.Record(e); _, _ = l.RecordAll(group) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
