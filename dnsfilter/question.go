package dnsfilter

import (
	"bytes"
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/dnsfilter/wire"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/dnsserver"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/fair"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// question is one that waits, in memory of its own, and what it holds meanwhile: while
// Exchange works one of the places of Limits.InFlight, and while others come to share
// the record of its refusal one of Limits.Refusals.
type question struct {
	server *Server
	x      exchange
	pkt    []byte
	client netip.AddrPort
	tcp    bool
	place  fair.Place

	caller fair.Caller // who may wait for a record
	shared fair.Place
	wait   *recordWait // nil: it does not

	mu      sync.Mutex
	evicted verdict.Reason     // why its place is somebody else's; ReasonNone: it is not
	cancel  context.CancelFunc // ends the wait for Exchange; nil: there is none yet
}

// acquire takes a place for the caller, or says why there is none.
func (q *question) acquire(c fair.Caller) verdict.Reason {
	s := q.server
	out, ok := s.pending.Acquire(&q.place, c, q)
	if out.Happened() {
		s.metrics.refused.WithLabelValues(out.Cause()).Inc()
		out.CarryOut()
		s.crowding.Add(out.Caller)
	}
	if !ok {
		return out.Reason
	}
	s.metrics.inFlight.Inc()
	return verdict.ReasonNone
}

// release gives the place back, once.
func (q *question) release() {
	if q.server.pending.Release(&q.place) {
		q.server.metrics.inFlight.Dec()
	}
}

// Evict implements fair.Owner: the question is refused for the reason, unless it has its
// answer already.
func (q *question) Evict(r verdict.Reason) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.evicted = r
	if q.cancel != nil {
		q.cancel()
	}
}

// begins says how the wait for Exchange is ended.
func (q *question) begins(cancel context.CancelFunc) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.cancel = cancel
	if q.evicted != verdict.ReasonNone {
		cancel()
	}
}

// cutShort returns why the wait for Exchange was ended; ReasonNone: it was not.
func (q *question) cutShort() verdict.Reason {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.evicted
}

// recordWait is a question's wait for the record that it shares.
type recordWait struct{ evicted chan struct{} }

// Evict implements fair.Owner: the question is dropped, unless its record is being
// written.
func (w *recordWait) Evict(verdict.Reason) { close(w.evicted) }

// MayWait implements audit.Waiter: it takes a place to wait for a record in, one of
// whoever has most where there is no other.
func (q *question) MayWait() bool {
	w := &recordWait{make(chan struct{})}
	out, ok := q.server.refusals.TryAcquire(&q.shared, q.caller, w)
	if ok {
		q.wait = w
	}
	out.CarryOut()
	return ok
}

// Evicted implements audit.Waiter.
func (q *question) Evicted() <-chan struct{} { return q.wait.evicted }

// postpone says what becomes of the record of x, which is refused. Where it is shared, q
// has to wait for it; where it is dropped, that is counted.
func (q *question) postpone(x *exchange) (audit.Postponed, audit.Course) {
	s := q.server
	q.caller = x.caller()
	p, course := s.opt.Audit.Postpone(&x.Event, q)
	if course == audit.Dropped {
		q.countDropped()
	}
	return p, course
}

// countDropped counts a question that gets neither an answer nor a record.
func (q *question) countDropped() {
	q.server.metrics.refusalsDropped.Inc()
	q.server.flooding.Add(q.caller)
}

// awaitRecord waits for the record that x shares, and returns what became of it. False:
// the question has lost its place before, and is dropped.
func (q *question) awaitRecord(p audit.Postponed, x *exchange) (ok bool, err error) {
	defer q.server.refusals.Release(&q.shared)
	course, err := p.Wait(&x.Event, q)
	if course == audit.Dropped {
		q.countDropped()
	}
	return course == audit.Shared, err
}

// moveFrom moves a packet and its exchange, with all that has been found, into q; both
// are free for the next one then.
func (q *question) moveFrom(x *exchange, p *dnsserver.Packet) {
	q.pkt, q.client, q.tcp = bytes.Clone(p.Data), p.Client, p.TCP
	q.x = *x
	*x = exchange{}
	q.x.query.MoveTo(q.pkt)
	q.x.question = q
}

// answerRefusal answers a question that was refused, once the record that it shares is
// written; nil: it is dropped.
func (q *question) answerRefusal(p audit.Postponed) []byte {
	ok, err := q.awaitRecord(p, &q.x)
	if !ok {
		return nil
	}
	return q.server.answer(&q.x, q.pkt, err, nil)
}

// answer answers the question. ctx ends when Shutdown gives up.
func (q *question) answer(ctx context.Context) (reply []byte) {
	s := q.server
	defer func() {
		q.release()
		if fault := recover(); fault != nil {
			s.panicked(fault)
			reply = wire.AppendFailure(nil, q.pkt)
		}
	}()
	if q.x.judged {
		return q.x.answerMiss(ctx, q.pkt)
	}
	return q.x.answerSlow(ctx, s, q.pkt, q.client, time.Now(), q.tcp)
}
