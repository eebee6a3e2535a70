package record

import (
	"encoding/hex"
	"fmt"
	"hash/maphash"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence/jsonscan"
)

// Parse makes a Record of a line without its newline. Members that it does not
// know are skipped. The error is ErrOtherJSON or wraps ErrNoRecord. Nothing of
// raw is retained.
func Parse(raw []byte) (Record, error) {
	p := NewParser(nil)
	object := jsonscan.Members(raw, func(key, value []byte) { p.set(p.order.of(key), value) })
	return p.Record(raw, object)
}

// Parser makes records of lines, one after the other. Facts.Read gives it the
// members of each. Make one with NewParser.
type Parser struct {
	r      Record
	fields [memberCount]*string // of r
	order  order
	seen   uint64              // bits of members
	err    error               // the first
	texts  *Interned           // nil: every text is made anew, and nothing is left out
	last   [memberCount]string // of each member, as many are the same again
}

// NewParser returns a Parser that has seen nothing. With texts, which parsers may
// share, the records have no Prev, Addresses and SNI, which are checked all the
// same; nil leaves nothing out.
func NewParser(texts *Interned) *Parser {
	p := &Parser{texts: texts}
	p.fields = textFields(&p.r)
	return p
}

// maxWord is how long a text may be that is kept for further records.
const maxWord = 256

// Interned are texts that records have again and again, by their hashes: another
// text with the same hash takes the place. Safe for concurrent use. Make them with
// NewInterned.
type Interned struct {
	seed    maphash.Seed
	entries [1 << 14]atomic.Pointer[string]
}

// NewInterned returns an Interned that has no texts.
func NewInterned() *Interned { return &Interned{seed: maphash.MakeSeed()} }

// of returns a text.
func (n *Interned) of(text []byte) string {
	at := &n.entries[maphash.Bytes(n.seed, text)%uint64(len(n.entries))]
	if s := at.Load(); s != nil && *s == string(text) {
		return *s
	}
	s := string(text)
	at.Store(&s)
	return s
}

// set sets one member. One that is there twice could be read in two ways, and no
// record has one.
func (p *Parser) set(m member, value []byte) {
	if m == memberOther {
		return
	}
	if p.seen&(1<<m) != 0 {
		p.fail(m, "stands twice")
	}
	p.seen |= 1 << m
	if string(value) == "null" {
		if required&(1<<m) != 0 {
			p.fail(m, "is none")
		}
		return
	}
	if !p.text(m, value) && !p.count(m, value) && !p.other(m, value) {
		p.fail(m, "has a value that no record has")
	}
}

// fail keeps the first error.
func (p *Parser) fail(m member, what string) {
	if p.err == nil {
		p.err = fmt.Errorf("%w: %s %s", ErrNoRecord, memberKeys[m], what)
	}
}

// Record returns what the members of the line raw make, and is ready for the next
// one. object says whether the line is a JSON object.
func (p *Parser) Record(raw []byte, object bool) (Record, error) {
	r, seen, err := p.r, p.seen, p.err
	p.r, p.seen, p.err, p.order = Record{}, 0, nil, order{}
	switch {
	case !object && jsonscan.Valid(raw):
		return Record{}, ErrOtherJSON
	case !object:
		return Record{}, ErrNoRecord
	case seen&(1<<memberAWS) != 0 || seen&required != required:
		return Record{}, ErrOtherJSON
	case err != nil:
		return Record{}, err
	case r.Seq == 0 || r.Event == "" || r.Process == "":
		return Record{}, fmt.Errorf("%w: event, boot or seq is none", ErrNoRecord)
	}
	return r, nil
}

// textFields are the fields of the members that are strings, by member.
func textFields(r *Record) (of [memberCount]*string) {
	of[memberEvent], of[memberProcess], of[memberPrev] = &r.Event, &r.Process, &r.Prev
	of[memberPolicy], of[memberVersion] = &r.Policy, &r.Version
	of[memberProtocol], of[memberID] = &r.Protocol, &r.ID
	of[memberFunction], of[memberOwner], of[memberVia] = &r.Function, &r.Owner, &r.Via
	of[memberMethod], of[memberHost] = &r.Method, &r.Host
	of[memberVerdict], of[memberReason] = &r.Verdict, &r.Reason
	of[memberRule], of[memberTicket] = &r.Rule, &r.Ticket
	of[memberEnded], of[memberType], of[memberDetail] = &r.Ended, &r.Type, &r.Detail
	return of
}

// text sets the members that are strings.
func (p *Parser) text(m member, value []byte) bool {
	dst := p.fields[m]
	if dst == nil || value[0] != '"' {
		return false
	}
	text := jsonscan.Unquote(value)
	switch {
	case m == memberPrev && (len(text) != 64 || p.texts != nil):
		return len(text) == 64
	case p.texts == nil || m == memberID || len(text) > maxWord:
		*dst = string(text)
		return true
	case string(text) != p.last[m]:
		p.last[m] = p.texts.of(text)
	}
	*dst = p.last[m]
	return true
}

// count sets the members that are whole numbers.
func (p *Parser) count(m member, value []byte) bool {
	r := &p.r
	switch m {
	case memberSeq:
		return Unsigned(&r.Seq, value)
	case memberSuppressed:
		return Unsigned(&r.Suppressed, value)
	case memberLost:
		return Unsigned(&r.Lost, value)
	case memberBytesUp:
		return size(&r.BytesUp, value)
	case memberBytesDown:
		return size(&r.BytesDown, value)
	case memberLine:
		return integer(&r.Line, value)
	case memberFunctions:
		return integer(&r.Functions, value)
	case memberRules:
		return integer(&r.Rules, value)
	case memberPort:
		n, err := strconv.ParseUint(string(value), 10, 16)
		r.Port = uint16(n)
		return err == nil
	}
	return false
}

// Unsigned reads a whole number that is not negative.
func Unsigned(dst *uint64, value []byte) bool {
	n, err := strconv.ParseUint(string(value), 10, 64)
	*dst = n
	return err == nil
}

// size reads a number of bytes. No record has so many that two of them make too
// many for an int64.
func size(dst *int64, value []byte) bool {
	n, err := strconv.ParseUint(string(value), 10, 62)
	*dst = int64(n)
	return err == nil
}

func integer(dst *int, value []byte) bool {
	n, err := strconv.Atoi(string(value))
	*dst = n
	return err == nil
}

func duration(dst *time.Duration, value []byte) bool {
	ms, err := strconv.ParseFloat(string(value), 64)
	*dst = time.Duration(ms * float64(time.Millisecond))
	return err == nil && ms >= 0 && ms < 1e12
}

// other sets the members that are neither text nor whole numbers.
func (p *Parser) other(m member, value []byte) bool {
	r := &p.r
	switch m {
	case memberAWS:
		return true
	case memberDuration:
		return duration(&r.Duration, value)
	case memberAddresses:
		return p.addresses(value)
	case memberTotals:
		return totals(&r.Totals, value)
	}
	if value[0] != '"' {
		return false
	}
	text := jsonscan.Unquote(value)
	switch m {
	case memberTime:
		return r.Time.UnmarshalText(text) == nil
	case memberClient:
		return r.Client.UnmarshalText(text) == nil
	case memberDialed:
		return r.Dialed.UnmarshalText(text) == nil
	case memberSNI:
		if p.texts == nil {
			r.SNI = new(string(text))
		}
		return true
	}
	return false
}

// addresses sets an array of IP addresses.
func (p *Parser) addresses(value []byte) bool {
	good := true
	ok := jsonscan.Elements(value, func(one []byte) {
		var a netip.Addr
		good = good && one[0] == '"' && a.UnmarshalText(jsonscan.Unquote(one)) == nil
		if p.texts == nil {
			p.r.Addresses = append(p.r.Addresses, a)
		}
	})
	return ok && good
}

// totals reads an object of event, then reason, then a count.
func totals(dst *map[string]map[string]uint64, value []byte) bool {
	all, good := map[string]map[string]uint64{}, true
	ok := jsonscan.Members(value, func(event, reasons []byte) {
		of := map[string]uint64{}
		good = jsonscan.Members(reasons, func(reason, n []byte) {
			var count uint64
			good = Unsigned(&count, n) && good
			of[string(reason)] = count
		}) && good
		all[string(event)] = of
	})
	*dst = all
	return ok && good
}

// hash reads the 64 hexadecimal digits of a hash.
func hash(dst *[32]byte, text []byte) bool {
	if len(text) != 64 {
		return false
	}
	_, err := hex.Decode(dst[:], text)
	return err == nil
}
