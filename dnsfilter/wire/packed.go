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
	return p, nil
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
