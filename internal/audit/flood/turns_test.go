package flood

import (
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

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
	refused := func() *record.Event {
		return &record.Event{
			Kind: record.Refused, Reason: verdict.ReasonHostNotAllowed,
			Client: netip.MustParseAddrPort("10.0.0.1:1"),
		}
	}
	_, _ = l.Aggregate(refused()) // the only record of its own
	var wait sync.WaitGroup
	var gone atomic.Int64
	for i := range waiters {
		wait.Go(func() {
			if i%2 == 0 {
				if shared, err := l.Aggregate(refused()); !shared || err != nil {
					t.Errorf("shares a record: %v, %v", shared, err)
				}
			} else if p, course := l.Postpone(refused(), may{}); course != Shared {
				t.Errorf("course %v", course)
			} else if course, err := p.Wait(refused(), may{}); course != Shared || err != nil {
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

// may is who may wait.
type may struct{}

// MayWait implements Waiter.
func (may) MayWait() bool { return true }

// Evicted implements Waiter.
func (may) Evicted() <-chan struct{} { return nil }
