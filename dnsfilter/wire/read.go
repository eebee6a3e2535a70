package wire

import (
	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/dnsmsg"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// Fault is what is wrong with a packet, and the answer to it.
type Fault struct {
	Refusal
	Reason verdict.Reason
}

// The faults of packets. None of them says anything about the policy.
var (
	faultFormat  = Fault{Refusal{Rcode: dns.RcodeFormatError}, verdict.ReasonBadRequest}
	faultVersion = Fault{Refusal{Rcode: dns.RcodeBadVers}, verdict.ReasonBadRequest}
	faultOpcode  = Fault{Refusal{Rcode: dns.RcodeNotImplemented}, verdict.ReasonTypeNotAllowed}
	faultKind    = Fault{Refusal{Rcode: dns.RcodeRefused, Code: dns.ExtendedErrorCodeFiltered}, verdict.ReasonTypeNotAllowed}
)

// Read reads any packet that has a header, or says what is wrong with it: it is
// malformed, or is a kind of question that nobody gets an answer to. What it has
// found by then is in q: Name is nil where there is no question. It keeps Text in
// q's own memory.
func (q *Query) Read(pkt []byte, tcp bool) (f Fault, bad bool) {
	*q = Query{Text: q.Text[:0]}
	q.Limit = plainUDP
	if tcp {
		q.Limit = maxTCP
	}
	switch q.Opcode = int(pkt[2] >> 3 & 0x0f); q.Opcode {
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
	first := m.Question[0]
	q.Text = append(q.Text[:0], hostname.Fold(first.Name)...)
	q.Name, q.Type, q.Class = wire, first.Qtype, first.Qclass
	if f, bad := q.readExtra(m.Extra, tcp); bad {
		return f, true
	}
	if q.Class != dns.ClassINET || !ordinary(q.Type) && q.Type != dns.TypeANY {
		return faultKind, true
	}
	return Fault{}, false
}

// unpack parses a packet of one question, whose name it returns in wire form.
// False: it is malformed, or what is not a question.
func unpack(pkt []byte) (m dns.Msg, wire []byte, ok bool) {
	if !oneQuestion(pkt) || !dnsmsg.Whole(pkt) || m.Unpack(pkt) != nil || len(m.Question) != 1 {
		return m, nil, false
	}
	wire, ok = rawName(pkt)
	qtype := m.Question[0].Qtype
	return m, wire, ok && headerLen+len(wire)+4 <= len(pkt) && qtype != dns.TypeNone && qtype != dns.TypeOPT
}

// readExtra reads the OPT record; others are ignored.
func (q *Query) readExtra(extra []dns.RR, tcp bool) (f Fault, bad bool) {
	for _, rr := range extra {
		opt, ok := rr.(*dns.OPT)
		switch {
		case !ok:
			continue
		case q.EDNS, opt.Hdr.Name != ".":
			return faultFormat, true
		}
		q.setEDNS(opt.UDPSize(), opt.Do())
		if tcp {
			q.Limit = maxTCP
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
