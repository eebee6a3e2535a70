package proxy

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/admission"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/httphead"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// exchange is one request on its way through the decision. It begins with one
// policy snapshot and one event, and every step adds to both. A step returns
// the reason to refuse, or verdict.ReasonNone to go on.
type exchange struct {
	server *Server
	conn   *conn
	head   *httphead.Head
	start  time.Time

	policy     *policy.Policy
	identities *identity.Table
	caller     identity.Caller
	function   *policy.Function
	usage      *admission.Usage // nil until admitted
	target     hostname.Target
	decision   policy.Decision
	addresses  []netip.Addr
	aliases    []string       // the names that the target's led through
	verified   bool           // the ClientHello named the host
	failure    verdict.Reason // of a plain request that was permitted; ReasonNone: none
	recording  time.Duration  // how long the permit waited for its record

	event audit.Event
}

// newExchange begins an exchange: the snapshot is taken here, once.
func (c *conn) newExchange(h *httphead.Head) *exchange {
	x := &exchange{server: c.server, conn: c, head: h, start: time.Now()}
	x.policy, x.identities = c.server.opt.Policy()
	x.event = audit.Event{
		ID:       c.server.opt.Audit.NextID(),
		Policy:   x.policy.Hash(),
		Client:   c.client,
		Method:   h.Word(),
		Protocol: protocolHTTP,
	}
	return x
}

// judge walks the steps between a parsed target and a dial, in the order of
// the decision: who calls, is there room, the deny list, the function's rules,
// the name's aliases and addresses.
func (x *exchange) judge(ctx context.Context) verdict.Reason {
	for _, step := range [...]func(context.Context) verdict.Reason{
		x.identify, x.admit, x.decide, x.checkClear, x.resolve, x.auditable,
	} {
		if reason := step(ctx); reason != verdict.ReasonNone {
			return reason
		}
	}
	return verdict.ReasonNone
}

// setTarget sets the target that the request line names.
func (x *exchange) setTarget(t hostname.Target) {
	x.target = t
	x.event.Host = t.Host.String()
	x.event.Port = t.Port
}

// identify finds out who calls, by everything that the caller shows.
func (x *exchange) identify(context.Context) verdict.Reason {
	x.caller = identity.Caller{Certificate: x.conn.certificate, Source: x.conn.client.Addr()}
	if shown := x.head.Authorization; len(shown) > 0 {
		credential, err := identity.ParseAuthorization(shown[0])
		x.caller.Credential = credential
		x.caller.BadCredential = err != nil || len(shown) > 1
	}
	id, err := x.identities.Identify(x.caller)
	switch {
	case errors.Is(err, identity.ErrRequired):
		return verdict.ReasonIdentityRequired
	case err != nil:
		reason := x.server.failures.Judge(x.conn.client.Addr(), x.start)
		x.event.Aggregate = reason == verdict.ReasonLimitFailures
		return reason
	}
	x.function = x.policy.Function(id.Function)
	x.event.Function = id.Function
	x.event.Owner = x.function.Owner()
	x.event.Via = id.Via.String()
	x.conn.identified()
	return verdict.ReasonNone
}

// admit takes a place among the tunnels; release gives it back.
func (x *exchange) admit(context.Context) verdict.Reason {
	usage, reason := x.server.slots.Acquire(x.event.Function)
	x.usage = usage
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

// release gives the place among the tunnels back.
func (x *exchange) release() {
	if x.usage != nil {
		x.server.slots.Release(x.usage)
		x.usage = nil
	}
}

// decide asks the policy. A refusal by the rules of a function in report mode
// passes, with the reason kept for the record.
func (x *exchange) decide(context.Context) verdict.Reason {
	x.decision = x.policy.Decide(x.function, x.target, x.start)
	x.event.Rule = x.decision.Rule
	x.event.Reason = x.decision.Reason
	x.event.Verdict = x.decision.Verdict
	if x.decision.Verdict == verdict.Deny {
		return x.decision.Reason
	}
	return verdict.ReasonNone
}

// checkClear stops a plain request where the rule wants TLS, as the short form of
// a rule does: its content would cross the network in the clear, and no ClientHello
// would name the host. Port 80 is plain HTTP's own.
func (x *exchange) checkClear(context.Context) verdict.Reason {
	if x.event.Protocol != protocolHTTP || x.target.Port == 80 || !x.wantsHello() {
		return verdict.ReasonNone
	}
	if x.function.Reports(x.start) {
		x.decision.Verdict, x.decision.Reason = verdict.Report, verdict.ReasonNotTLS
		return verdict.ReasonNone
	}
	return verdict.ReasonNotTLS
}

// resolve finds the addresses of the target, once, and checks every one of
// them: an answer with one that is not permitted is refused whole, because a
// mixed answer is what rebinding looks like.
func (x *exchange) resolve(ctx context.Context) verdict.Reason {
	if !x.resolved() {
		ctx, cancel := context.WithDeadline(ctx, x.start.Add(x.server.opt.Limits.DialTimeout))
		defer cancel()
		began := time.Now()
		found, err := x.server.opt.Lookup(ctx, x.target.Host.Name())
		x.server.metrics.resolved(time.Since(began))
		var timeout interface{ Timeout() bool }
		switch {
		case err != nil && errors.As(err, &timeout) && timeout.Timeout():
			return verdict.ReasonDNSTimeout
		case err != nil || len(found.Addresses) == 0:
			return verdict.ReasonDNSFailed
		}
		x.addresses, x.aliases = found.Addresses, found.Aliases
	}
	return x.checkResolved()
}

// resolved is resolve where nothing has to be waited for; the addresses are yet
// to be checked. False: resolve has to be called.
func (x *exchange) resolved() bool {
	if x.literal() {
		return true
	}
	began := time.Now()
	found, err := x.server.opt.Lookup(x.server.over, x.target.Host.Name())
	if err != nil || len(found.Addresses) == 0 {
		return false
	}
	x.server.metrics.resolved(time.Since(began))
	x.addresses, x.aliases = found.Addresses, found.Aliases
	return true
}

// literal takes the address of a target that is one.
func (x *exchange) literal() bool {
	a := x.target.Host.Addr()
	if a.IsValid() {
		x.addresses = []netip.Addr{a}
	}
	return a.IsValid()
}

// checkResolved asks the policy about every name and every address that the
// target's name has led to.
func (x *exchange) checkResolved() verdict.Reason {
	x.event.Addresses = x.addresses
	if rule, denied := deniesAny(x.policy, x.aliases); denied {
		x.event.Rule = rule
		return verdict.ReasonHostDenied
	}
	for _, a := range x.addresses {
		if !x.permits(netip.AddrPortFrom(a, x.target.Port)) {
			return verdict.ReasonAddressNotAllowed
		}
	}
	return verdict.ReasonNone
}

// deniesAny returns the line of the deny list that has one of the aliases. Whom an
// allowed name leads to is for its owner to say, and what is denied stays so.
func deniesAny(p *policy.Policy, aliases []string) (policy.Rule, bool) {
	for _, alias := range aliases {
		if rule, denied := p.DeniesAlias(alias); denied {
			return rule, true
		}
	}
	return policy.Rule{}, false
}

// permits reports whether the decision lets a connection go to the address. It
// is asked of every address of the answer, and again at connect(2).
func (x *exchange) permits(a netip.AddrPort) bool {
	a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	return x.decision.PermitsAddress(a.Addr()) && !x.server.isSelf(a)
}

// auditable stops what could not be recorded before anything is dialed.
func (x *exchange) auditable(context.Context) verdict.Reason {
	if !x.server.opt.Audit.Healthy() {
		return verdict.ReasonAuditUnavailable
	}
	return verdict.ReasonNone
}

// finish writes the record of a decision and counts it. It is the one place
// that does either, so that records and metrics agree. The error is that the
// record could not be written; then audit_unavailable is counted instead.
func (x *exchange) finish(kind audit.Kind, v verdict.Verdict, r verdict.Reason) error {
	x.event.Kind, x.event.Verdict, x.event.Reason = kind, v, r
	err := x.server.opt.Audit.Record(&x.event)
	x.recorded(err)
	return err
}

// recorded counts a decision by how its record fared.
func (x *exchange) recorded(err error) {
	if err != nil {
		x.event.Verdict, x.event.Reason = verdict.Deny, verdict.ReasonAuditUnavailable
	}
	x.server.metrics.decided(x.series(), &x.event)
}

// permit records that the request may pass; after it the first byte may flow.
func (x *exchange) permit() verdict.Reason {
	began := time.Now()
	if x.finish(audit.Opened, x.decision.Verdict, x.decision.Reason) != nil {
		return verdict.ReasonAuditUnavailable
	}
	x.recording = time.Since(began)
	return verdict.ReasonNone
}

// refuse records the refusal, answers it, and ends the connection. Nothing
// behind the request is read as a request (RFC 9931). The record may take a second
// and the client its time to close, so what it has sent is let go before either.
func (x *exchange) refuse(r verdict.Reason, cause error) {
	x.release()
	x.head = nil
	x.conn.free()
	if x.server.base.Err() != nil && r.Row().Fault == verdict.FaultOutside {
		r = verdict.ReasonDraining // nothing has failed; Close has cut it short
	}
	kind := audit.Refused
	if r == verdict.ReasonIdentityRequired {
		// Java and .NET ask without a credential first, always: that is a
		// question and no attempt.
		kind = audit.Challenged
	}
	switch {
	case r == verdict.ReasonAuditUnavailable && x.event.Reason == r:
		// The record has failed and is counted; this is the answer to it.
	default:
		if x.finish(kind, verdict.Deny, r) != nil {
			cause = nil
		}
	}
	status := statusOf(x.event.Reason, cause)
	reply := appendRefusal(nil, &x.event, x.server.opt.Audit.FormatID(x.event.ID), status)
	_ = x.conn.SetWriteDeadline(time.Now().Add(lingerTime))
	if _, err := x.conn.Write(reply); err == nil {
		x.conn.lingeringClose()
	}
}
