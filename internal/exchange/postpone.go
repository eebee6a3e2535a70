package exchange

import (
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
