package dnsfilter

import (
	"context"
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// refusalTTL is how long a refusal may be kept, in seconds: a name that a new
// policy allows is there soon.
const refusalTTL = 10

// packedRoom is what an answer takes at most beside its packed form: an OPT
// record with an extended error.
const packedRoom = 64

// decideFast decides what needs no waiting: ordinary questions that are
// refused, and allowed ones whose packed answer is at hand. False: either it has
// judged and allowed the question, as x.judged then says, and answerMiss goes on
// from there; or it cannot read it, and answerSlow begins with the packet. Record
// and answer are still to come, see conclude.
func (x *exchange) decideFast(s *Server, pkt []byte, client netip.AddrPort, now time.Time, tcp bool) bool {
	if !x.query.readFast(pkt, tcp) {
		return false
	}
	q := x.query
	x.begin(s, client, now)
	x.query = q
	if reason := x.judge(); reason != verdict.ReasonNone {
		x.setDecision(verdict.Deny, reason)
		return true
	}
	x.key = cacheKey(x.key, &x.query)
	p := x.snap.packed.get(x.key, now)
	if p == nil {
		x.judged = true
		return false
	}
	x.event.Addresses = p.addrs
	if !x.permits(p.special) {
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
		return x.appendRefusal(pkt, x.event.Reason, dst)
	}
	x.server.metrics.hit.Inc()
	return x.appendPacked(pkt, x.packed, dst)
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
		return x.appendRefusal(pkt, reason, nil)
	}
	return x.appendPacked(pkt, p, make([]byte, 0, len(p.msg)+packedRoom))
}

// appendHead appends header and question of an answer to pkt.
func (x *exchange) appendHead(pkt []byte, rcode int, dst []byte) []byte {
	additional := byte(0)
	if x.query.edns {
		additional = 1
	}
	dst = append(dst, pkt[0], pkt[1],
		bitQR|byte(x.query.opcode)<<3|pkt[2]&bitRD, bitRA|pkt[3]&bitCD|byte(rcode),
		0, 1, 0, 0, 0, 0, 0, additional)
	return append(dst, pkt[headerLen:x.query.questionEnd()]...)
}

// appendRefusal appends a refusal: the question, an SOA whose owner is the
// question's name, and the extended error.
func (x *exchange) appendRefusal(pkt []byte, r verdict.Reason, dst []byte) []byte {
	f := x.server.refusalOf(r)
	start := len(dst)
	dst = x.appendHead(pkt, f.rcode, dst)
	if f.soa {
		dst[start+9] = 1
		dst = binary.BigEndian.AppendUint16(dst, pointerToTop)
		dst = binary.BigEndian.AppendUint16(dst, dns.TypeSOA)
		dst = binary.BigEndian.AppendUint16(dst, dns.ClassINET)
		dst = binary.BigEndian.AppendUint32(dst, refusalTTL)
		dst = append(dst, 0, 22, 0, 0) // two names, both the root
		for _, n := range soaNumbers {
			dst = binary.BigEndian.AppendUint32(dst, n)
		}
	}
	if x.query.edns {
		dst = appendOPT(dst, x.query.do, f.code, r.String())
	}
	return dst
}

// soaNumbers are serial, refresh, retry, expire and minimum of a refusal's SOA.
var soaNumbers = [5]uint32{1, 3600, 600, 86400, refusalTTL}

// appendOPT appends an OPT record (RFC 6891) with an extended error (RFC 8914);
// an empty text: without.
func appendOPT(dst []byte, do bool, code uint16, text string) []byte {
	flags := uint16(0)
	if do {
		flags = flagsDO
	}
	dst = append(dst, 0, 0, byte(dns.TypeOPT))
	dst = binary.BigEndian.AppendUint16(dst, ourUDP)
	dst = binary.BigEndian.AppendUint32(dst, uint32(flags))
	if text == "" {
		return append(dst, 0, 0)
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(6+len(text)))
	dst = binary.BigEndian.AppendUint16(dst, dns.EDNS0EDE)
	dst = binary.BigEndian.AppendUint16(dst, uint16(2+len(text)))
	dst = binary.BigEndian.AppendUint16(dst, code)
	return append(dst, text...)
}

// optSize returns how long an OPT record with that extended error is.
func optSize(text string) int {
	if text == "" {
		return optLen
	}
	return optLen + 6 + len(text)
}

// appendPacked appends a packed answer with the question as it was asked. The
// pointers in it lead to that question, so the case of the name comes along.
func (x *exchange) appendPacked(pkt []byte, p *packed, dst []byte) []byte {
	start := len(dst)
	end := x.query.questionEnd()
	code, text := p.extendedError()
	size := len(p.msg)
	if x.query.edns {
		size += optSize(text)
	}
	dst = x.appendHead(pkt, p.rcode(), dst)
	if size > x.query.limit {
		dst[start+2] |= bitTC
	} else {
		copy(dst[start+6:start+10], p.msg[6:10])
		dst = append(dst, p.msg[end:]...)
		ttl := p.ttl(x.now)
		for _, at := range p.ttls {
			binary.BigEndian.PutUint32(dst[start+int(at):], ttl)
		}
	}
	if x.query.edns {
		dst = appendOPT(dst, x.query.do, code, text)
	}
	return dst
}
