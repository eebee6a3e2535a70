package dnsfilter

import (
	"context"
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// anyTTL is the TTL of the answer to ANY, in seconds.
const anyTTL = 3600

// answerSlow answers any packet that has a header and is not a response, from its
// bytes on. It reads and writes by miekg/dns and may wait for Exchange.
func (x *exchange) answerSlow(ctx context.Context, s *Server, pkt []byte, client netip.AddrPort, now time.Time, tcp bool) []byte {
	x.begin(s, client, now)
	fault, bad := x.readSlow(pkt, tcp)
	if bad {
		return x.refuseSlow(pkt, fault.reason, &fault.refusal)
	}
	if reason := x.judge(); reason != verdict.ReasonNone {
		return x.refuseSlow(pkt, reason, nil)
	}
	if x.query.qtype == dns.TypeANY {
		return x.answerAny(pkt)
	}
	p, reason := x.find(ctx)
	if reason != verdict.ReasonNone {
		return x.refuseSlow(pkt, reason, nil)
	}
	if reason := x.permit(); reason != verdict.ReasonNone {
		return x.writeRefusal(pkt, reason, s.refusalOf(reason))
	}
	return x.writePacked(pkt, p)
}

// find returns the judged answer to an allowed question: a packed one that is
// at hand, or what Exchange brings.
func (x *exchange) find(ctx context.Context) (*packed, verdict.Reason) {
	x.key = cacheKey(x.key[:0], &x.query)
	if p := x.snap.packed.get(x.key, x.now); p != nil {
		x.event.Addresses = p.addrs
		if !x.permits(p.special) {
			return nil, verdict.ReasonAddressNotAllowed
		}
		x.server.metrics.hit.Inc()
		return p, verdict.ReasonNone
	}
	return x.resolve(ctx)
}

// resolve asks Exchange for what the cache lacks, judges it, and keeps it under
// the exchange's key. ctx ends when Shutdown gives up.
func (x *exchange) resolve(ctx context.Context) (*packed, verdict.Reason) {
	x.server.metrics.miss.Inc()
	q := x.question()
	limited, cancel := context.WithTimeout(ctx, x.server.opt.Limits.Budget)
	defer cancel()
	r, err := x.server.opt.Exchange(limited, q, x.query.do)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, verdict.ReasonDraining // nothing has failed; Shutdown has cut it short
	case err != nil:
		return nil, failure(err)
	case r.Rcode != dns.RcodeSuccess && r.Rcode != dns.RcodeNameError:
		return nil, verdict.ReasonDNSFailed
	}
	if reason := x.judgeAnswer(x.event.Host, &r); reason != verdict.ReasonNone {
		return nil, reason
	}
	r.Authority = x.denials(r.Authority)
	x.now = time.Now() // the wait is over: TTLs count from here
	p, err := pack(q, &r, x.now)
	if err != nil {
		return nil, verdict.ReasonDNSFailed
	}
	p.addrs, p.special = x.event.Addresses, special(x.event.Addresses)
	x.snap.packed.put(x.key, p, x.now)
	return p, verdict.ReasonNone
}

// denials leaves of an authority section what proves a denial.
func (x *exchange) denials(records []dns.RR) []dns.RR {
	kept := records[:0]
	for _, rr := range records {
		switch rr.(type) {
		case *dns.SOA:
			kept = append(kept, rr)
		case *dns.NSEC, *dns.NSEC3, *dns.RRSIG:
			if x.query.do {
				kept = append(kept, rr)
			}
		}
	}
	return kept
}

// fault is what is wrong with a packet, and the answer to it.
type fault struct {
	refusal
	reason verdict.Reason
}

// The faults of packets. None of them says anything about the policy.
var (
	faultFormat  = fault{refusal{rcode: dns.RcodeFormatError}, verdict.ReasonBadRequest}
	faultVersion = fault{refusal{rcode: dns.RcodeBadVers}, verdict.ReasonBadRequest}
	faultOpcode  = fault{refusal{rcode: dns.RcodeNotImplemented}, verdict.ReasonTypeNotAllowed}
	faultKind    = fault{refusal{rcode: dns.RcodeRefused, code: dns.ExtendedErrorCodeFiltered}, verdict.ReasonTypeNotAllowed}
)

// readSlow reads a packet into x's query, or says what is wrong with it: it is
// malformed, or is a kind of question that nobody gets an answer to.
func (x *exchange) readSlow(pkt []byte, tcp bool) (f fault, bad bool) {
	q := &x.query
	q.limit = plainUDP
	if tcp {
		q.limit = maxTCP
	}
	switch q.opcode = int(pkt[2] >> 3 & 0x0f); q.opcode {
	case dns.OpcodeQuery:
	case dns.OpcodeUpdate, dns.OpcodeNotify:
		return faultKind, true
	default:
		return faultOpcode, true
	}
	m, wire, ok := unpack(pkt)
	if !ok {
		return faultFormat, true
	}
	asked := m.Question[0]
	q.text = append(q.text[:0], hostname.Fold(asked.Name)...)
	q.wire, q.qtype, q.qclass = wire, asked.Qtype, asked.Qclass
	x.event.Host, x.event.QType = string(q.text), typeName(q.qtype)
	if f, bad := x.readExtra(m.Extra, tcp); bad {
		return f, true
	}
	if q.qclass != dns.ClassINET || !ordinary(q.qtype) && q.qtype != dns.TypeANY {
		return faultKind, true
	}
	return fault{}, false
}

// unpack parses a packet of one question, whose name it returns in wire form.
// False: it is malformed, or what is not a question.
func unpack(pkt []byte) (m dns.Msg, wire []byte, ok bool) {
	if !oneQuestion(pkt) || pkt[2]&(bitTC|bitAA) != 0 || m.Unpack(pkt) != nil || len(m.Question) != 1 ||
		len(m.Extra) != int(binary.BigEndian.Uint16(pkt[10:])) {
		return m, nil, false
	}
	wire, ok = rawName(pkt)
	qtype := m.Question[0].Qtype
	return m, wire, ok && headerLen+len(wire)+4 <= len(pkt) && qtype != dns.TypeNone && qtype != dns.TypeOPT
}

// readExtra reads the OPT record; others are ignored.
func (x *exchange) readExtra(extra []dns.RR, tcp bool) (f fault, bad bool) {
	q := &x.query
	for _, rr := range extra {
		opt, ok := rr.(*dns.OPT)
		switch {
		case !ok:
			continue
		case q.edns, opt.Hdr.Name != ".":
			return faultFormat, true
		}
		q.setEDNS(opt.UDPSize(), opt.Do())
		if tcp {
			q.limit = maxTCP
		}
		if opt.Version() != 0 {
			f, bad = faultVersion, true
		}
	}
	return f, bad
}

// rawName returns the name of the question in its wire form. A name with a
// pointer is none: there is nothing in front of it to point at.
func rawName(pkt []byte) ([]byte, bool) {
	at := headerLen
	for at < len(pkt) && pkt[at] != 0 {
		if pkt[at] > maxLabel {
			return nil, false
		}
		at += 1 + int(pkt[at])
	}
	if at >= len(pkt) || at+1-headerLen > maxWireName {
		return nil, false
	}
	return pkt[headerLen : at+1], true
}

// question returns the question in lower case.
func (x *exchange) question() dns.Question {
	return dns.Question{Name: string(x.query.text) + ".", Qtype: x.query.qtype, Qclass: x.query.qclass}
}

// refuseSlow records a refusal and writes its answer; how: nil, as the reason is
// answered.
func (x *exchange) refuseSlow(pkt []byte, r verdict.Reason, how *refusal) []byte {
	final := x.finish(verdict.Deny, r)
	f := x.server.refusalOf(final)
	if how != nil && final == r {
		f = *how
	}
	return x.writeRefusal(pkt, final, f)
}

// writeRefusal writes the answer to a refused question.
func (x *exchange) writeRefusal(pkt []byte, r verdict.Reason, f refusal) []byte {
	m := x.newReply(pkt, f.rcode)
	if f.soa {
		m.Ns = []dns.RR{&dns.SOA{
			Hdr: dns.RR_Header{Name: x.question().Name, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: refusalTTL},
			Ns:  ".", Mbox: ".",
			Serial: soaNumbers[0], Refresh: soaNumbers[1], Retry: soaNumbers[2], Expire: soaNumbers[3], Minttl: soaNumbers[4],
		}}
	}
	if f.rcode == dns.RcodeBadVers {
		return x.write(m, 0, "")
	}
	return x.write(m, f.code, r.String())
}

// answerAny answers ANY with as little as there is (RFC 8482, section 4.2).
func (x *exchange) answerAny(pkt []byte) []byte {
	if reason := x.permit(); reason != verdict.ReasonNone {
		return x.writeRefusal(pkt, reason, x.server.refusalOf(reason))
	}
	m := x.newReply(pkt, dns.RcodeSuccess)
	m.Answer = []dns.RR{&dns.HINFO{
		Hdr: dns.RR_Header{Name: x.question().Name, Rrtype: dns.TypeHINFO, Class: dns.ClassINET, Ttl: anyTTL},
		Cpu: "RFC8482",
	}}
	return x.write(m, 0, "")
}

// writePacked writes a packed answer by way of its records.
func (x *exchange) writePacked(pkt []byte, p *packed) []byte {
	m := x.newReply(pkt, p.rcode())
	var kept dns.Msg
	if err := kept.Unpack(p.msg); err != nil {
		return x.writeRefusal(pkt, verdict.ReasonDNSFailed, x.server.refusalOf(verdict.ReasonDNSFailed))
	}
	m.Answer, m.Ns = kept.Answer, kept.Ns
	for _, section := range [][]dns.RR{m.Answer, m.Ns} {
		for _, rr := range section {
			rr.Header().Ttl = p.ttl(x.now)
		}
	}
	code, text := p.extendedError()
	return x.write(m, code, text)
}

// newReply begins the answer to pkt.
func (x *exchange) newReply(pkt []byte, rcode int) *dns.Msg {
	m := &dns.Msg{Compress: true}
	m.Id = binary.BigEndian.Uint16(pkt)
	m.Response, m.RecursionAvailable = true, true
	m.Opcode, m.Rcode = x.query.opcode, rcode
	m.RecursionDesired, m.CheckingDisabled = pkt[2]&bitRD != 0, pkt[3]&bitCD != 0
	if x.query.wire != nil {
		m.Question = []dns.Question{x.question()}
	}
	return m
}

// write packs an answer with its OPT record, cut to what the client takes, and
// gives the question its own case back.
func (x *exchange) write(m *dns.Msg, code uint16, text string) []byte {
	if x.query.edns {
		opt := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
		opt.SetUDPSize(ourUDP)
		if x.query.do {
			opt.SetDo()
		}
		if text != "" {
			opt.Option = []dns.EDNS0{&dns.EDNS0_EDE{InfoCode: code, ExtraText: text}}
		}
		m.Extra = []dns.RR{opt}
	}
	out, err := m.Pack()
	if err == nil && len(out) > x.query.limit {
		m.Truncated, m.Answer, m.Ns = true, nil, nil
		out, err = m.Pack()
	}
	if err != nil {
		x.server.log.Error("an answer could not be packed", "rcode", m.Rcode)
		return nil
	}
	copy(out[min(headerLen, len(out)):], x.query.wire)
	return out
}
