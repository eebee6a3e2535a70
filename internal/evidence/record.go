package evidence

import (
	"encoding/hex"
	"fmt"
	"hash/maphash"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"
)

// Record is a parsed record. A field is zero where the record has null or no
// such member.
type Record struct {
	Time    time.Time
	Event   string // started, reloaded, reload_failed, heartbeat, challenged, refused, opened, closed, answered or stopped
	Boot    string
	Seq     uint64 // from 1
	Prev    string // 64 hex digits
	Policy  string
	Version string

	// The fields below are of requests.

	Protocol   string // connect, http or dns
	ID         string
	Client     netip.AddrPort
	Function   string // "": not identified
	Owner      string
	Via        string
	Method     string
	Host       string
	Port       uint16
	Verdict    string // allow, report or deny
	Reason     string // "": none
	Rule       string // "": no rule decided
	Line       int    // of the rule, in the policy file
	Ticket     string
	Addresses  []netip.Addr
	Dialed     netip.AddrPort // not valid: nothing was dialed
	SNI        *string        // nil: no server name was seen
	BytesUp    int64
	BytesDown  int64
	Duration   time.Duration
	Ended      string
	Type       string // of a DNS question
	Suppressed uint64 // see Count

	// The fields below are of started, reloaded and reload_failed.

	Functions int
	Rules     int
	Detail    string

	// The fields below are of heartbeat and stopped.

	Totals map[string]map[string]uint64 // event, then reason, "none" where records have null
	Lost   uint64                       // events that have no record
}

// Count returns how many events the record stands for.
func (r *Record) Count() uint64 { return 1 + r.Suppressed }

// Parse makes a Record of a line without its newline. Members that it does not
// know are skipped. The error is ErrForeign or wraps ErrNoRecord. Nothing of
// raw is retained.
func Parse(raw []byte) (Record, error) {
	p := newParser(nil)
	object := members(raw, func(key, value []byte) { p.take(p.order.of(key), value) })
	return p.end(raw, object)
}

// member numbers the members that are known, for what has been seen.
type member uint8

const (
	memberOther member = iota
	memberAWS
	memberTime
	memberEvent
	memberBoot
	memberSeq
	memberPrev
	memberPolicy
	memberVersion
	memberProtocol
	memberID
	memberClient
	memberFunction
	memberOwner
	memberVia
	memberMethod
	memberHost
	memberPort
	memberVerdict
	memberReason
	memberRule
	memberLine
	memberTicket
	memberAddresses
	memberDialed
	memberSNI
	memberSuppressed
	memberBytesUp
	memberBytesDown
	memberDuration
	memberEnded
	memberType
	memberFunctions
	memberRules
	memberDetail
	memberTotals
	memberLost
	memberCount
)

// required are the members that make a record of an object.
const required = 1<<memberEvent | 1<<memberBoot | 1<<memberSeq | 1<<memberPrev

// memberKeys are the keys of the members.
var memberKeys = [memberCount]string{
	memberAWS: "_aws", memberTime: "time", memberEvent: "event", memberBoot: "boot", memberSeq: "seq", memberPrev: "prev",
	memberPolicy: "policy", memberVersion: "version", memberProtocol: "protocol", memberID: "id", memberClient: "client",
	memberFunction: "function", memberOwner: "owner", memberVia: "via", memberMethod: "method", memberHost: "host",
	memberPort: "port", memberVerdict: "verdict", memberReason: "reason", memberRule: "rule", memberLine: "line",
	memberTicket: "ticket", memberAddresses: "addresses", memberDialed: "dialed", memberSNI: "sni",
	memberSuppressed: "suppressed", memberBytesUp: "bytes_up", memberBytesDown: "bytes_down",
	memberDuration: "duration_ms", memberEnded: "ended", memberType: "type", memberFunctions: "functions",
	memberRules: "rules", memberDetail: "detail", memberTotals: "totals", memberLost: "lost",
}

// order finds members by their keys. It looks first behind the one before: that
// is where a record has it, and nearly always the only look.
type order struct{ before member }

// of returns the member of a key.
func (o *order) of(key []byte) member {
	for range memberCount {
		if o.before++; o.before == memberCount {
			o.before = memberOther
		}
		if string(key) == memberKeys[o.before] {
			return o.before
		}
	}
	return memberOther
}

// parser makes records of lines, one after the other.
type parser struct {
	r     Record
	texts [memberCount]*string // of r
	order order
	seen  uint64              // bits of members
	err   error               // the first
	words *words              // nil: every text is made anew, and nothing is left out
	last  [memberCount]string // of each member, as many are the same again
}

// newParser returns a parser that has seen nothing.
func newParser(w *words) *parser {
	p := &parser{words: w}
	p.texts = textFields(&p.r)
	return p
}

// maxWord is how long a text may be that is kept for further records.
const maxWord = 256

// words are texts that records have again and again, by their hashes: another
// text with the same hash takes the place. Safe for concurrent use.
type words struct {
	seed maphash.Seed
	kept [1 << 14]atomic.Pointer[string]
}

// of returns a text.
func (w *words) of(text []byte) string {
	at := &w.kept[maphash.Bytes(w.seed, text)%uint64(len(w.kept))]
	if s := at.Load(); s != nil && *s == string(text) {
		return *s
	}
	s := string(text)
	at.Store(&s)
	return s
}

// take takes one member. One that stands twice could be read in two ways, and
// no record has one.
func (p *parser) take(m member, value []byte) {
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
func (p *parser) fail(m member, what string) {
	if p.err == nil {
		p.err = fmt.Errorf("%w: %s %s", ErrNoRecord, memberKeys[m], what)
	}
}

// end returns what the members of a line, which is an object or not, make, and
// is ready for the next line.
func (p *parser) end(raw []byte, object bool) (Record, error) {
	r, seen, err := p.r, p.seen, p.err
	p.r, p.seen, p.err, p.order = Record{}, 0, nil, order{}
	switch {
	case !object && valid(raw):
		return Record{}, ErrForeign
	case !object:
		return Record{}, ErrNoRecord
	case seen&(1<<memberAWS) != 0 || seen&required != required:
		return Record{}, ErrForeign
	case err != nil:
		return Record{}, err
	case r.Seq == 0 || r.Event == "" || r.Boot == "":
		return Record{}, fmt.Errorf("%w: event, boot or seq is none", ErrNoRecord)
	}
	return r, nil
}

// textFields are the fields of the members that are strings, by member.
func textFields(r *Record) (of [memberCount]*string) {
	of[memberEvent], of[memberBoot], of[memberPrev] = &r.Event, &r.Boot, &r.Prev
	of[memberPolicy], of[memberVersion] = &r.Policy, &r.Version
	of[memberProtocol], of[memberID] = &r.Protocol, &r.ID
	of[memberFunction], of[memberOwner], of[memberVia] = &r.Function, &r.Owner, &r.Via
	of[memberMethod], of[memberHost] = &r.Method, &r.Host
	of[memberVerdict], of[memberReason] = &r.Verdict, &r.Reason
	of[memberRule], of[memberTicket] = &r.Rule, &r.Ticket
	of[memberEnded], of[memberType], of[memberDetail] = &r.Ended, &r.Type, &r.Detail
	return of
}

// text takes the members that are strings.
func (p *parser) text(m member, value []byte) bool {
	dst := p.texts[m]
	if dst == nil || value[0] != '"' {
		return false
	}
	text := unquote(value)
	switch {
	case m == memberPrev && (len(text) != 64 || p.words != nil):
		return len(text) == 64
	case p.words == nil || m == memberID || len(text) > maxWord:
		*dst = string(text)
		return true
	case string(text) != p.last[m]:
		p.last[m] = p.words.of(text)
	}
	*dst = p.last[m]
	return true
}

// count takes the members that are whole numbers.
func (p *parser) count(m member, value []byte) bool {
	r := &p.r
	switch m {
	case memberSeq:
		return unsigned(&r.Seq, value)
	case memberSuppressed:
		return unsigned(&r.Suppressed, value)
	case memberLost:
		return unsigned(&r.Lost, value)
	case memberBytesUp:
		return signed(&r.BytesUp, value)
	case memberBytesDown:
		return signed(&r.BytesDown, value)
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

func unsigned(dst *uint64, value []byte) bool {
	n, err := strconv.ParseUint(string(value), 10, 64)
	*dst = n
	return err == nil
}

func signed(dst *int64, value []byte) bool {
	n, err := strconv.ParseInt(string(value), 10, 64)
	*dst = n
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

// other takes the members that are neither text nor whole numbers.
func (p *parser) other(m member, value []byte) bool {
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
	text := unquote(value)
	switch m {
	case memberTime:
		return r.Time.UnmarshalText(text) == nil
	case memberClient:
		return r.Client.UnmarshalText(text) == nil
	case memberDialed:
		return r.Dialed.UnmarshalText(text) == nil
	case memberSNI:
		if p.words == nil {
			r.SNI = new(string(text))
		}
		return true
	}
	return false
}

// addresses takes an array of IP addresses.
func (p *parser) addresses(value []byte) bool {
	s, good := scanner{b: value}, true
	ok := s.array(func(one []byte) {
		var a netip.Addr
		good = good && one[0] == '"' && a.UnmarshalText(unquote(one)) == nil
		if p.words == nil {
			p.r.Addresses = append(p.r.Addresses, a)
		}
	}, maxDepth)
	return ok && good
}

// totals reads an object of event, then reason, then a count.
func totals(dst *map[string]map[string]uint64, value []byte) bool {
	all, good := map[string]map[string]uint64{}, true
	ok := members(value, func(event, reasons []byte) {
		of := map[string]uint64{}
		good = members(reasons, func(reason, n []byte) {
			var count uint64
			good = unsigned(&count, n) && good
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
