package dnsfilter

import (
	"errors"
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
)

// protocol is the value of that name in records and metrics.
const protocol = "dns"

// exchange is one question on its way through the decision, on either path. It
// begins with one snapshot and one event, and every step adds to both.
type exchange struct {
	server *Server
	snap   *snapshot
	client netip.AddrPort
	now    time.Time
	query  query
	key    []byte // of the cache
	lookup policy.Lookup
	event  audit.Event
	packed *packed // of the fast path: what an allowed question gets
	form   form    // of the fast path: how the answer is made
}

// begin makes x a new exchange, in the memory of the one before it.
func (x *exchange) begin(s *Server, client netip.AddrPort, now time.Time) {
	x.server, x.snap, x.client, x.now = s, s.snapshot(), client, now
	x.query = query{text: x.query.text}
	x.key, x.lookup, x.packed, x.form = x.key[:0], policy.Lookup{}, nil, wired
	x.event = audit.Event{Kind: audit.Answered, Policy: x.snap.policy.Hash(), Client: client, Protocol: protocol}
}

// judge walks the steps before the cache, in the order of the decision: is it a
// name, who asks, the deny list, the rules, how many names, the type. It
// returns the reason to refuse, or policy.ReasonNone to go on.
func (x *exchange) judge() policy.Reason {
	q := &x.query
	text := string(q.text)
	x.event.Host, x.event.QType = text, typeName(q.qtype)
	known := x.identify()
	name, err := hostname.ParseName(text)
	switch {
	case err != nil:
		return policy.ReasonBadTarget
	case known:
		x.lookup = x.snap.policy.Lookup(x.snap.policy.Function(x.event.Function), name, x.now)
	case x.server.opt.RefuseUnknown:
		return policy.ReasonIdentityRequired
	default:
		x.lookup = x.snap.union().Lookup(name, x.now)
	}
	x.event.Rule, x.event.Verdict, x.event.Reason = x.lookup.Rule, x.lookup.Verdict, x.lookup.Reason
	switch {
	case x.lookup.Verdict != policy.Allow && x.lookup.Verdict != policy.Report:
		return x.lookup.Reason
	case x.lookup.Wildcard != "" && !x.server.names.pass(x.client.Addr(), x.lookup.Wildcard, text, x.now):
		return policy.ReasonLimitNames
	case q.qclass != dns.ClassINET || q.qtype != dns.TypeANY && !x.server.types[q.qtype]:
		return policy.ReasonTypeNotAllowed
	default:
		return policy.ReasonNone
	}
}

// identify finds out which function asks, by the source alone.
func (x *exchange) identify() bool {
	function, ok := x.snap.sources.Find(x.client.Addr())
	if !ok {
		return false
	}
	x.event.Function, x.event.Via = function, "source"
	x.event.Owner = x.snap.policy.Function(function).Owner()
	return true
}

// permits tells whether the lookup permits every address of an answer.
func (x *exchange) permits(addrs []netip.Addr) bool {
	for _, a := range addrs {
		if !x.lookup.PermitsAddress(a) {
			return false
		}
	}
	return true
}

// settle makes the decision the event's.
func (x *exchange) settle(v policy.Verdict, r policy.Reason) {
	x.event.Verdict, x.event.Reason = v, r
	if v != policy.Allow || x.server.opt.RecordAll {
		x.event.ID = x.server.opt.Audit.NextID()
	}
}

// recorded tells whether the decision that is settled has to be recorded.
func (x *exchange) recorded() bool { return x.event.ID != 0 }

// conclude counts a decision that is settled and recorded. Where the record
// could not be written, err, it becomes a refusal for that: audit_unavailable.
// It is the one place that counts.
func (x *exchange) conclude(err error) {
	if err != nil {
		x.event.Verdict, x.event.Reason = policy.Deny, policy.ReasonAuditUnavailable
	}
	if x.server.opt.Count != nil {
		x.server.opt.Count(&x.event)
	}
	x.server.metrics.decided(&x.event, x.query.qtype)
}

// finish settles, records and concludes. The reason it returns is the one
// given, or audit_unavailable: then that is the answer.
func (x *exchange) finish(v policy.Verdict, r policy.Reason) policy.Reason {
	x.settle(v, r)
	var err error
	if x.recorded() {
		// Not Record, where a refusal may wait for company: a question that is
		// answered here holds one of few places that all clients share.
		_, err = x.server.opt.Audit.RecordAll([]*audit.Event{&x.event})
	}
	x.conclude(err)
	return x.event.Reason
}

// permit finishes an exchange that is answered. It returns audit_unavailable
// where it must not be.
func (x *exchange) permit() policy.Reason {
	if x.finish(x.lookup.Verdict, x.lookup.Reason) == policy.ReasonAuditUnavailable {
		return policy.ReasonAuditUnavailable
	}
	return policy.ReasonNone
}

// typeName returns the type's word, "TYPE65280" where it has none.
func typeName(qtype uint16) string {
	if label, known := typeLabels[qtype]; known {
		return label
	}
	return dns.Type(qtype).String()
}

// failure tells why Exchange failed.
func failure(err error) policy.Reason {
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		return policy.ReasonDNSTimeout
	}
	return policy.ReasonDNSFailed
}

// refusal is how a reason is answered.
type refusal struct {
	rcode int
	soa   bool   // with an SOA that says how long
	code  uint16 // the extended error; its text is the reason
}

// refusalOf returns how a reason is answered.
func (s *Server) refusalOf(r policy.Reason) refusal {
	switch r {
	case policy.ReasonBadRequest:
		return refusal{rcode: dns.RcodeFormatError, code: dns.ExtendedErrorCodeOther}
	case policy.ReasonDNSFailed, policy.ReasonDNSTimeout:
		return refusal{rcode: dns.RcodeServerFailure, code: dns.ExtendedErrorCodeNoReachableAuthority}
	case policy.ReasonAuditUnavailable, policy.ReasonLimitTotal, policy.ReasonDraining:
		return refusal{rcode: dns.RcodeServerFailure, code: dns.ExtendedErrorCodeNotReady}
	}
	f := refusal{rcode: dns.RcodeNameError, soa: true, code: dns.ExtendedErrorCodeFiltered}
	switch {
	case s.opt.RefuseWith == Refused:
		f.rcode, f.soa = dns.RcodeRefused, false
	case s.opt.RefuseWith == NoData, r == policy.ReasonTypeNotAllowed, r == policy.ReasonAddressNotAllowed:
		f.rcode = dns.RcodeSuccess
	}
	return f
}
