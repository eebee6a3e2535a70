package exchange

import (
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/bounds"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/fair"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// pendingRefusals are the places in which refused requests wait for the record that they
// share: half of what clients may have open, so that those of one caller are never all
// connections.
type pendingRefusals struct {
	places   fair.Places
	crowding fair.CrowdingLog
}

// init sets how many connections clients may have.
func (r *pendingRefusals) init(s *Shared) {
	r.places.Init(max(s.Resources.Connections/2, 1), &bounds.Refusals)
	r.crowding.Row, r.crowding.Log = bounds.Refusals.Name, s.Log
}

// refusalWait is a refusal's wait. It implements audit.Waiter.
type refusalWait struct {
	pending *pendingRefusals
	caller  fair.Caller
	place   fair.Place
	evicted chan struct{}
}

// Evict implements fair.Owner: who has less takes the place, and the refusal is dropped.
func (w *refusalWait) Evict(verdict.Reason) { close(w.evicted) }

// MayWait implements audit.Waiter.
func (w *refusalWait) MayWait() bool {
	w.evicted = make(chan struct{})
	out, ok := w.pending.places.TryAcquire(&w.place, w.caller, w)
	out.CarryOut()
	return ok
}

// Evicted implements audit.Waiter.
func (w *refusalWait) Evicted() <-chan struct{} { return w.evicted }

// recordRefusal writes the record of a refusal, or waits for the one that it shares. False:
// it may not wait, for its caller has its share of those who do. Then there is no record,
// nobody may see an answer, and it is counted.
func (x *Exchange) recordRefusal(kind audit.Kind, r verdict.Reason) (recorded bool, err error) {
	x.Event.Kind, x.Event.Verdict, x.Event.Reason = kind, verdict.Deny, r
	w := &refusalWait{pending: &x.shared.refusals, caller: fair.CallerOf(x.Event.Function, x.Event.Client.Addr())}
	p, course := x.shared.Audit.Postpone(&x.Event, w)
	switch course {
	case audit.Own:
		began := time.Now()
		_, err = x.shared.Audit.RecordAll([]*audit.Event{&x.Event})
		x.shared.Metrics.recorded(1, err, time.Since(began))
	case audit.Shared:
		course, err = p.Wait(&x.Event, w)
		x.shared.refusals.places.Release(&w.place)
	}
	if course == audit.Dropped {
		x.shared.Metrics.refusalsDropped.Inc()
		x.shared.refusals.crowding.Add(w.caller)
		return false, nil
	}
	x.Recorded(err)
	return true, err
}
