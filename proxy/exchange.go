package proxy

import (
	"context"
	"errors"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/admission"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/gate"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/httphead"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// exchange is one request: its decision, and what is brought to it. It is driven by
// connect.go, connectop_linux.go or plain.go.
type exchange struct {
	gate.Decision

	server    *Server
	conn      *conn
	usage     *admission.Usage // nil until admitted
	held      int64            // bytes that it holds at worst, while usage has them
	failure   verdict.Reason   // of a plain request that was permitted; ReasonNone: none
	recording time.Duration    // how long the permit waited for its record
}

// newExchange begins an exchange: the snapshot is taken here, once.
func (c *conn) newExchange(f gate.Front, h *httphead.Head) *exchange {
	x := &exchange{server: c.server, conn: c}
	x.Policy, x.Identities = c.server.opt.Policy()
	x.Self = c.server.self
	x.Caller.Certificate, x.Caller.Source = c.certificate, c.client.Addr()
	x.Event = audit.Event{
		ID:       c.server.opt.Audit.NextID(),
		Policy:   x.Policy.Hash(),
		Client:   c.client,
		Method:   h.Word(),
		Protocol: protocolHTTP,
	}
	if f == gate.Connect {
		x.Event.Protocol = protocolConnect
	}
	x.Begin(f, h, time.Now())
	return x
}

// next goes on to what has to be waited for, and brings what need not.
func (x *exchange) next() gate.Need {
	for {
		switch need := x.Next(); need {
		case gate.Failure:
			reason := x.server.failures.Judge(x.conn.client.Addr(), x.Start)
			x.Event.Aggregate = reason == verdict.ReasonLimitFailures
			x.Give(reason)
		case gate.Slot:
			x.conn.identified()
			x.Give(x.admit())
		case gate.Recordable:
			x.Give(x.recordable())
		default:
			return need
		}
	}
}

// admit takes a place among the tunnels; release gives it back.
func (x *exchange) admit() verdict.Reason {
	bytes := admission.RequestBytes(x.Event.Protocol == protocolConnect, len(x.Head.Raw))
	usage, reason := x.server.slots.Acquire(x.Event.Function, bytes)
	if x.usage = usage; usage != nil {
		x.held = bytes
	}
	// Looked at after the take: Drain sets it before it looks at what is taken,
	// so one of the two sees the other.
	if x.server.draining.Load() {
		return verdict.ReasonDraining
	}
	return reason
}

// series returns the metrics of the function that is admitted; nil: none is.
func (x *exchange) series() *series {
	if x.usage == nil {
		return nil
	}
	return x.usage.Data.(*series)
}

// release gives the place among the tunnels back, and the bytes.
func (x *exchange) release() {
	if x.usage != nil {
		x.server.slots.Release(x.usage, x.held)
		x.usage, x.held = nil, 0
	}
}

// lookup finds the addresses of the target and gives them, or the reason why there are
// none.
func (x *exchange) lookup(ctx context.Context) {
	if x.lookupNow() {
		return
	}
	ctx, cancel := context.WithDeadline(ctx, x.Start.Add(x.server.opt.Limits.DialTimeout))
	defer cancel()
	began := time.Now()
	found, err := x.server.opt.Lookup(ctx, x.Target.Host.Name())
	x.server.metrics.resolved(time.Since(began))
	var timeout interface{ Timeout() bool }
	switch {
	case err == nil:
		x.GiveAddresses(found.Addresses, found.Aliases)
	case errors.As(err, &timeout) && timeout.Timeout():
		x.Give(verdict.ReasonDNSTimeout)
	default:
		x.Give(verdict.ReasonDNSFailed)
	}
}

// lookupNow is lookup where nothing has to be waited for. False: it has to be.
func (x *exchange) lookupNow() bool {
	began := time.Now()
	found, err := x.server.opt.Lookup(x.server.over, x.Target.Host.Name())
	if err != nil || len(found.Addresses) == 0 {
		return false
	}
	x.server.metrics.resolved(time.Since(began))
	x.GiveAddresses(found.Addresses, found.Aliases)
	return true
}

// recordable stops what could not be recorded before anything is dialed.
func (x *exchange) recordable() verdict.Reason {
	if !x.server.opt.Audit.Healthy() {
		return verdict.ReasonAuditUnavailable
	}
	return verdict.ReasonNone
}

// refuse records the refusal, answers it, and ends the connection. Nothing
// behind the request is read as a request (RFC 9931). The record may take a second
// and the client its time to close, so what it has sent is let go before either, and
// with it the place that a connection has until its caller is known.
func (x *exchange) refuse() {
	x.release()
	x.Head = nil
	x.conn.free()
	x.conn.identified()
	reason, cause := x.Reason, x.Cause
	if x.server.base.Err() != nil && reason.Row().Fault == verdict.FaultOutside {
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
		if x.record(kind, verdict.Deny, reason) != nil {
			cause = nil
		}
	}
	status := statusOf(x.Event.Reason, cause)
	reply := appendRefusal(nil, &x.Event, x.server.opt.Audit.FormatID(x.Event.ID), status)
	_ = x.conn.SetWriteDeadline(time.Now().Add(lingerTime))
	if _, err := x.conn.Write(reply); err == nil {
		x.conn.lingeringClose()
	}
}
