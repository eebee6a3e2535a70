// Package exchange is one request of a client: what its decision is given, its record,
// and the reply where it is refused.
//
// What it does: [Shared.Begin] takes the policy in force and begins a decision of
// package gate; Advance brings it what need not be waited for (a place among the
// tunnels, room for a name, whether records can be written), LookupHost and Dial what has to be. Record,
// Permit and Ended write the records, and SendRefusal answers, so that records, metrics
// and replies agree.
//
// What it does not do: it does not read requests and forwards nothing. Who drives a
// decision (packages connect and forward) says when.
package exchange

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/admission"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/clientconn"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/fair"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/gate"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/httphead"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/perfunction"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/refusal"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// Exchange is one request: its decision, and what is brought to it. Whoever drives it
// has it alone.
type Exchange struct {
	gate.Decision

	Conn      *clientconn.Conn
	Recording time.Duration // how long the permit waited for its record

	shared   *Shared
	usage    *admission.Usage // nil until admitted
	dialFrom uint32           // with which of its addresses it begins
	held     int64            // bytes that it holds at worst, while usage has them
	counted  perfunction.Moved
	wait     refusalWait // for the record that its refusal shares
}

// Begin begins an exchange: the snapshot of the policy is taken here, once.
func (s *Shared) Begin(c *clientconn.Conn, f gate.Front, h *httphead.Head) *Exchange {
	x := s.unused.Get().(*Exchange)
	*x = Exchange{shared: s, Conn: c, dialFrom: rand.Uint32()}
	x.Policy, x.Identities = s.Policy()
	x.Self = s.Self
	x.Caller.Certificate, x.Caller.Chain, x.Caller.Source = c.Certificate, c.Chain, c.Client.Addr()
	x.Event = audit.Event{
		ID:       s.Audit.NextID(),
		Policy:   x.Policy.Hash(),
		Client:   c.Client,
		Method:   h.Word(),
		Protocol: protocolHTTP,
	}
	if f == gate.Connect {
		x.Event.Protocol = protocolConnect
	}
	x.Decision.Begin(f, h, time.Now())
	return x
}

// Recycle gives an exchange that is over to the next request, for who knows that nobody
// else has it: what a tunnel leaves behind would be half of all garbage.
func (x *Exchange) Recycle() {
	s := x.shared
	*x = Exchange{}
	s.unused.Put(x)
}

// Advance goes on to what has to be waited for, and brings what need not.
func (x *Exchange) Advance() gate.Need {
	for {
		switch need := x.Next(); need {
		case gate.Token:
			p := x.shared.Tokens.Remembered(x.Attested.Digest, x.Identities.AWS(), x.Start)
			if p == nil {
				return need
			}
			x.GivePrincipal(p)
		case gate.Failure:
			reason := x.shared.Failures.Judge(x.Conn.Client.Addr(), x.Start)
			x.Event.Aggregate = reason == verdict.ReasonLimitFailures
			x.shared.Challenges.Answered(x.Conn.Client.Addr(), false)
			x.shared.Metrics.of.Rejected.With(x.Event.Claimed).Inc()
			x.Give(reason)
		case gate.Slot:
			x.Conn.Identified()
			x.shared.Challenges.Answered(x.Conn.Client.Addr(), true)
			x.Give(x.admit())
		case gate.Names:
			x.GiveNames(x.shared.Names.Allow(x.caller(), x.Wildcard, x.Event.Host, x.Start))
		case gate.Recordable:
			x.Give(x.recordable())
		default:
			return need
		}
	}
}

// admit takes a place among the tunnels, and the bytes that the request may hold;
// Release gives them back.
func (x *Exchange) admit() verdict.Reason {
	bytes := admission.RequestBytes(x.Event.Protocol == protocolConnect, len(x.Head.Raw))
	usage, reason, shed := x.shared.Slots.Acquire(x.Event.Function, bytes)
	if x.usage = usage; usage != nil {
		x.held = bytes
	} else {
		x.shed(shed)
	}
	// Looked at after the take: Drain sets it before it looks at what is taken,
	// so one of the two sees the other.
	if x.shared.Draining.Load() {
		return verdict.ReasonDraining
	}
	return reason
}

// series returns the metrics of the function that is admitted; nil: none is.
func (x *Exchange) series() *series {
	if x.usage == nil {
		return nil
	}
	return x.usage.Data.(*series)
}

// TakeKeepAlive reports whether the connection may wait for its next request behind this
// one, which has been admitted.
func (x *Exchange) TakeKeepAlive() bool { return x.Conn.TakeKeepAlive(x.usage) }

// Release gives the place among the tunnels back, and the bytes; it may be called again.
func (x *Exchange) Release() {
	if x.usage != nil {
		x.shared.Slots.Release(x.usage, x.held)
		x.usage, x.held = nil, 0
	}
}

// caller returns who asks, for what is shared out among callers.
func (x *Exchange) caller() fair.Caller {
	return fair.CallerOf(x.Event.Function, x.Event.Client.Addr())
}

// LookupHost finds the addresses of the target and gives them, or the reason why there
// are none.
func (x *Exchange) LookupHost(ctx context.Context) {
	if x.LookupNow() {
		return
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, x.shared.Limits.lookupTime(began.Sub(x.Start)))
	defer cancel()
	found, err := x.shared.Lookup(fair.WithCaller(ctx, x.caller()), x.Target.Host.Name())
	var timeout interface{ Timeout() bool }
	var limit *fair.ShareError
	ended := failed
	switch {
	case errors.As(err, &limit):
		x.shed(shedLookups)
		x.Give(limit.Reason)
	case err == nil:
		ended = succeeded
		x.give(found)
	case errors.As(err, &timeout) && timeout.Timeout(), clientGone(ctx):
		ended = timedOut
		x.Give(verdict.ReasonDNSTimeout)
	default:
		x.Give(verdict.ReasonDNSFailed)
	}
	x.shared.Metrics.steps.observe(stepResolve, ended, time.Since(began))
}

// LookupNow is LookupHost where nothing has to be waited for. False: it has to be.
func (x *Exchange) LookupNow() bool {
	began := time.Now()
	found, err := x.shared.Lookup(x.shared.over, x.Target.Host.Name())
	if err != nil || len(found.Addresses) == 0 {
		return false
	}
	x.shared.Metrics.steps.observe(stepResolve, succeeded, time.Since(began))
	x.give(found)
	return true
}

// give gives what a lookup has found.
func (x *Exchange) give(found Resolved) {
	x.Event.Stale = found.Stale
	x.GiveAddresses(found.Addresses, found.Aliases)
}

// recordable stops what could not be recorded before anything is dialed.
func (x *Exchange) recordable() verdict.Reason {
	if !x.shared.Audit.Healthy() {
		return verdict.ReasonAuditUnavailable
	}
	return verdict.ReasonNone
}

// SendRefusal records the refusal, answers it, and ends the connection. Nothing
// behind the request is read as a request (RFC 9931). The record may take a second
// and the client its time to close, so what it has sent is let go before either, and
// with it the place that a connection has until its caller is known. Who may not wait for
// a record gets no answer.
func (x *Exchange) SendRefusal() { x.sendRefusal(false) }

// SendPlainRefusal is SendRefusal for a plain request. It returns whether the connection may
// take another one: where the caller is known, and nothing has come behind the head, it is
// clear where the next request begins.
func (x *Exchange) SendPlainRefusal() (again bool) {
	return x.sendRefusal(x.Head.Minor == 1 && x.Head.Persistent() && !x.Head.HasContent() && len(x.Conn.Buffered()) == 0 &&
		x.usage != nil && !x.shared.Draining.Load() && x.TakeKeepAlive())
}

// sendRefusal is SendRefusal, and keeps the connection where persist says so and the refusal
// is answered, which it returns.
func (x *Exchange) sendRefusal(persist bool) (again bool) {
	x.Release()
	x.Head = nil
	x.Conn.Free()
	x.Conn.Identified()
	reason, cause := x.Reason, x.Cause
	if x.shared.Base.Err() != nil && reason.Row().Fault == verdict.FaultOutside {
		reason = verdict.ReasonDraining // nothing has failed; Close has cut it short
	}
	kind := audit.Refused
	if reason == verdict.ReasonIdentityRequired {
		// Java and .NET ask without a credential first, always: that is a
		// question and no attempt.
		kind = audit.Challenged
	}
	switch {
	case reason == verdict.ReasonAuditUnavailable && x.Event.Reason == reason:
		// The record has failed and is counted; this is the answer to it.
	default:
		recorded, err := x.recordRefusal(kind, reason)
		if !recorded {
			return false
		}
		if err != nil {
			cause = nil
		}
	}
	if x.Event.Reason == verdict.ReasonIdentityRequired {
		x.shared.Challenges.Challenged(x.Conn.Client.Addr())
	}
	return x.answer(cause, persist)
}

// RefuseTunnel records the refusal of a tunnel that is open. The record may take a second,
// for which it keeps its place: a caller in a loop can open no more than its tunnels in
// that time. Where its first bytes are an HTTP request with the method, that is answered,
// within the tunnel; empty: they are not, and the record is the answer.
func (x *Exchange) RefuseTunnel(method string) {
	x.Head = nil
	x.Conn.Free()
	_ = x.Record(audit.Refused, verdict.Deny, x.Reason)
	x.Release()
	if method != "" {
		x.Event.Method = method
		x.answer(nil, false)
	}
}

// answer writes the refusal that has been recorded, and ends the connection, unless it is
// to be kept.
func (x *Exchange) answer(cause error, persist bool) (again bool) {
	reply := refusal.ReplyTo(x.Event.Reason, cause)
	reply.ID, reply.Persist = x.shared.Audit.FormatID(x.Event.ID), persist
	x.Conn.SetLingerWriteDeadline()
	b := x.shared.replies.Get().(*[]byte)
	*b = reply.AppendTo((*b)[:0], &x.Event)
	_, err := x.Conn.Write(*b)
	if cap(*b) == refusal.Size { // nobody's large one is kept for all
		x.shared.replies.Put(b)
	}
	x.shared.Metrics.steps.observe(stepTotal, outcomeOf(x.Event.Reason), time.Since(x.Start))
	if err == nil && !persist {
		x.Conn.LingeringClose(x.Event.Function)
	}
	x.Conn.Refused = persist
	return err == nil && persist
}
