package gate

import (
	"net/netip"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/ipclass"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// What the steps know of the numbers of RFC 1035, sections 3.2.3 and 3.2.4.
const (
	classIN = 1
	typeANY = 255 // all types, which is answered without asking for any (RFC 8482)
)

// LookupRules are what all questions are decided by that begin with one policy snapshot.
// The zero value of each field refuses.
type LookupRules struct {
	Policy  *policy.Policy
	Sources *identity.Sources
	Union   func() *policy.Union // what a source gets that is of no function; nil: nothing
	Types   map[uint16]bool      // the record types that are answered
}

// LookupDecision is one DNS question on its way. Other than a request it has no port and
// no credential, and where its source is of no function it may get the names of all. It
// begins with one policy snapshot and one event, and every step adds to both. The zero
// value refuses.
type LookupDecision struct {
	Event audit.Event // becomes the record; Client and QType are the front's to set
	Rules *LookupRules

	at            uint8 // of lookupOrder: the next one
	expected      Need  // what is to be given; Refused: nothing
	qtype, qclass uint16
	host          hostname.Name
	function      *policy.Function // whose source it is; nil: the policy has none of the event's name
	chain         []string         // the names that the answer leads through
	unchecked     []netip.Addr     // of the answer's addresses: those that are not yet permitted

	Start   time.Time
	Decided policy.Lookup
	Reason  verdict.Reason // of the refusal
}

// Begin begins a decision about a question that has yet to be read, in the memory of the
// one before it. Event is the front's to begin.
func (d *LookupDecision) Begin(rules *LookupRules) {
	d.Rules, d.Decided, d.Reason = rules, policy.Lookup{}, verdict.ReasonNone
	d.at, d.expected, d.qtype, d.qclass = 0, Refused, 0, 0
	d.host, d.function, d.chain, d.unchecked = hostname.Name{}, nil, nil, nil
}

// BeginName sets the question that was read: a name in lower case without its last dot, a type
// and a class.
func (d *LookupDecision) BeginName(name string, qtype, qclass uint16, now time.Time) {
	d.Event.Host, d.qtype, d.qclass, d.Start = name, qtype, qclass, now
}

// Next runs steps until one needs something, and returns what; the same until it is
// given. Behind the last step it refuses.
func (d *LookupDecision) Next() Need {
	for d.expected == Refused && d.Reason == verdict.ReasonNone {
		if int(d.at) >= len(lookupOrder) {
			return d.refuse(verdict.ReasonHostNotAllowed)
		}
		need := lookupOrder[d.at](d)
		d.at++
		if need != goOn {
			d.expected = need
		}
	}
	if d.Reason != verdict.ReasonNone {
		return Refused
	}
	return d.expected
}

// refuse makes the refusal the decision's and the event's. One without a reason is one
// nevertheless.
func (d *LookupDecision) refuse(r verdict.Reason) Need {
	if r == verdict.ReasonNone {
		r = verdict.ReasonHostNotAllowed
	}
	d.Reason, d.expected = r, Refused
	d.Event.Verdict, d.Event.Reason = verdict.Deny, r
	return Refused
}

// Refuse refuses for what the front has found by itself, such as a malformed packet.
func (d *LookupDecision) Refuse(r verdict.Reason) { d.refuse(r) }

// given ends the wait for a need, and reports whether it was that one. What was not
// asked for refuses.
func (d *LookupDecision) given(n Need) bool {
	if d.expected != n {
		d.refuse(d.Reason)
		return false
	}
	d.expected = Refused
	return true
}

// Give brings what Next has asked for: a reason to refuse, or verdict.ReasonNone to go
// on, as Record does. What another method has to bring, none at all refuses.
func (d *LookupDecision) Give(r verdict.Reason) {
	if r != verdict.ReasonNone {
		d.refuse(r)
		return
	}
	d.given(Record)
}

// GiveNames brings whether there is room for another name below the wildcard.
func (d *LookupDecision) GiveNames(free bool) {
	if d.given(Names) && !free {
		d.refuse(verdict.ReasonLimitNames)
	}
}

// GiveAnswer brings what the resolver has answered: every name that the answer leads
// through, in lower case and without its last dot, and every address in it.
func (d *LookupDecision) GiveAnswer(aliases []string, addresses []netip.Addr) {
	if d.given(Records) {
		d.chain, d.unchecked, d.Event.Addresses = aliases, addresses, addresses
	}
}

// GiveStored brings an answer that was kept since GiveAnswer brought it to a decision by
// the same policy, which has judged its aliases: its addresses, and what Special has
// returned of them.
func (d *LookupDecision) GiveStored(addresses, special []netip.Addr) {
	if d.given(Records) {
		d.unchecked, d.Event.Addresses = special, addresses
	}
}

// Special returns those of the addresses that only some rules permit. The others are
// permitted by every rule that allows the name.
func Special(addresses []netip.Addr) []netip.Addr {
	var some []netip.Addr
	for _, a := range addresses {
		if !ipclass.IsPublic(a) || ipclass.AlwaysBlocked(a) {
			some = append(some, a)
		}
	}
	return some
}

// source finds out whose source asks; a question shows nothing else. It refuses nobody
// where there are rules, so that the record of a name that is none has it too.
func (d *LookupDecision) source() Need {
	if d.Rules == nil {
		return d.refuse(verdict.ReasonHostNotAllowed)
	}
	if name, known := d.Rules.Sources.Find(d.Event.Client.Addr()); known {
		d.function = d.Rules.Policy.Function(name)
		d.Event.Function, d.Event.Owner, d.Event.Via = name, d.function.Owner(), identity.MethodSource.String()
	}
	return goOn
}

// FindSource finds out whose source asks, for a front that refuses a question before its
// first step: the event has the function then.
func (d *LookupDecision) FindSource() { d.source() }

// known reports whether the source is of a function.
func (d *LookupDecision) known() bool { return d.Event.Function != "" }

// name reads the name, which has to be that of a host.
func (d *LookupDecision) name() Need {
	host, err := hostname.ParseName(d.Event.Host)
	if err != nil {
		return d.refuse(verdict.ReasonBadTarget)
	}
	d.host = host
	return goOn
}

// HasBelow reports whether the source may have a name looked up that is below the one it
// has asked for. A refusal must not say then that the name does not exist.
func (d *LookupDecision) HasBelow() bool {
	switch {
	case d.Rules == nil:
		return false
	case d.known():
		return d.Rules.Policy.HasBelow(d.function, d.Event.Host, d.Start)
	case d.Rules.Union != nil:
		return d.Rules.Union().HasBelow(d.Event.Host)
	}
	return false
}

// identify refuses a source of no function, unless it gets the names of all.
func (d *LookupDecision) identify() Need {
	if !d.known() && d.Rules.Union == nil {
		return d.refuse(verdict.ReasonIdentityRequired)
	}
	return goOn
}

// decide asks the policy: the deny list, then the rules. A refusal by the rules of a
// function in report mode passes, with the reason kept for the record.
func (d *LookupDecision) decide() Need {
	if d.known() {
		d.Decided = d.Rules.Policy.Lookup(d.function, d.host, d.Start)
	} else {
		d.Decided = d.Rules.Union().Lookup(d.host, d.Start)
	}
	d.Event.Rule, d.Event.Verdict, d.Event.Reason = d.Decided.Rule, d.Decided.Verdict, d.Decided.Reason
	if d.Decided.Verdict != verdict.Allow && d.Decided.Verdict != verdict.Report {
		return d.refuse(d.Decided.Reason)
	}
	return goOn
}

// limitNames asks whether there is room for the name, where a wildcard has it: the label
// that is free could carry data.
func (d *LookupDecision) limitNames() Need {
	if d.Decided.Wildcard == "" {
		return goOn
	}
	return Names
}

// recordType refuses types and classes that are not answered.
func (d *LookupDecision) recordType() Need {
	if d.qclass != classIN || d.qtype != typeANY && !d.Rules.Types[d.qtype] {
		return d.refuse(verdict.ReasonTypeNotAllowed)
	}
	return goOn
}

// records asks for the answer.
func (d *LookupDecision) records() Need {
	if d.qtype == typeANY {
		return goOn
	}
	return Records
}

// aliases asks the deny list about every name that the answer leads through, as that of
// a request does. What is judged is the name that was asked for: an alias may have any
// form, such as that of a classless delegation (RFC 2317), for its owner chose it. The
// first that is denied decides.
func (d *LookupDecision) aliases() Need {
	if rule, denied := deniesAny(d.Rules.Policy, d.chain); denied {
		d.Event.Rule = rule
		return d.refuse(verdict.ReasonHostDenied)
	}
	return goOn
}

// addresses checks every one of them: an answer with one that is not permitted is
// refused whole.
func (d *LookupDecision) addresses() Need {
	for _, a := range d.unchecked {
		if !d.Decided.PermitsAddress(a) {
			return d.refuse(verdict.ReasonAddressNotAllowed)
		}
	}
	return goOn
}

// record asks for the record.
func (d *LookupDecision) record() Need { return Record }

// answer ends the decision about a question.
func (d *LookupDecision) answer() Need { return Answer }
