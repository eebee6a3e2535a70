package evidence

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
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
	var r Record
	f := fields{r: &r, texts: textFields(&r)}
	if !members(raw, f.member) {
		if valid(raw) {
			return Record{}, ErrForeign
		}
		return Record{}, ErrNoRecord
	}
	switch {
	case f.seen&(1<<memberAWS) != 0 || f.seen&required != required:
		return Record{}, ErrForeign
	case f.err != nil:
		return Record{}, f.err
	case r.Seq == 0 || r.Event == "" || r.Boot == "" || len(r.Prev) != 64:
		return Record{}, fmt.Errorf("%w: event, boot, seq or prev is none", ErrNoRecord)
	}
	return r, nil
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

// memberNames are the keys of the members.
var memberNames = map[string]member{
	"_aws": memberAWS, "time": memberTime, "event": memberEvent, "boot": memberBoot, "seq": memberSeq, "prev": memberPrev,
	"policy": memberPolicy, "version": memberVersion, "protocol": memberProtocol, "id": memberID, "client": memberClient,
	"function": memberFunction, "owner": memberOwner, "via": memberVia, "method": memberMethod, "host": memberHost,
	"port": memberPort, "verdict": memberVerdict, "reason": memberReason, "rule": memberRule, "line": memberLine,
	"ticket": memberTicket, "addresses": memberAddresses, "dialed": memberDialed, "sni": memberSNI,
	"suppressed": memberSuppressed, "bytes_up": memberBytesUp, "bytes_down": memberBytesDown,
	"duration_ms": memberDuration, "ended": memberEnded, "type": memberType, "functions": memberFunctions,
	"rules": memberRules, "detail": memberDetail, "totals": memberTotals, "lost": memberLost,
}

// fields fills a record member by member.
type fields struct {
	r     *Record
	texts [memberCount]*string
	seen  uint64 // bits of members
	err   error  // the first
}

// member takes one member. One that stands twice could be read in two ways,
// and no record has one.
func (f *fields) member(key, value []byte) {
	m := memberNames[string(key)]
	if m == memberOther {
		return
	}
	if f.seen&(1<<m) != 0 {
		f.fail(key, "stands twice")
	}
	f.seen |= 1 << m
	if string(value) == "null" {
		return
	}
	if !f.text(m, value) && !f.count(m, value) && !f.other(m, value) {
		f.fail(key, "has a value that no record has")
	}
}

// fail keeps the first error.
func (f *fields) fail(key []byte, what string) {
	if f.err == nil {
		f.err = fmt.Errorf("%w: %s %s", ErrNoRecord, key, what)
	}
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
func (f *fields) text(m member, value []byte) bool {
	dst := f.texts[m]
	if dst == nil || value[0] != '"' {
		return false
	}
	*dst = string(unquote(value))
	return true
}

// count takes the members that are whole numbers.
func (f *fields) count(m member, value []byte) bool {
	r := f.r
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

// other takes the members that are neither text nor whole numbers.
func (f *fields) other(m member, value []byte) bool {
	r := f.r
	switch m {
	case memberAWS:
		return true
	case memberDuration:
		ms, err := strconv.ParseFloat(string(value), 64)
		r.Duration = time.Duration(ms * float64(time.Millisecond))
		return err == nil && ms >= 0 && ms < 1e12
	case memberAddresses:
		return addresses(&r.Addresses, value)
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
		name := string(text)
		r.SNI = &name
		return true
	}
	return false
}

// addresses reads an array of IP addresses.
func addresses(dst *[]netip.Addr, value []byte) bool {
	s, good := scanner{b: value}, true
	ok := s.array(func(one []byte) {
		var a netip.Addr
		good = good && one[0] == '"' && a.UnmarshalText(unquote(one)) == nil
		*dst = append(*dst, a)
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
