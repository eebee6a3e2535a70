package dnsfilter

import (
	"context"
	"net/netip"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/gate"
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
	x.begin(s, client)
	x.query = q
	if x.drive(now) == gate.Records {
		x.judged = true
		return false
	}
	x.number()
	return true
}

// answerFast appends the answer to what decideFast took; failed: its record, if it has
// one, could not be written.
func (x *exchange) answerFast(pkt, dst []byte, failed error) []byte {
	if !x.conclude(failed) {
		return x.appendRefusal(dst, pkt, x.Reason)
	}
	x.server.metrics.hit.Inc()
	return x.query.AppendPacked(dst, pkt, x.packed, x.Start)
}

// answerMiss answers a question that decideFast has judged and found no packed
// answer for: it asks Exchange.
func (x *exchange) answerMiss(ctx context.Context, pkt []byte) []byte {
	now := x.resolve(ctx)
	switch answered := x.finish(); {
	case x.dropped:
		return nil
	case !answered:
		return x.appendRefusal(nil, pkt, x.Reason)
	}
	return x.query.AppendPacked(make([]byte, 0, x.packed.Size()+packedBytes), pkt, x.packed, now)
}

// appendRefusal appends the answer to a question that is refused for that reason.
func (x *exchange) appendRefusal(dst, pkt []byte, r verdict.Reason) []byte {
	return x.query.AppendRefusal(dst, pkt, x.refusal(r), r.String())
}
