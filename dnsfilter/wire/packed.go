package wire

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/dnsmsg"
)

// Records is what a resolver found. Who gets it may write to the records.
type Records struct {
	// Answer is the aliases from the question's name on and the records at
	// their end, in that order, with what is left of their TTL.
	Answer []dns.RR
	// Authority is the SOA of a negative answer, and what else denies.
	Authority []dns.RR
	Rcode     int           // dns.RcodeSuccess or dns.RcodeNameError
	TTL       time.Duration // how long all of it may be kept; zero: not at all
	Stale     bool          // it has outlived its TTL; it is not kept
}

// Packed is an answer in wire form, ready to be sent: it begins with a header
// whose flags hold the rcode alone, and the question in lower case. It is
// immutable and has been judged, but for the addresses that only some rules
// permit.
type Packed struct {
	Addrs   []netip.Addr // addresses and hints
	Special []netip.Addr // those that are not public: judged for each question

	msg     []byte
	ttls    []uint16  // where in msg the TTLs stand, but for that of OPT
	rotated span      // the addresses of one name, whose order says nothing; fewer than two: none
	fresh   time.Time // until then it serves without asking Exchange
	expires time.Time // when its TTL is over
	stale   bool
}

// rcode returns the response code.
func (p *Packed) rcode() int { return int(p.msg[3] & 0x0f) }

// ttl returns what is left of the TTL, to the nearest second.
func (p *Packed) ttl(now time.Time) uint32 {
	return uint32((max(0, p.expires.Sub(now)) + time.Second/2) / time.Second)
}

// extendedError returns what an answer with EDNS says of it; an empty text:
// nothing.
func (p *Packed) extendedError() (code uint16, text string) {
	if p.stale {
		return dns.ExtendedErrorCodeStaleAnswer, "stale_answer"
	}
	return 0, ""
}

// Size returns how many bytes the message has.
func (p *Packed) Size() int { return len(p.msg) }

// Fresh reports whether the answer serves at now without asking for it again.
func (p *Packed) Fresh(now time.Time) bool { return now.Before(p.fresh) }

// errUnpackable is for an answer in which TTLs cannot be found.
var errUnpackable = errors.New("packing an answer: its records cannot be walked")

// Pack makes the wire form of an answer to the question of that lower-case name.
// It serves from here for four fifths of its TTL: then Exchange is asked again,
// which is how a resolver learns that a name is in demand.
func Pack(q dns.Question, r *Records, now time.Time) (*Packed, error) {
	m := dns.Msg{Question: []dns.Question{q}, Answer: r.Answer, Ns: r.Authority, Compress: true}
	m.Rcode = r.Rcode
	msg, err := m.Pack()
	if err != nil {
		return nil, err
	}
	ttls, ok := findTTLs(msg)
	if !ok {
		return nil, errUnpackable
	}
	p := &Packed{msg: msg, ttls: ttls, expires: now.Add(r.TTL), fresh: now, stale: r.Stale}
	if !r.Stale {
		p.fresh = now.Add(r.TTL - r.TTL/5)
	}
	p.findAddresses(q.Qtype)
	return p, nil
}

// span is records of the answer, one behind the other, each with an address of that size.
type span struct{ from, to, size uint16 }

// findAddresses finds the addresses that are given in another order to each client, so
// that clients which take the first one spread over all: those of a question for them,
// where all are of one name.
func (p *Packed) findAddresses(qtype uint16) {
	var found span
	switch qtype {
	case dns.TypeA:
		found.size = 4
	case dns.TypeAAAA:
		found.size = 16
	default:
		return
	}
	var owner uint16
	for i, ttl := range p.ttls[:p.answers()] {
		// A name that stood before is a pointer, and here it has: it is asked for, or the
		// target of an alias.
		at := int(ttl) - 4
		name := binary.BigEndian.Uint16(p.msg[at-2:])
		switch {
		case binary.BigEndian.Uint16(p.msg[at:]) != qtype:
		case p.recordEnd(i) != ttl+6+found.size, name < pointer:
			return
		case found.to == 0:
			owner, found.from, found.to = name, uint16(i), uint16(i+1)
		case name != owner || int(found.to) != i:
			return
		default:
			found.to++
		}
	}
	p.rotated = found
}

// answers returns how many records the answer section has.
func (p *Packed) answers() int { return int(binary.BigEndian.Uint16(p.msg[6:])) }

// recordEnd returns where the record of that number ends.
func (p *Packed) recordEnd(i int) uint16 {
	return p.ttls[i] + 6 + binary.BigEndian.Uint16(p.msg[p.ttls[i]+4:])
}

// rotate puts the addresses into dst, a copy of the message's first bytes, in the order
// for the id of a question: it is random, and the same by either way of writing.
func (p *Packed) rotate(dst []byte, id uint16) {
	addresses := p.ttls[p.rotated.from:p.rotated.to]
	if len(addresses) < 2 {
		return
	}
	for i, ttl := range addresses {
		at, from := int(ttl)+6, int(addresses[(i+int(id))%len(addresses)])+6
		if at+int(p.rotated.size) > len(dst) {
			return
		}
		copy(dst[at:], p.msg[from:from+int(p.rotated.size)])
	}
}

// fitting returns how many records of the message fit into so many bytes, of which
// the answer comes first, and where the last of them ends.
func (p *Packed) fitting(limit, questionEnd int) (records, end int) {
	end = questionEnd
	for records < len(p.ttls) && int(p.recordEnd(records)) <= limit {
		end = int(p.recordEnd(records))
		records++
	}
	return records, end
}

// findTTLs walks the records of a message of one question.
func findTTLs(msg []byte) (ttls []uint16, ok bool) {
	if !dnsmsg.Whole(msg) {
		return nil, false
	}
	records := int(binary.BigEndian.Uint16(msg[6:])) + int(binary.BigEndian.Uint16(msg[8:]))
	at, _ := dnsmsg.SkipName(msg, headerLen)
	at += 4
	for range records {
		name, _ := dnsmsg.SkipName(msg, at)
		ttls = append(ttls, uint16(name+4))
		at, _ = dnsmsg.SkipRecord(msg, at)
	}
	return ttls, true
}
