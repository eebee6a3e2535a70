package dnsfilter

import (
	"context"
	"net/netip"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/dnsfilter/cache"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// packedBytes is what an answer takes at most beside its packed form: an OPT
// record with an extended error.
const packedBytes = 64

// decideFast decides what needs no waiting: ordinary questions that are
// refused, and allowed ones whose packed answer is at hand. False: either it has
// judged and allowed the question, as x.judged then says, and answerMiss goes on
// from there; or it cannot read it, and answerSlow begins with the packet. Record
// and answer are still to come, see conclude.
func (x *exchange) decideFast(s *Server, pkt []byte, client netip.AddrPort, now time.Time, tcp bool) bool {
	if !x.query.ReadFast(pkt, tcp) {
		return false
	}
	q := x.query
	x.begin(s, client, now)
	x.query = q
	if reason := x.judge(); reason != verdict.ReasonNone {
		x.setDecision(verdict.Deny, reason)
		return true
	}
	x.key = cache.Key(x.key, &x.query)
	p := x.snap.packed.Get(x.key, now)
	if p == nil {
		x.judged = true
		return false
	}
	x.event.Addresses = p.Addrs
	if !x.permits(p.Special) {
		x.setDecision(verdict.Deny, verdict.ReasonAddressNotAllowed)
		return true
	}
	x.packed = p
	x.setDecision(x.lookup.Verdict, x.lookup.Reason)
	return true
}

// answerFast appends the answer to what decideFast took and conclude has
// finished.
func (x *exchange) answerFast(pkt, dst []byte) []byte {
	if x.event.Verdict == verdict.Deny {
		return x.appendRefusal(dst, pkt, x.event.Reason)
	}
	x.server.metrics.hit.Inc()
	return x.query.AppendPacked(dst, pkt, x.packed, x.now)
}

// answerMiss answers a question that decideFast has judged and found no packed
// answer for: it asks Exchange.
func (x *exchange) answerMiss(ctx context.Context, pkt []byte) []byte {
	p, reason := x.resolve(ctx)
	if reason != verdict.ReasonNone {
		reason = x.finish(verdict.Deny, reason)
	} else {
		reason = x.permit()
	}
	if reason != verdict.ReasonNone {
		return x.appendRefusal(nil, pkt, reason)
	}
	return x.query.AppendPacked(make([]byte, 0, p.Size()+packedBytes), pkt, p, x.now)
}

// appendRefusal appends the answer to a question that is refused for that reason.
func (x *exchange) appendRefusal(dst, pkt []byte, r verdict.Reason) []byte {
	return x.query.AppendRefusal(dst, pkt, x.server.refusalOf(r), r.String())
}
