package wire

import (
	"encoding/binary"

	"github.com/miekg/dns"
)

// Sizes of RFC 1035 and RFC 6891.
const (
	headerLen    = 12
	maxWireName  = 255
	maxLabel     = 63
	plainUDP     = 512 // what a client without EDNS takes
	maxTCP       = 65535
	optLen       = 11 // an OPT record without options
	flagsDO      = 1 << 15
	pointer      = 0xC000 // what a pointer to a name has at least (RFC 1035, section 4.1.4)
	pointerToTop = 0xC00C // to the question's name
)

// MaxUDP is the largest answer over UDP: what fits every path unfragmented.
const MaxUDP = 1232

// Bits of the third and fourth byte of a header.
const (
	bitQR = 0x80
	bitTC = 0x02
	bitRD = 0x01

	maskOpcode = 0x78

	bitRA = 0x80
	bitCD = 0x10
)

// Query is a question as either reader has read it. Its zero value is none.
type Query struct {
	Text   []byte // the name in lower case, without its last dot; bytes that are of no hostname are escaped
	Name   []byte // the name as it was sent, within the packet; nil: it could not be found
	Type   uint16
	Class  uint16
	Opcode int
	Limit  int  // bytes that the client takes
	EDNS   bool // it came with an OPT record
	DO     bool // signatures are asked for
}

// MoveTo makes q a question of pkt, a copy of the packet it was read from.
func (q *Query) MoveTo(pkt []byte) {
	if q.Name != nil {
		q.Name = pkt[headerLen : headerLen+len(q.Name)]
	}
}

// Question returns the question with its name in lower case.
func (q *Query) Question() dns.Question {
	return dns.Question{Name: string(q.Text) + ".", Qtype: q.Type, Qclass: q.Class}
}

// questionEnd returns where the question ends in its packet.
func (q *Query) questionEnd() int { return headerLen + len(q.Name) + 4 }

// ReadFast reads a question in the form that nearly all have: one name of
// letters, digits, hyphens and underscores, class IN, an ordinary type, and at
// most an OPT record without unusual options. It returns false for everything
// else, well-formed or not: that is for Read. It keeps Text in q's own memory.
func (q *Query) ReadFast(pkt []byte, tcp bool) bool {
	if len(pkt) < headerLen || pkt[2]&(bitQR|maskOpcode) != 0 || !oneQuestion(pkt) {
		return false
	}
	end, ok := q.readName(pkt)
	if !ok || end+4 > len(pkt) {
		return false
	}
	q.Type, q.Class = binary.BigEndian.Uint16(pkt[end:]), binary.BigEndian.Uint16(pkt[end+2:])
	if q.Class != dns.ClassINET || !ordinary(q.Type) {
		return false
	}
	q.Opcode, q.EDNS, q.DO, q.Limit = dns.OpcodeQuery, false, false, plainUDP
	rest := pkt[end+4:]
	switch binary.BigEndian.Uint16(pkt[10:]) {
	case 0:
		ok = len(rest) == 0
	case 1:
		ok = q.readOPT(rest)
	default:
		ok = false
	}
	if tcp {
		q.Limit = maxTCP
	}
	return ok
}

// oneQuestion reports whether a header announces one question, and no record before the
// additional ones. What else it says is of an answer (AA, TC, RA, the response code), has no
// meaning yet (Z), or asks for what is there anyway (AD): senders that copy a header set
// such bits, and they are ignored (RFC 1035, section 4.1.1; RFC 4035, section 3.2; RFC
// 6895, section 2).
func oneQuestion(pkt []byte) bool {
	return binary.BigEndian.Uint16(pkt[4:]) == 1 && binary.BigEndian.Uint32(pkt[6:]) == 0
}

// ordinary reports whether a type is one of records, not OPT and not one of the
// questions about types (RFC 6895, section 3.1).
func ordinary(qtype uint16) bool {
	return qtype != dns.TypeNone && qtype != dns.TypeOPT && (qtype < 128 || qtype > 255)
}

// readName reads the name of the question and returns where it ends.
func (q *Query) readName(pkt []byte) (end int, ok bool) {
	q.Text = q.Text[:0]
	at := headerLen
	for at < len(pkt) && pkt[at] != 0 {
		n := int(pkt[at])
		if n > maxLabel || at+1+n >= len(pkt) || at+1+n-headerLen >= maxWireName {
			return 0, false
		}
		for _, c := range pkt[at+1 : at+1+n] {
			if c = nameBytes[c]; c == 0 {
				return 0, false
			}
			q.Text = append(q.Text, c)
		}
		q.Text = append(q.Text, '.')
		at += 1 + n
	}
	if at >= len(pkt) || len(q.Text) == 0 {
		return 0, false // cut off, or the root
	}
	q.Text = q.Text[:len(q.Text)-1]
	q.Name = pkt[headerLen : at+1]
	return at + 1, true
}

// nameBytes maps the bytes of a hostname to lower case, others to 0.
var nameBytes = [256]byte{
	'-': '-', '_': '_',
	'0': '0', '1': '1', '2': '2', '3': '3', '4': '4', '5': '5', '6': '6', '7': '7', '8': '8', '9': '9',
	'a': 'a', 'b': 'b', 'c': 'c', 'd': 'd', 'e': 'e', 'f': 'f', 'g': 'g', 'h': 'h', 'i': 'i', 'j': 'j',
	'k': 'k', 'l': 'l', 'm': 'm', 'n': 'n', 'o': 'o', 'p': 'p', 'q': 'q', 'r': 'r', 's': 's', 't': 't',
	'u': 'u', 'v': 'v', 'w': 'w', 'x': 'x', 'y': 'y', 'z': 'z',
	'A': 'a', 'B': 'b', 'C': 'c', 'D': 'd', 'E': 'e', 'F': 'f', 'G': 'g', 'H': 'h', 'I': 'i', 'J': 'j',
	'K': 'k', 'L': 'l', 'M': 'm', 'N': 'n', 'O': 'o', 'P': 'p', 'Q': 'q', 'R': 'r', 'S': 's', 'T': 't',
	'U': 'u', 'V': 'v', 'W': 'w', 'X': 'x', 'Y': 'y', 'Z': 'z',
}

// readOPT reads an OPT record of version 0 that ends the packet. Of options it
// takes cookies and padding, which need no reading; what others hold miekg/dns
// may find wrong.
func (q *Query) readOPT(b []byte) bool {
	if len(b) < optLen || b[0] != 0 || binary.BigEndian.Uint16(b[1:]) != dns.TypeOPT || b[5] != 0 || b[6] != 0 ||
		int(binary.BigEndian.Uint16(b[9:])) != len(b)-optLen {
		return false
	}
	for options := b[optLen:]; len(options) > 0; {
		if len(options) < 4 {
			return false
		}
		code, n := binary.BigEndian.Uint16(options), int(binary.BigEndian.Uint16(options[2:]))
		if code != dns.EDNS0COOKIE && code != dns.EDNS0PADDING || 4+n > len(options) {
			return false
		}
		options = options[4+n:]
	}
	q.setEDNS(binary.BigEndian.Uint16(b[3:]), binary.BigEndian.Uint16(b[7:])&flagsDO != 0)
	return true
}

// setEDNS takes over what an OPT record says.
func (q *Query) setEDNS(size uint16, do bool) {
	q.EDNS, q.DO = true, do
	q.Limit = min(max(int(size), plainUDP), MaxUDP)
}
