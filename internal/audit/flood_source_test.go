package audit

import (
	"io"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit/flood"
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

// places is a Waiter with so many places to wait in.
type places int

func (p *places) MayWait() bool {
	*p--
	return *p >= 0
}

func (p *places) Evicted() <-chan struct{} { return nil }

// putOut is a Waiter that has a place until somebody else has it.
type putOut chan struct{}

func (p putOut) MayWait() bool            { return true }
func (p putOut) Evicted() <-chan struct{} { return p }

// Who loses its place to wait in is in no record and gets no answer, and those that wait
// on have theirs. Where nobody waits any more there is none.
func TestRefusalThatLosesItsPlaceIsInNoRecord(t *testing.T) {
	for _, stay := range []int{3, 0} {
		synctest.Test(t, func(t *testing.T) {
			var out output
			l := spent(t, &out, Options{RefusalRecords: 2})
			began := time.Now()
			lost := make(putOut)
			var all sync.WaitGroup
			for i := range 5 + stay {
				e, w := denial(l, "f"), lost
				if i >= 5 {
					w = nil
				}
				p, _ := l.Postpone(e, w)
				all.Go(func() {
					course, err := p.Wait(e, w)
					want, after := Dropped, flood.RefusalWait/2
					if i >= 5 {
						want, after = Shared, flood.RefusalWait
					}
					if err != nil || course != want || time.Since(began) != after {
						t.Errorf("refusal %d: %d, %v, after %v", i, course, err, time.Since(began))
					}
				})
			}
			time.Sleep(flood.RefusalWait / 2) // of the bubble's clock
			close(lost)
			synctest.Wait()
			if stay == 0 {
				l.Flush() // has nothing to wait for
			}
			all.Wait()
			if err := l.Record(&Event{Kind: Stopped}); err != nil {
				t.Fatal(err)
			}
			if n, _ := weight(entries(t, out.Bytes(), l.Process())); n != uint64(2+stay) {
				t.Errorf("%d refusals are recorded, want %d", n, 2+stay)
			}
			if !strings.Contains(string(out.Bytes()), ", 5 more got no answer") {
				t.Errorf("the flood is told as %s", out.Bytes())
			}
		})
	}
}

// Who must not wait is told what becomes of each refusal: those within the budget have
// records of their own, those beyond it share one, and those that may not wait for it
// have none and are in none.
func TestRefusalOfWhoMustNotWaitSharesARecordOrHasNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out output
		l := New(&out, Options{RefusalRecords: 2})
		began := time.Now()
		wait := places(3)
		var own []*Event
		var all sync.WaitGroup
		dropped := 0
		for i := range 12 {
			e := denial(l, []string{"f", "g", "f"}[i%3]) // eight of f, four of g
			e.Kind = Answered
			switch p, course := l.Postpone(e, &wait); course {
			case Own:
				own = append(own, e)
			case Dropped:
				dropped++
			case Shared:
				all.Go(func() {
					if _, err := p.Wait(e, &wait); err != nil || time.Since(began) != flood.RefusalWait {
						t.Errorf("after %v: %v", time.Since(began), err)
					}
				})
			}
		}
		if _, err := l.RecordAll(own); err != nil || len(own) != 4 || dropped != 5 || time.Since(began) != 0 {
			t.Fatalf("%d own, %d dropped, %v, after %v", len(own), dropped, err, time.Since(began))
		}
		all.Wait()
		if err := l.Record(&Event{Kind: Stopped}); err != nil {
			t.Fatal(err)
		}
		n, of := weight(entries(t, out.Bytes(), l.Process()))
		if n != 7 || of["answered"] != 5 || of["flood"] != 4 {
			t.Errorf("%d refusals in %v, want four and three that share one", n, of)
		}
		if text := string(out.Bytes()); !strings.Contains(text, "over: 3 refusals beyond the budget of 2 a minute shared records, 3 more got no answer") || !strings.Contains(text, "over: 0 refusals") {
			t.Errorf("the floods are told as %s", text)
		}
	})
}

// An event that is no refusal, and one of a log without a budget, has its own record.
func TestOnlyRefusalsBeyondTheBudgetArePostponed(t *testing.T) {
	none := places(0)
	l := New(io.Discard, Options{RefusalRecords: 1})
	for range 5 {
		e := denial(l, "f")
		e.Kind, e.Verdict, e.Reason = Answered, verdict.Allow, verdict.ReasonNone
		if _, course := l.Postpone(e, &none); course != Own {
			t.Errorf("an answer is %d", course)
		}
		if _, course := New(io.Discard, Options{}).Postpone(denial(l, "f"), &none); course != Own {
			t.Errorf("a refusal without a budget is %d", course)
		}
	}
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
	none := places(0)
	if n := testing.AllocsPerRun(100, func() { _ = l.Record(e); _, _ = l.Postpone(e, &none); _, _ = l.RecordAll(group) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
