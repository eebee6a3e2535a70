package wire

import (
	"encoding/binary"
	"time"

	"github.com/miekg/dns"
)

// refusalTTL is how long a refusal may be kept, in seconds: a name that a new
// policy allows is there soon.
const refusalTTL = 10

// appendHead appends header and question of an answer to pkt.
func (q *Query) appendHead(pkt []byte, rcode int, dst []byte) []byte {
	additional := byte(0)
	if q.EDNS {
		additional = 1
	}
	dst = append(dst, pkt[0], pkt[1],
		bitQR|byte(q.Opcode)<<3|pkt[2]&bitRD, bitRA|pkt[3]&bitCD|byte(rcode),
		0, 1, 0, 0, 0, 0, 0, additional)
	return append(dst, pkt[headerLen:q.questionEnd()]...)
}

// AppendRefusal appends a refusal to dst: the question of pkt, an SOA whose owner
// is the question's name, and the extended error with its text. It gives the
// bytes that WriteRefusal gives.
func (q *Query) AppendRefusal(dst, pkt []byte, r Refusal, text string) []byte {
	start := len(dst)
	dst = q.appendHead(pkt, r.Rcode, dst)
	if r.SOA {
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
	if q.EDNS {
		dst = appendOPT(dst, q.DO, r.Code, text)
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
	dst = binary.BigEndian.AppendUint16(dst, MaxUDP)
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

// AppendPacked appends a packed answer to dst, with the question as pkt has it.
// The pointers in it lead to that question, so the case of the name comes along. Of an
// answer that is larger than the client takes it has the whole records that fit: who
// cannot ask over TCP has some addresses then. It gives the bytes that WritePacked gives.
func (q *Query) AppendPacked(dst, pkt []byte, p *Packed, now time.Time) []byte {
	start := len(dst)
	code, text := p.extendedError()
	limit := q.Limit
	if q.EDNS {
		limit -= optSize(text)
	}
	dst = q.appendHead(pkt, p.rcode(), dst)
	records, end := len(p.ttls), len(p.msg)
	if end > limit {
		records, end = p.fitting(limit, q.questionEnd())
		dst[start+2] |= bitTC
	}
	answers := min(records, p.answers())
	binary.BigEndian.PutUint16(dst[start+6:], uint16(answers))
	binary.BigEndian.PutUint16(dst[start+8:], uint16(records-answers))
	dst = append(dst, p.msg[q.questionEnd():end]...)
	p.rotate(dst[start:], binary.BigEndian.Uint16(pkt))
	ttl := p.ttl(now)
	for _, at := range p.ttls[:records] {
		binary.BigEndian.PutUint32(dst[start+int(at):], ttl)
	}
	if q.EDNS {
		dst = appendOPT(dst, q.DO, code, text)
	}
	return dst
}

// AppendFailure appends SERVFAIL to pkt to dst, with its question where that can be
// found. It reads no more than it must: something has just gone wrong.
func AppendFailure(dst, pkt []byte) []byte {
	questions := byte(0)
	wire, ok := rawName(pkt)
	if end := headerLen + len(wire) + 4; ok && end <= len(pkt) {
		pkt, questions = pkt[:end], 1
	} else {
		pkt = pkt[:headerLen]
	}
	dst = append(dst, pkt[0], pkt[1], bitQR|pkt[2]&(0x78|bitRD), bitRA|dns.RcodeServerFailure, 0, questions, 0, 0, 0, 0, 0, 0)
	return append(dst, pkt[headerLen:]...)
}
