package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/miekg/dns"
)

// anyTTL is the TTL of the answer to ANY, in seconds.
const anyTTL = 3600

// WriteRefusal returns the answer to a refused question of pkt.
func (q *Query) WriteRefusal(pkt []byte, r Refusal, text string) ([]byte, error) {
	m := q.newReply(pkt, r.Rcode)
	if r.SOA {
		m.Ns = []dns.RR{&dns.SOA{
			Hdr: dns.RR_Header{Name: q.Question().Name, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: refusalTTL},
			Ns:  ".", Mbox: ".",
			Serial: soaNumbers[0], Refresh: soaNumbers[1], Retry: soaNumbers[2], Expire: soaNumbers[3], Minttl: soaNumbers[4],
		}}
	}
	if r.Rcode == dns.RcodeBadVers {
		return q.write(m, 0, "")
	}
	return q.write(m, r.Code, text)
}

// WriteAny returns the answer to ANY with as little as there is (RFC 8482, section
// 4.2).
func (q *Query) WriteAny(pkt []byte) ([]byte, error) {
	m := q.newReply(pkt, dns.RcodeSuccess)
	m.Answer = []dns.RR{&dns.HINFO{
		Hdr: dns.RR_Header{Name: q.Question().Name, Rrtype: dns.TypeHINFO, Class: dns.ClassINET, Ttl: anyTTL},
		Cpu: "RFC8482",
	}}
	return q.write(m, 0, "")
}

// WritePacked returns a packed answer to the question of pkt, by way of its records.
func (q *Query) WritePacked(pkt []byte, p *Packed, now time.Time) ([]byte, error) {
	m := q.newReply(pkt, p.rcode())
	var stored dns.Msg
	msg := p.msg
	if p.rotated.to > p.rotated.from+1 {
		msg = bytes.Clone(msg)
		p.rotate(msg, binary.BigEndian.Uint16(pkt))
	}
	if err := stored.Unpack(msg); err != nil {
		return nil, errors.New("unpacking an answer has failed")
	}
	m.Answer, m.Ns = stored.Answer, stored.Ns
	for _, section := range [][]dns.RR{m.Answer, m.Ns} {
		for _, rr := range section {
			rr.Header().Ttl = p.ttl(now)
		}
	}
	code, text := p.extendedError()
	return q.write(m, code, text)
}

// newReply begins the answer to pkt.
func (q *Query) newReply(pkt []byte, rcode int) *dns.Msg {
	m := &dns.Msg{Compress: true}
	m.Id = binary.BigEndian.Uint16(pkt)
	m.Response, m.RecursionAvailable = true, true
	m.Opcode, m.Rcode = q.Opcode, rcode
	m.RecursionDesired, m.CheckingDisabled = pkt[2]&bitRD != 0, pkt[3]&bitCD != 0
	if q.Name != nil {
		m.Question = []dns.Question{q.Question()}
	}
	return m
}

// write packs an answer with its OPT record, cut to the records that the client takes, and
// gives the question its own case back.
func (q *Query) write(m *dns.Msg, code uint16, text string) ([]byte, error) {
	if q.EDNS {
		opt := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
		opt.SetUDPSize(MaxUDP)
		if q.DO {
			opt.SetDo()
		}
		if text != "" {
			opt.Option = []dns.EDNS0{&dns.EDNS0_EDE{InfoCode: code, ExtraText: text}}
		}
		m.Extra = []dns.RR{opt}
	}
	out, err := m.Pack()
	for err == nil && len(out) > q.Limit && len(m.Answer)+len(m.Ns) > 0 {
		m.Truncated = true
		if n := len(m.Ns); n > 0 {
			m.Ns = m.Ns[:n-1]
		} else {
			m.Answer = m.Answer[:len(m.Answer)-1]
		}
		out, err = m.Pack()
	}
	if err != nil {
		// Not with err, which may hold the name: this is logged.
		return nil, fmt.Errorf("packing an answer of rcode %d has failed", m.Rcode)
	}
	copy(out[min(headerLen, len(out)):], q.Name)
	return out, nil
}
