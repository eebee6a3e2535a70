package flood

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit/record"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// journal is what a Limiter posts and writes, in their order.
type journal struct {
	mu  sync.Mutex
	all []record.Event
	err error // of write
}

func (j *journal) post(e *record.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.all = append(j.all, *e)
}

func (j *journal) write(e *record.Event) error {
	j.post(e)
	return j.err
}

// taken returns what has come since it was asked last.
func (j *journal) taken() []record.Event {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := j.all
	j.all = nil
	return all
}

// spend has n refusals at once, and returns how many of them have a record of their own.
func spend(l *Limiter, n int) (own int) {
	for range n {
		if _, course := l.Postpone(refusedOne(), may{}); course == Own {
			own++
		}
	}
	return own
}

func TestOnlyARefusalThatStandsForItselfKeepsToABudget(t *testing.T) {
	for what, c := range map[string]struct {
		e    *record.Event
		want bool
	}{
		"none":                  {nil, false},
		"a refusal":             {&record.Event{Kind: record.Refused}, true},
		"a challenge":           {&record.Event{Kind: record.Challenged}, true},
		"a lookup's":            {&record.Event{Kind: record.Answered}, true},
		"an answer":             {&record.Event{Kind: record.Answered, Verdict: verdict.Allow}, false},
		"one that was reported": {&record.Event{Kind: record.Refused, Verdict: verdict.Report}, false},
		"one that is a summary": {&record.Event{Kind: record.Refused, Suppressed: 1}, false},
		"the end of a tunnel":   {&record.Event{Kind: record.Closed}, false},
		"a tunnel":              {&record.Event{Kind: record.Opened}, false},
		"a heartbeat":           {&record.Event{Kind: record.Heartbeat}, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := NewLimiter(1, func(*record.Event) {}, func(*record.Event) error { return nil })
			defer l.Close()
			for range 2 { // the second one is beyond the budget
				if _, course := l.Postpone(c.e, full{}); course != Own && course != Dropped {
					t.Errorf("%s: course %d", what, course)
				}
			}
			if shared, _ := l.Aggregate(c.e); shared != c.want {
				t.Errorf("%s: it waits for others: %t", what, shared)
			}
			if n, _ := known(l); (n > 0) != c.want {
				t.Errorf("%s: %d budgets", what, n)
			}
		})
	}
}

// Three a minute are one for each twenty seconds, and no more than three at once.
func TestBudgetIsSpentAndComesBackEvenly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter(3, func(*record.Event) {}, func(*record.Event) error { return nil })
		defer l.Close()
		for _, c := range []struct {
			after time.Duration
			own   int
		}{{0, 3}, {19 * time.Second, 0}, {time.Second, 1}, {40 * time.Second, 2}, {time.Hour, 3}} {
			time.Sleep(c.after)
			if own := spend(l, 5); own != c.own {
				t.Errorf("after %v more %d have records of their own, want %d", c.after, own, c.own)
			}
		}
	})
}

func TestWithoutABudgetThoseAloneShareThatAskTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		l := NewLimiter(0, j.post, j.write)
		defer l.Close()
		var all sync.WaitGroup
		for i := range 6 {
			all.Go(func() {
				e := refusedOne()
				e.ID, e.Aggregate = record.ID(i+1), i < 4
				if i%2 == 0 {
					if shared, err := l.Aggregate(e); shared != e.Aggregate || err != nil {
						t.Errorf("%d shares a record: %t, %v", i, shared, err)
					}
				} else if p, course := l.Postpone(e, may{}); (course == Shared) != e.Aggregate {
					t.Errorf("%d: course %d", i, course)
				} else if course == Shared {
					_, _ = p.Wait(e, may{})
				}
			})
		}
		all.Wait()
		// Nobody floods, so nobody is blamed; and whose it is that shares, the record says.
		if got := j.taken(); len(got) != 1 || got[0].Suppressed != 3 || got[0].Client != refusedOne().Client {
			t.Errorf("records %+v", got)
		}
		if p, course := l.Postpone(&record.Event{Kind: record.Refused, Aggregate: true}, full{}); course != Dropped || p.w != nil {
			t.Errorf("without a place to wait in: course %d", course)
		}
	})
}

func TestChallengesWaitForATenthOfASecondAndRefusalsForOne(t *testing.T) {
	for kind, want := range map[record.Kind]time.Duration{
		record.Challenged: 100 * time.Millisecond, record.Refused: time.Second, record.Answered: time.Second,
	} {
		synctest.Test(t, func(t *testing.T) {
			j := journal{err: errors.New("full")}
			l := NewLimiter(1, j.post, j.write)
			defer l.Close()
			spend(l, 1)
			e := refusedOne()
			e.Kind, e.ID = kind, 7
			began := time.Now()
			shared, err := l.Aggregate(e)
			if waited := time.Since(began); !shared || !errors.Is(err, j.err) || waited != want {
				t.Errorf("%v: shared %t, %v, after %v", kind, shared, err, waited)
			}
			if got := j.taken(); len(got) != 2 || got[0].Kind != record.Flood || got[1].Suppressed != 0 || got[1].ID != 7 {
				t.Errorf("%v: records %+v", kind, got)
			}
		})
	}
}

// A minute after the last refusal beyond the budget; what is spent comes back meanwhile.
func TestFloodIsOverAfterAMinuteAndItsBudgetForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		l := NewLimiter(3, j.post, j.write)
		if own := spend(l, 5); own != 3 {
			t.Fatalf("%d have records of their own", own)
		}
		if _, course := l.Postpone(refusedOne(), full{}); course != Dropped {
			t.Fatalf("course %d", course)
		}
		time.Sleep(2 * RefusalWait)
		kinds := func() (all []string) {
			for _, e := range j.taken() {
				all = append(all, e.Kind.String()+" "+e.Detail)
			}
			return all
		}
		if got := kinds(); len(got) != 2 || got[1] != "refused " {
			t.Errorf("records %q", got)
		}
		if time.Sleep(Span - 2*RefusalWait - 1); len(kinds()) != 0 {
			t.Error("it is over within the minute")
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		want := "flood the flood is over: 2 refusals beyond the budget of 3 a minute shared records, 1 more got no answer"
		if got := kinds(); !slices.Equal(got, []string{want}) {
			t.Errorf("at its end: %q", got)
		}
		if n, sources := known(l); n != 0 || sources != 0 {
			t.Errorf("%d budgets of %d sources are kept", n, sources)
		}
		if l.sweeper.Stop() {
			t.Error("somebody still looks after no budget")
		}
		l.Close()
	})
}

func TestFloodThatGoesOnIsNotOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		l := NewLimiter(1, j.post, j.write)
		defer l.Close()
		spend(l, 2)
		time.Sleep(Span / 2)
		spend(l, 1)
		time.Sleep(Span / 2)
		if synctest.Wait(); len(j.taken()) != 3 { // its beginning, and two that stand for one each
			t.Error("it is told as over half a minute after a refusal")
		}
		time.Sleep(Span)
		if synctest.Wait(); len(j.taken()) != 1 {
			t.Error("it is not told as over")
		}
	})
}

func TestBudgetIsKeptWhileSomethingOfItIsSpent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		l := NewLimiter(3, j.post, j.write)
		spend(l, 1)
		time.Sleep(Span - 1)
		spend(l, 1)
		for _, want := range []int{1, 0} {
			time.Sleep(Span)
			synctest.Wait()
			if n, _ := known(l); n != want {
				t.Errorf("%d budgets are kept, want %d", n, want)
			}
		}
		spend(l, 1)
		l.Close()
		if l.sweep(); l.sweeper.Stop() {
			t.Error("somebody looks after the budgets of what is closed")
		}
		l.Finish()
		if got := j.taken(); len(got) != 0 {
			t.Errorf("without a flood: %+v", got)
		}
	})
}

func TestFloodsThatLastAreToldAtTheEndOfTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		l := NewLimiter(1, j.post, j.write)
		spend(l, 3)
		l.Finish()
		got := j.taken()
		if len(got) != 3 || got[1].Suppressed != 1 || got[2].Detail != "the flood is over: 2 refusals beyond the budget of 1 a minute shared records" {
			t.Errorf("records %+v", got)
		}
		l.Close()
		if own := spend(l, 3); own != 3 {
			t.Error("who comes behind the end waits")
		}
	})
}

// full is who has no place to wait in.
type full struct{ may }

// MayWait implements Waiter.
func (full) MayWait() bool { return false }

// leaves is who has a place until it is closed.
type leaves chan struct{}

func (leaves) MayWait() bool              { return true }
func (w leaves) Evicted() <-chan struct{} { return w }

func TestWhoLosesItsPlaceIsInNoRecordUnlessThatIsBeingWritten(t *testing.T) {
	for _, limit := range []int{1, 0} { // 0: they share though there is no budget
		for stay := range 2 {
			synctest.Test(t, func(t *testing.T) {
				var j journal
				l := NewLimiter(limit, j.post, j.write)
				spend(l, limit)
				e := refusedOne()
				e.Aggregate = limit == 0
				lost := make(leaves)
				var waiters sync.WaitGroup
				wait := func(w Waiter, want Course) {
					p, _ := l.Postpone(e, w)
					waiters.Go(func() {
						one := *e
						if course, err := p.Wait(&one, w); course != want || err != nil {
							t.Errorf("course %d, %v; want %d", course, err, want)
						}
					})
				}
				wait(lost, Dropped)
				wait(lost, Dropped)
				if stay > 0 {
					wait(may{}, Shared)
				}
				synctest.Wait()
				close(lost)
				synctest.Wait()
				l.Finish() // hangs where a window is left behind of those that are gone
				waiters.Wait()
				all := j.taken()
				want := fmt.Sprintf("the flood is over: %d refusals beyond the budget of 1 a minute shared records, 2 more got no answer", stay)
				if limit > 0 && all[len(all)-1].Detail != want {
					t.Errorf("%d stay: the flood is told as %s", stay, all[len(all)-1].Detail)
				}
				shared := slices.DeleteFunc(all, func(e record.Event) bool { return e.Kind == record.Flood })
				if len(shared) != stay || stay > 0 && shared[0].Suppressed != 0 {
					t.Errorf("limit %d, %d stay: records %+v", limit, stay, shared)
				}
				l.Close()
			})
		}
	}
	synctest.Test(t, func(t *testing.T) {
		written := make(chan struct{})
		l := NewLimiter(1, func(*record.Event) {}, func(*record.Event) error { <-written; return nil })
		spend(l, 1)
		lost := make(leaves)
		p, _ := l.Postpone(refusedOne(), lost)
		time.Sleep(RefusalWait)
		synctest.Wait()
		close(lost)
		go close(written)
		if course, err := p.Wait(refusedOne(), lost); course != Shared || err != nil {
			t.Errorf("while it is written: course %d, %v", course, err)
		}
		l.Close()
	})
}

func TestSourceOfIPv6IsAWholeNetwork(t *testing.T) {
	for from, want := range map[string]string{
		"10.0.0.9": "10.0.0.9", "::ffff:10.0.0.9": "10.0.0.9", "2001:db8:0:1:2::3": "2001:db8:0:1::", "fe80::1%eth0": "fe80::",
	} {
		if got := sourceOf(netip.MustParseAddr(from)); got.String() != want {
			t.Errorf("%s is of %s, want %s", from, got, want)
		}
	}
}
