package dnsfilter

import (
	"errors"
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/dnsfilter/wire"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
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
	query  wire.Query
	key    []byte // of the cache
	lookup policy.Lookup
	event  audit.Event
	packed *wire.Packed // of the fast path: what an allowed question gets
	form   form         // of the fast path: how the answer is made
	judged bool         // the fast path has read and allowed the question; it lacks the answer
}

// begin makes x a new exchange, in the memory of the one before it.
func (x *exchange) begin(s *Server, client netip.AddrPort, now time.Time) {
	x.server, x.snap, x.client, x.now = s, s.snapshot(), client, now
	x.query = wire.Query{Text: x.query.Text}
	x.key, x.lookup, x.packed, x.form, x.judged = x.key[:0], policy.Lookup{}, nil, fast, false
	x.beginEvent()
}

// beginEvent makes x's event that of a question of which nothing is known yet.
func (x *exchange) beginEvent() {
	x.event = audit.Event{Kind: audit.Answered, Policy: x.snap.policy.Hash(), Client: x.client, Protocol: protocol}
}

// judge walks the steps before the cache, in the order of the decision: is it a
// name, who asks, the deny list, the rules, how many names, the type. It
// returns the reason to refuse, or verdict.ReasonNone to go on.
func (x *exchange) judge() verdict.Reason {
	q := &x.query
	text := string(q.Text)
	x.event.Host, x.event.QType = text, typeName(q.Type)
	known := x.identify()
	name, err := hostname.ParseName(text)
	switch {
	case err != nil:
		return verdict.ReasonBadTarget
	case known:
		x.lookup = x.snap.policy.Lookup(x.snap.policy.Function(x.event.Function), name, x.now)
	case x.server.opt.RefuseUnknown:
		return verdict.ReasonIdentityRequired
	default:
		x.lookup = x.snap.union().Lookup(name, x.now)
	}
	x.event.Rule, x.event.Verdict, x.event.Reason = x.lookup.Rule, x.lookup.Verdict, x.lookup.Reason
	switch {
	case x.lookup.Verdict != verdict.Allow && x.lookup.Verdict != verdict.Report:
		return x.lookup.Reason
	case x.lookup.Wildcard != "" && !x.server.names.Allow(x.client.Addr(), x.lookup.Wildcard, text, x.now):
		return verdict.ReasonLimitNames
	case q.Class != dns.ClassINET || q.Type != dns.TypeANY && !x.server.types[q.Type]:
		return verdict.ReasonTypeNotAllowed
	default:
		return verdict.ReasonNone
	}
}

// identify finds out which function asks, by the source alone.
func (x *exchange) identify() bool {
	function, ok := x.snap.sources.Find(x.client.Addr())
	if !ok {
		return false
	}
	x.event.Function, x.event.Via = function, identity.MethodSource.String()
	x.event.Owner = x.snap.policy.Function(function).Owner()
	return true
}

// permits reports whether the lookup permits every address of an answer.
func (x *exchange) permits(addrs []netip.Addr) bool {
	for _, a := range addrs {
		if !x.lookup.PermitsAddress(a) {
			return false
		}
	}
	return true
}

// setDecision makes the decision the event's.
func (x *exchange) setDecision(v verdict.Verdict, r verdict.Reason) {
	x.event.Verdict, x.event.Reason = v, r
	if v != verdict.Allow || x.server.opt.RecordAll {
		x.event.ID = x.server.opt.Audit.NextID()
	}
}

// recorded reports whether the decision has to be recorded.
func (x *exchange) recorded() bool { return x.event.ID != 0 }

// conclude counts a decision that is set and recorded. Where the record
// could not be written, err, it becomes a refusal for that: audit_unavailable.
// It is the one place that counts.
func (x *exchange) conclude(err error) {
	if err != nil {
		x.event.Verdict, x.event.Reason = verdict.Deny, verdict.ReasonAuditUnavailable
	}
	if x.server.opt.Count != nil {
		x.server.opt.Count(&x.event)
	}
	x.server.metrics.decided(&x.event, x.query.Type)
}

// finish sets the decision, records and concludes. The reason it returns is the one
// given, or audit_unavailable: then that is the answer.
func (x *exchange) finish(v verdict.Verdict, r verdict.Reason) verdict.Reason {
	x.setDecision(v, r)
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
func (x *exchange) permit() verdict.Reason {
	if x.finish(x.lookup.Verdict, x.lookup.Reason) == verdict.ReasonAuditUnavailable {
		return verdict.ReasonAuditUnavailable
	}
	return verdict.ReasonNone
}

// typeName returns the type's word, "TYPE65280" where it has none.
func typeName(qtype uint16) string {
	if label, known := typeLabels[qtype]; known {
		return label
	}
	return dns.Type(qtype).String()
}

// failure tells why Exchange failed.
func failure(err error) verdict.Reason {
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		return verdict.ReasonDNSTimeout
	}
	return verdict.ReasonDNSFailed
}

// refusalOf returns how a reason is answered: as its row says, and where that
// leaves it to the settings, as they say.
func (s *Server) refusalOf(r verdict.Reason) wire.Refusal {
	row := r.Row()
	f := wire.Refusal{Rcode: int(row.DNS.RCode), Code: uint16(row.DNS.EDE)}
	switch row.DNS.RCode {
	case verdict.RCodeRefuseWith:
		f.Rcode, f.SOA = dns.RcodeNameError, true
	case verdict.RCodeRefuseType:
		f.Rcode, f.SOA = dns.RcodeSuccess, true
	default:
		return f
	}
	switch s.opt.RefuseWith {
	case Refused:
		f.Rcode, f.SOA = dns.RcodeRefused, false
	case NoData:
		f.Rcode = dns.RcodeSuccess
	}
	return f
}
