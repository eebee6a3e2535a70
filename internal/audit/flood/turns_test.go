package flood

import (
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit/record"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// Thousands share a record. When it is written somebody else has a turn again and again
// before the last of them has gone on, by Aggregate and by Postpone.
func TestThoseWhoShareARecordDoNotHaveTheProcessorToThemselves(t *testing.T) {
	const waiters = 4096
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	write := func(*record.Event) error { return nil }
	l := NewLimiter(1, func(*record.Event) {}, write)
	defer l.Close()
	_, _ = l.Aggregate(refusedOne()) // the only record of its own
	var wait sync.WaitGroup
	var gone atomic.Int64
	for i := range waiters {
		wait.Go(func() {
			if i%2 == 0 {
				if shared, err := l.Aggregate(refusedOne()); !shared || err != nil {
					t.Errorf("shares a record: %v, %v", shared, err)
				}
			} else if p, course := l.Postpone(refusedOne(), may{}); course != Shared {
				t.Errorf("course %v", course)
			} else if course, err := p.Wait(refusedOne(), may{}); course != Shared || err != nil {
				t.Errorf("course %v, %v", course, err)
			}
			gone.Add(1)
		})
	}
	waiting := func() (n uint64) {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, w := range l.windows {
			n += w.count
		}
		return n
	}
	if !egresstest.Within(egresstest.Timeout, func() bool { return waiting() == waiters }) {
		t.Fatalf("%d wait", waiting())
	}
	l.Flush()
	turns := 0
	for gone.Load() < waiters {
		turns++
		runtime.Gosched()
	}
	wait.Wait()
	if turns < waiters/atOnce/8 {
		t.Errorf("somebody else has %d turns while %d go on", turns, waiters)
	}
}

// While they go on the machine is not theirs: a few at a time, with a pause between, and
// nevertheless the last of them soon.
func TestThoseWhoShareARecordGoOnAFewAtATime(t *testing.T) {
	for _, waiters := range []int{1, 16, 17, 4096, 20_000} {
		synctest.Test(t, func(t *testing.T) {
			l := NewLimiter(1, func(*record.Event) {}, func(*record.Event) error { return nil })
			defer l.Close()
			_, _ = l.Aggregate(refusedOne())
			var wait sync.WaitGroup
			var gone atomic.Int64
			for range waiters {
				wait.Go(func() {
					_, _ = l.Aggregate(refusedOne())
					gone.Add(1)
				})
			}
			synctest.Wait()
			time.Sleep(RefusalWait - time.Nanosecond)
			start, before, most := time.Now(), int64(0), int64(0)
			for time.Sleep(time.Nanosecond); gone.Load() < int64(waiters); time.Sleep(pause) {
				synctest.Wait()
				most, before = max(most, gone.Load()-before), gone.Load()
			}
			if few := int64(atOnce * (1 + waiters/4000)); most > few {
				t.Errorf("of %d waiters %d go on at once, want %d at most", waiters, most, few)
			}
			if took := time.Since(start); took > longest+2*pause {
				t.Errorf("%d waiters: the last goes on after %v", waiters, took)
			}
			wait.Wait()
		})
	}
}

// refusedOne is a refusal of one source.
func refusedOne() *record.Event {
	return &record.Event{
		Kind: record.Refused, Reason: verdict.ReasonHostNotAllowed,
		Client: netip.MustParseAddrPort("10.0.0.1:1"),
	}
}

// may is who may wait.
type may struct{}

// MayWait implements Waiter.
func (may) MayWait() bool { return true }

// Evicted implements Waiter.
func (may) Evicted() <-chan struct{} { return nil }
