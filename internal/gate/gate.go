// Package gate is the decision: the steps that a request takes from its target to its
// tunnel, and a DNS question from its name to its answer, once, in order.
//
// What it does: [Decision.Next] runs steps until one needs something that only the
// outside can bring (a slot, addresses, a connection, a record, a ClientHello), says
// what, and goes on when [Decision.Give] has brought it; or until the request is
// refused. [LookupDecision] does the same for a DNS question, which has no port and no
// credential. What differs between fronts is which steps they walk: one table, in
// orders.go. Every front drives it, and holds no rule of its own.
//
// What it does not do: it performs no I/O, waits for nothing, reads no clock, and
// records nothing: it fills in the event that becomes the record. It reads neither
// packets nor records of DNS.
//
//	d.Begin(gate.Connect, head, now)
//	for {
//		switch d.Next() {
//		case gate.Lookup:
//			d.GiveAddresses(lookup(d.Target.Host))
//		case gate.Dial:
//			…
//		case gate.Refused:
//			return d.Reason
//		}
//	}
package gate

import (
	"net/netip"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/httphead"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// Pseudonym names the proxy in Via and Proxy-Status (RFC 9110, section 7.6.3). All
// proxies of the project share it, so that a loop through several is seen as one.
const Pseudonym = "egress"

// Decision is one request on its way. It begins with one policy snapshot and one event,
// and every step adds to both. Fields above the line are the front's to set before
// Begin; the zero value of each refuses.
type Decision struct {
	Opened // of it Event, and Caller but for what the head shows, are the front's to set

	Policy     *policy.Policy
	Identities *identity.Table
	Self       func(netip.AddrPort) bool // an address of our own, which is never dialed; nil: none is known
	Trace      func(line string)         // is told what each step has found, a line for people; nil: nobody is

	front    Front
	at       int  // of the steps of the front: the next one
	expected Need // what Give is to bring; Refused: nothing
	reopened bool // a report about the ClientHello has to be recorded

	Head      *httphead.Head
	Attested  *identity.Attested // the token of AWS that was shown; nil: none was
	Path      string             // of a plain request: its target in origin-form, as it was written
	Authority string             // of a plain request: host and port as its Host field has them, in canonical form
	Function  *policy.Function
	Decided   policy.Decision
	Wildcard  string // where Names is needed: the part behind the "*." of the pattern that has the name
	Addresses []netip.Addr
	Reason    verdict.Reason // of the refusal
	Cause     error          // what is wrong with the head, for a more exact status; nil: nothing
}

// Opened is what stays of a decision that has permitted something, because a tunnel may
// stay for hours: what its last record says, and what another policy has to judge.
type Opened struct {
	Event    audit.Event // becomes the record
	Caller   identity.Caller
	Start    time.Time
	Target   hostname.Target
	Aliases  []string // the names that the target's led through
	Verified bool     // the ClientHello named the host
	Clear    bool     // it is a plain request: it has no ClientHello, and may go to any of its addresses
}

// Begin begins a decision about the request.
func (d *Decision) Begin(f Front, h *httphead.Head, now time.Time) {
	d.front, d.Head, d.Start, d.Clear = f, h, now, f == Plain
	d.at, d.expected, d.reopened = 0, Refused, false
}

// Next runs steps until one needs something, and returns what; the same until it is
// given. Behind the last step, and for an unknown front, it refuses.
func (d *Decision) Next() Need {
	for d.expected == Refused && d.Reason == verdict.ReasonNone {
		steps := stepsOf(d.front)
		if d.at >= len(steps) {
			d.Reason = verdict.ReasonHostNotAllowed
			break
		}
		need := steps[d.at](d)
		d.at++
		if need != goOn && need != Refused {
			d.expected = need
		}
	}
	if d.Reason != verdict.ReasonNone {
		return Refused
	}
	return d.expected
}

// Give brings what Next has asked for: a reason to refuse, or verdict.ReasonNone to go
// on. A credential that does not hold is refused whatever is given, what another method
// has to bring is refused where nothing is brought, and a refusal stays one.
func (d *Decision) Give(r verdict.Reason) {
	if r != verdict.ReasonNone {
		d.Refuse(r, d.Cause)
		return
	}
	switch d.expected {
	case Refused:
		d.Refuse(d.Reason, d.Cause)
	case Token, Failure:
		d.Refuse(verdict.ReasonIdentityRejected, nil)
	case Names:
		d.Refuse(verdict.ReasonLimitNames, nil)
	case Lookup:
		d.Refuse(verdict.ReasonDNSFailed, nil)
	case Hello:
		d.Refuse(verdict.ReasonNotTLS, nil)
	default:
		d.expected = Refused
	}
}

// Refuse refuses for what the front has found by itself, such as a malformed head. A
// refusal without a reason is one nevertheless.
func (d *Decision) Refuse(r verdict.Reason, cause error) {
	if r == verdict.ReasonNone {
		r = verdict.ReasonHostNotAllowed
	}
	d.Reason, d.Cause, d.expected = r, cause, Refused
}

// given ends the wait for a need, and reports whether it was that one. What was not
// asked for refuses.
func (d *Decision) given(n Need) bool {
	if d.expected != n {
		d.Refuse(d.Reason, d.Cause)
		return false
	}
	d.expected = Refused
	return true
}

// refuse is Refuse of a step.
func (d *Decision) refuse(r verdict.Reason) Need {
	d.Reason = r
	return Refused
}

// GiveNames brings whether there is room for another name below the wildcard.
func (d *Decision) GiveNames(free bool) {
	if d.given(Names) && !free {
		d.Reason = verdict.ReasonLimitNames
	}
}

// GiveAddresses brings what a lookup has found. No address is dns_failed.
func (d *Decision) GiveAddresses(addresses []netip.Addr, aliases []string) {
	if !d.given(Lookup) {
		return
	}
	if len(addresses) == 0 {
		d.Reason = verdict.ReasonDNSFailed
		return
	}
	d.Addresses, d.Aliases = addresses, aliases
}

// Permits reports whether the decision lets a connection go to the address. It
// is asked of every address of the answer, and again at connect(2).
func (d *Decision) Permits(a netip.AddrPort) bool {
	a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	return d.Decided.PermitsAddress(a.Addr()) && (d.Self == nil || !d.Self(a))
}

// WantsHello reports whether the tunnel must begin with a ClientHello for the
// host. A rule that is only reported on has no say about TLS: report mode is
// for finding out what a function needs, protocols where the server speaks
// first included.
func (d *Decision) WantsHello() bool {
	return d.Decided.Verdict == verdict.Allow && d.Decided.Rule.TLS() == policy.TLSVerify
}

// PassesUpgrade reports whether a plain request may become a tunnel (RFC 9110, section
// 7.8): its bytes are nobody's to read, and a rule that says so is one that opens them by
// CONNECT too. Without such a rule, in report mode for example, it stays a request.
func (d *Decision) PassesUpgrade() bool {
	return d.Decided.Verdict == verdict.Allow && d.Decided.Rule.TLS() == policy.TLSAny
}

// StillAllowed reports whether another policy would permit what was opened: the same
// caller, the same target, the names and the addresses that led to. It may be asked while
// a request is under way.
func (o *Opened) StillAllowed(p *policy.Policy, identities *identity.Table, now time.Time) bool {
	if !o.sameCaller(identities, now) {
		return false
	}
	f := p.Function(o.Event.Function)
	decided := p.Decide(f, o.Target, now)
	if decided.Verdict == verdict.Allow && decided.Rule.TLS() == policy.TLSVerify && !o.Verified && !o.passesClear() && !f.Reports(now) {
		return false
	}
	if _, denied := deniesAny(p, o.Aliases); denied {
		return false
	}
	if !o.Clear {
		return decided.PermitsAddress(o.Event.Dialed.Addr())
	}
	permits := decided.Verdict != verdict.Deny
	for _, a := range o.Event.Addresses {
		permits = permits && decided.PermitsAddress(a)
	}
	return permits
}

// sameCaller reports whether what the caller has shown is still the function's.
func (o *Opened) sameCaller(identities *identity.Table, now time.Time) bool {
	id, err := identities.Identify(o.Caller)
	return err == nil && id.Function == o.Event.Function && o.Caller.Chain.Trusted(identities, now)
}

// passesClear reports whether it is a plain request to the port of plain HTTP, where a rule
// that wants TLS lets it through.
func (o *Opened) passesClear() bool { return o.Clear && o.Target.Port == 80 }
