package gate

import (
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/attest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hello"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/httphead"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// Forwardable are the methods of plain HTTP. TRACE would echo what proxies
// added; anything else has no agreed meaning.
var Forwardable = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut,
	http.MethodPatch, http.MethodDelete, http.MethodOptions,
}

// connectTarget reads the target of a CONNECT. Only the request-target counts:
// Host may be absent or differ, and a Connection field changes nothing. Content
// would be tunnel bytes to one reader and a body to another, so it is refused.
func (d *Decision) connectTarget() Need {
	t, err := hostname.ParseTarget(d.Head.Target)
	if err != nil {
		return d.refuse(verdict.ReasonBadTarget)
	}
	d.setTarget(t)
	if d.Head.HasContent() {
		return d.refuse(verdict.ReasonBadRequest)
	}
	if d.Head.PassedBy(Pseudonym) {
		return d.refuse(verdict.ReasonLoop)
	}
	return goOn
}

// setTarget sets the target that the request line names.
func (d *Decision) setTarget(t hostname.Target) {
	d.Target = t
	d.Event.Host = t.Host.String()
	d.Event.Port = t.Port
}

// plainTarget reads the target of a plain request. The fields Host and Expect must be
// well-formed, but the target is what the request line says.
func (d *Decision) plainTarget() Need {
	if !slices.Contains(Forwardable, d.Head.Method) {
		return d.refuse(verdict.ReasonMethodNotAllowed)
	}
	t, rest, reason, err := httphead.ParseAbsolute(d.Head.Target)
	d.setTarget(t)
	if reason != verdict.ReasonNone {
		d.Cause = err
		if err != nil {
			d.trace("target: %v", err)
		}
		return d.refuse(reason)
	}
	if err := d.Head.CheckForward(); err != nil {
		d.Cause = err
		return d.refuse(verdict.ReasonBadRequest)
	}
	if d.Head.PassedBy(Pseudonym) {
		return d.refuse(verdict.ReasonLoop)
	}
	switch {
	case rest == "" && d.Head.Method == http.MethodOptions:
		rest = "*" // the server as a whole (RFC 9112, section 3.2.4)
	case !strings.HasPrefix(rest, "/"):
		rest = "/" + rest
	}
	d.Path, d.Authority = rest, hostField(t)
	return goOn
}

// hostField returns the Host field of a request to the target (RFC 9110,
// section 7.2): the port only where it is not the scheme's.
func hostField(t hostname.Target) string {
	if t.Port != 80 {
		return t.String()
	}
	return strings.TrimSuffix(t.String(), ":80")
}

// credential reads the credential that the head shows, and asks for whom a token of AWS
// names, where the file trusts some. What has no form that holds is not verified.
func (d *Decision) credential() Need {
	values := d.Head.Authorization
	if len(values) == 0 {
		return goOn
	}
	if d.Identities.AWS() != nil && len(values) == 1 {
		if a, ok := identity.ParseAttested(values[0]); ok {
			held := a // a itself would be on the heap for every other credential too
			d.Caller.Credential, d.Attested = a.Claimed, &held
			if a.Token == "" {
				return goOn
			}
			return Token
		}
	}
	credential, err := identity.ParseAuthorization(values[0])
	d.Caller.Credential = credential
	d.Caller.BadCredential = err != nil || len(values) > 1
	return goOn
}

// GivePrincipal brings whom the token of AWS names; nil: it does not hold.
func (d *Decision) GivePrincipal(p *attest.Principal) {
	if !d.given(Token) || p == nil {
		return
	}
	d.Caller.Principal = p
	d.Event.Principal, d.Event.TokenID = p.ARN, p.TokenID
}

// identify finds out who calls, by everything that the caller shows. A credential that
// is shown must hold; nothing falls back.
func (d *Decision) identify() Need {
	id, err := d.Identities.Identify(d.Caller)
	switch {
	case errors.Is(err, identity.ErrRequired):
		return d.refuse(verdict.ReasonIdentityRequired)
	case err != nil, !d.Caller.Chain.Valid(d.Identities, d.Start):
		if name := d.Caller.Credential.String(); d.Policy.Function(name) != nil {
			d.Event.Claimed = name
		}
		return Failure
	}
	d.Function = d.Policy.Function(id.Function)
	d.Event.Function = id.Function
	d.Event.Owner = d.Function.Owner()
	d.Event.Via = id.Method.String()
	return goOn
}

// admit asks for a slot.
func (d *Decision) admit() Need { return Slot }

// decide asks the policy. A refusal by the rules of a function in report mode
// passes, with the reason kept for the record.
func (d *Decision) decide() Need {
	d.Decided = d.Policy.Decide(d.Function, d.Target, d.Start)
	if d.Trace != nil {
		_, steps := d.Policy.Explain(d.Function, d.Target, d.Start)
		for _, s := range steps {
			d.Trace(s.Text)
		}
	}
	d.Event.Rule = d.Decided.Rule
	d.Event.Reason = d.Decided.Reason
	d.Event.Verdict = d.Decided.Verdict
	if d.Decided.Verdict == verdict.Deny {
		return d.refuse(d.Decided.Reason)
	}
	return goOn
}

// clear stops a plain request where the rule wants TLS, as the short form of
// a rule does: its content would cross the network in the clear, and no ClientHello
// would name the host. Port 80 is plain HTTP's own.
func (d *Decision) clear() Need {
	if d.passesClear() || !d.WantsHello() {
		return goOn
	}
	d.trace("the rule wants TLS, and plain HTTP goes to port 80 alone")
	if !d.Function.Reports(d.Start) {
		return d.refuse(verdict.ReasonNotTLS)
	}
	d.report(verdict.ReasonNotTLS)
	return goOn
}

// report lets through what is in report mode, and keeps why it would be refused.
func (d *Decision) report(r verdict.Reason) {
	d.Decided.Verdict, d.Decided.Reason = verdict.Report, r
}

// limitNames asks whether there is room for the name, where a wildcard has it: the label
// that is free could carry data to whoever answers for it. What counts is the pattern
// that a lookup of the name would be allowed by, so that the fronts agree: a name that a
// rule has itself, for whatever port, carries nothing.
func (d *Decision) limitNames() Need {
	name := d.Target.Host.Name()
	if name.IsZero() || d.Decided.Verdict == verdict.Allow && !d.Decided.ByWildcard {
		return goOn
	}
	d.Wildcard = d.Policy.Lookup(d.Function, name, d.Start).Wildcard
	if d.Wildcard == "" {
		return goOn
	}
	d.trace("names: this is one of those below *.%s that the function may have looked up in a minute", d.Wildcard)
	return Names
}

// lookup asks for the addresses of the target, once; a literal one is its own.
func (d *Decision) lookup() Need {
	if a := d.Target.Host.Addr(); a.IsValid() {
		d.Addresses = []netip.Addr{a}
		return goOn
	}
	return Lookup
}

// aliases asks the deny list about every name that the target's has led through. Whom
// an allowed name leads to is for its owner to say, and what is denied stays so.
func (d *Decision) aliases() Need {
	d.Event.Addresses = d.Addresses
	if rule, denied := deniesAny(d.Policy, d.Aliases); denied {
		d.Event.Rule = rule
		d.trace("aliases: %s leads through %s, of which the deny list has one (%s, line %d)", d.Target.Host, strings.Join(d.Aliases, ", "), rule, rule.Line())
		return d.refuse(verdict.ReasonHostDenied)
	}
	return goOn
}

// deniesAny returns the line of the deny list that has the first denied one of the
// aliases, for every front.
func deniesAny(p *policy.Policy, aliases []string) (policy.Rule, bool) {
	for _, alias := range aliases {
		if rule, denied := p.DeniesAlias(alias); denied {
			return rule, true
		}
	}
	return policy.Rule{}, false
}

// addresses checks every one of them: an answer with one that is not permitted is
// refused whole, because a mixed answer is what rebinding looks like.
func (d *Decision) addresses() Need {
	for _, a := range d.Addresses {
		permitted := d.Permits(netip.AddrPortFrom(a, d.Target.Port))
		if d.Trace != nil {
			d.traceAddress(a)
		}
		if !permitted {
			return d.refuse(verdict.ReasonAddressNotAllowed)
		}
	}
	return goOn
}

// recordable asks whether records can be written.
func (d *Decision) recordable() Need { return Recordable }

// dial asks for a connection.
func (d *Decision) dial() Need { return Dial }

// open asks for the record of the permit.
func (d *Decision) open() Need {
	d.Event.Verdict, d.Event.Reason = d.Decided.Verdict, d.Decided.Reason
	return Open
}

// hello asks for the client's first bytes, where the rule wants a ClientHello.
func (d *Decision) hello() Need {
	if !d.WantsHello() {
		return goOn
	}
	return Hello
}

// GiveHello brings the ClientHello that was read, or what is wrong with the first bytes:
// an error of package hello. A mismatch is let through in report mode.
func (d *Decision) GiveHello(h hello.Hello, err error) {
	if !d.given(Hello) {
		return
	}
	d.Event.SNI, d.Event.HasSNI = h.ServerName(), h.HasSNI
	if err == nil {
		err = h.Check(d.Target.Host.String())
	}
	reason := verdict.ReasonNotTLS
	switch {
	case err == nil:
		d.Verified = true
		return
	case errors.Is(err, hello.ErrMissing):
		reason = verdict.ReasonSNIMissing
	case errors.Is(err, hello.ErrMismatch):
		reason = verdict.ReasonSNIMismatch
	}
	if !d.Function.Reports(d.Start) {
		d.Reason = reason
		return
	}
	d.report(reason)
	d.reopened = true
}

// reopen asks for a second record where a ClientHello was let through.
func (d *Decision) reopen() Need {
	if !d.reopened {
		return goOn
	}
	return d.open()
}

// tunnel ends the decision about a CONNECT.
func (d *Decision) tunnel() Need { return Tunnel }

// forward ends the decision about a plain request.
func (d *Decision) forward() Need { return Forward }
