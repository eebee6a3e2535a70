package dnsfilter

import (
	"errors"
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/dnsfilter/cache"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/dnsfilter/wire"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/fair"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/gate"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// protocol is the value of that name in records and metrics.
const protocol = "dns"

// exchange is one question on its way through the decision, on either path. It
// begins with one snapshot and one event, and every step of package gate adds to both.
type exchange struct {
	gate.LookupDecision
	server *Server
	snap   *snapshot
	query  wire.Query
	key    []byte       // of the cache
	packed *wire.Packed // what an allowed question gets; nil: the resolver has to be asked, or nobody
	form   form         // of the fast path: how the answer is made
	judged bool         // the fast path has read and allowed the question; it lacks the answer

	question *question // that it is the exchange of; nil: it need not wait
	dropped  bool      // nobody may see an answer, because no record has it
}

// begin makes x a new exchange, in the memory of the one before it.
func (x *exchange) begin(s *Server, client netip.AddrPort) {
	x.server, x.snap = s, s.snapshot()
	x.query = wire.Query{Text: x.query.Text}
	x.key, x.packed, x.form, x.judged = x.key[:0], nil, fast, false
	x.Begin(&x.snap.rules)
	x.beginEvent(client)
}

// beginEvent makes x's event that of a question of which nothing is known yet.
func (x *exchange) beginEvent(client netip.AddrPort) {
	x.Event = audit.Event{Kind: audit.Answered, Policy: x.snap.rules.Policy.Hash(), Client: client, Protocol: protocol}
}

// drive begins the question that was read, and drives the decision as far as it goes
// without waiting: to gate.Records where the resolver has to be asked, to gate.Record
// where the question may be answered, with the packed answer that is at hand, or to
// gate.Refused.
func (x *exchange) drive(now time.Time) gate.Need {
	x.Event.QType = typeName(x.query.Type)
	x.BeginName(string(x.query.Text), x.query.Type, x.query.Class, now)
	for {
		switch need := x.Next(); need {
		case gate.Names:
			x.GiveNames(x.server.opt.Names.Allow(x.caller(), x.Decided.Wildcard, x.Event.Host, now))
		case gate.Records:
			x.key = cache.Key(x.key[:0], &x.query)
			if x.packed = x.snap.packed.Get(x.key, now); x.packed == nil {
				return need
			}
			x.GiveStored(x.packed.Addrs, x.packed.Special)
		case gate.Record, gate.Answer, gate.Refused:
			return need
		default:
			x.Refuse(verdict.ReasonLimitTotal) // a need that lookups do not have
		}
	}
}

// number ends the way to the record: one that is needed gets its number.
func (x *exchange) number() {
	if x.Event.Verdict != verdict.Allow || x.server.opt.RecordAll {
		x.Event.ID = x.server.opt.Audit.NextID()
	}
}

// recorded reports whether the decision has to be recorded.
func (x *exchange) recorded() bool { return x.Event.ID != 0 }

// conclude counts a decision that is settled and recorded, and reports whether the
// question is answered. Where the record could not be written, err, it becomes a refusal
// for that: audit_unavailable. It is the one place that counts.
func (x *exchange) conclude(err error) bool {
	switch {
	case err != nil:
		x.Refuse(verdict.ReasonAuditUnavailable)
	case x.Reason == verdict.ReasonNone:
		x.Give(verdict.ReasonNone)
	}
	if x.server.opt.Count != nil {
		x.server.opt.Count(&x.Event)
	}
	x.server.metrics.decided(&x.Event, x.query.Type)
	return x.Next() == gate.Answer
}

// finish settles, records and concludes. Where the refusal has to share its record and may
// not wait for that, x is dropped then.
func (x *exchange) finish() bool {
	x.number()
	if !x.recorded() {
		return x.conclude(nil)
	}
	// Not Record: what is answered here waits among questions of its caller, with a
	// place of theirs, and they are bounded apart from those that wait for a record.
	if x.Event.Verdict == verdict.Deny {
		switch p, course := x.question.postpone(x); course {
		case audit.Shared:
			x.question.release()
			if ok, err := x.question.awaitRecord(p, x); ok {
				return x.conclude(err)
			}
			x.dropped = true
			return false
		case audit.Dropped:
			x.dropped = true
			return false
		}
	}
	_, err := x.server.opt.Audit.RecordAll([]*audit.Event{&x.Event})
	return x.conclude(err)
}

// caller returns who asks, for what is shared out among callers. What a question shows of
// a function can be forged.
func (x *exchange) caller() fair.Caller {
	c := fair.CallerOf(x.Event.Function, x.Event.Client.Addr())
	c.ByAddress = c.Function != ""
	return c
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
	var limit *fair.ShareError
	if errors.As(err, &limit) {
		return limit.Reason
	}
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		return verdict.ReasonDNSTimeout
	}
	return verdict.ReasonDNSFailed
}

// refusal returns how x is refused for a reason: as refusalOf says, but for a name that
// has allowed names below it. It has no records and exists (RFC 8020): a cache in front
// that were told otherwise might cut off what is below.
func (x *exchange) refusal(r verdict.Reason) wire.Refusal {
	f := x.server.refusalOf(r)
	if f.Rcode == dns.RcodeNameError && x.HasBelow() {
		f.Rcode = dns.RcodeSuccess
	}
	return f
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
