package record

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"strconv"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
)

// MaxLine is what every line is shorter than: log drivers split longer ones.
const MaxLine = 16 << 10

// Caps, in bytes of text before escaping, which makes six of one at worst.
// They keep every line under MaxLine.
const (
	maxText      = 256  // host, method, sni, owner, ticket
	maxWord      = 64   // what comes from a closed set
	maxRule      = 128  // function and rule
	maxARN       = 640  // the principal of a token; no ARN that holds is longer
	maxDetail    = 2048 // no request has one
	maxAddresses = 32
	maxChanges   = 64 // fewer where the line has no room
)

// null is JSON's.
const null = "null"

// Encoder makes lines. Make one with NewEncoder. It is not safe for concurrent
// use.
type Encoder struct {
	process []byte // from the end of the event's word to the number of seq
	version []byte // the key and its value
	id      []byte // from the key of id to the end of the process in its value
	second  int64  // the Unix second that stamp shows
	stamp   []byte // date and time to the second
	scratch []byte
}

// NewEncoder returns an Encoder for the records of a process, which are those of
// a version of the program.
func NewEncoder(process, version string) Encoder {
	quoted := appendText(nil, process, maxWord)
	e := Encoder{
		process: append(append([]byte(`","boot":`), quoted...), `,"seq":`...),
		version: appendText([]byte(`,"version":`), version, maxWord),
		id:      append([]byte(`,"id":`), quoted[:len(quoted)-1]...),
	}
	e.setSecond(0)
	return e
}

// Place is where in the stream a line stands.
type Place struct {
	Now  time.Time
	Seq  uint64            // from 1
	Prev [sha256.Size]byte // hash of the line before it, or of the process
}

// HashLine returns the hash of a line without its newline, which the next line
// has as Place.Prev.
func HashLine(line []byte) [sha256.Size]byte { return sha256.Sum256(line[:len(line)-1]) }

// AppendLine appends the line of e with its newline. t is the tally of the lines
// before it. It does not retain e.
func (enc *Encoder) AppendLine(dst []byte, e *Event, at *Place, t *Tally) []byte {
	start := len(dst)
	dst = append(dst, `{"time":"`...)
	dst = enc.time(dst, at.Now)
	dst = append(dst, `","event":"`...)
	dst = append(dst, e.Kind.String()...)
	dst = append(dst, enc.process...)
	dst = strconv.AppendUint(dst, at.Seq, 10)
	dst = append(dst, `,"prev":"`...)
	dst = hex.AppendEncode(dst, at.Prev[:])
	dst = append(dst, '"')
	dst = text(dst, `,"policy":`, e.Policy, maxWord)
	dst = append(dst, enc.version...)
	switch e.Kind {
	case Challenged, Refused, Opened, Closed, Answered:
		dst = enc.request(dst, e)
	case Started, Reloaded, ReloadFailed:
		dst = append(dst, `,"functions":`...)
		dst = strconv.AppendInt(dst, int64(e.Functions), 10)
		dst = append(dst, `,"rules":`...)
		dst = strconv.AppendInt(dst, int64(e.Rules), 10)
		dst = text(dst, `,"detail":`, e.Detail, maxDetail)
		if e.Kind == Reloaded {
			dst = reloaded(dst, len(dst)-start, e)
		}
	case Flood, Expired:
		dst = addrPort(dst, `,"client":`, e.Client)
		dst = text(dst, `,"function":`, e.Function, maxRule)
		dst = text(dst, `,"owner":`, e.Owner, maxText)
		dst = text(dst, `,"detail":`, e.Detail, maxDetail)
	default:
		dst = t.append(dst)
	}
	return append(dst, '}', '\n')
}

// request appends the fields of a request.
func (enc *Encoder) request(dst []byte, e *Event) []byte {
	dst = text(dst, `,"protocol":`, e.Protocol, maxWord)
	if e.ID == 0 {
		dst = append(dst, `,"id":null`...)
	} else {
		dst = append(e.ID.AppendTo(append(dst, enc.id...)), '"')
	}
	dst = addrPort(dst, `,"client":`, e.Client)
	dst = text(dst, `,"function":`, e.Function, maxRule)
	dst = text(dst, `,"owner":`, e.Owner, maxText)
	dst = text(dst, `,"via":`, e.Via, maxWord)
	dst = text(dst, `,"method":`, e.Method, maxText)
	dst = text(dst, `,"host":`, e.Host, maxText)
	dst = number(dst, `,"port":`, int64(e.Port))
	dst = append(dst, `,"verdict":"`...)
	dst = append(dst, e.Verdict.String()...)
	dst = append(dst, '"')
	dst = text(dst, `,"reason":`, e.Reason.String(), maxWord)
	dst = enc.rule(dst, e.Rule)
	dst = addresses(dst, e.Addresses)
	dst = addrPort(dst, `,"dialed":`, e.Dialed)
	dst = append(dst, `,"sni":`...)
	if e.HasSNI || e.SNI != "" {
		dst = appendText(dst, e.SNI, maxText)
	} else {
		dst = append(dst, null...)
	}
	switch e.Kind {
	case Closed:
		dst = closed(dst, e)
	case Answered:
		dst = text(dst, `,"type":`, e.QType, maxWord)
	}
	if e.Stale {
		dst = append(dst, `,"stale":true`...)
	}
	dst = some(dst, `,"principal":`, e.Principal, maxARN)
	dst = some(dst, `,"token_id":`, e.TokenID, maxRule)
	dst = some(dst, `,"claimed":`, e.Claimed, maxRule)
	dst = some(dst, `,"dial_error":`, e.DialError, maxWord)
	dst = some(dst, `,"shed":`, e.Shed, maxWord)
	if e.Suppressed > 0 {
		dst = append(dst, `,"suppressed":`...)
		dst = strconv.AppendUint(dst, e.Suppressed, 10)
	}
	return dst
}

// some appends a key and a text, nothing for "".
func some(dst []byte, key, s string, limit int) []byte {
	if s == "" {
		return dst
	}
	return text(dst, key, s, limit)
}

// rule appends rule, line and ticket, and the file of a rule that an included one has.
func (enc *Encoder) rule(dst []byte, r policy.Rule) []byte {
	if r.IsZero() {
		return append(dst, `,"rule":null,"line":null,"ticket":null`...)
	}
	enc.scratch = r.AppendPath(enc.scratch[:0])
	dst = appendText(append(dst, `,"rule":`...), enc.scratch, maxRule)
	dst = number(dst, `,"line":`, int64(r.Line()))
	dst = text(dst, `,"ticket":`, r.Ticket(), maxText)
	return some(dst, `,"file":`, r.File(), maxText)
}

// closed appends what only a Closed record has.
func closed(dst []byte, e *Event) []byte {
	dst = append(dst, `,"bytes_up":`...)
	dst = strconv.AppendInt(dst, e.BytesUp, 10)
	dst = append(dst, `,"bytes_down":`...)
	dst = strconv.AppendInt(dst, e.BytesDown, 10)
	us := uint64(max(e.Duration, 0).Microseconds())
	dst = append(dst, `,"duration_ms":`...)
	dst = strconv.AppendUint(dst, us/1000, 10)
	dst = append(dst, '.')
	dst = padded(dst, us%1000, 3)
	return text(dst, `,"ended":`, e.Ended, maxWord)
}

// reloaded appends what only a Reloaded record has, behind so many bytes of the line: the
// sums in any case, and of functions as many as fit, and how many that leaves out.
func reloaded(dst []byte, before int, e *Event) []byte {
	const most = 6*maxRule + 100 // bytes of one function
	dst = text(dst, `,"was":`, e.Was, maxWord)
	dst = strconv.AppendInt(append(dst, `,"gained":`...), int64(e.Gained), 10)
	dst = strconv.AppendInt(append(dst, `,"lost":`...), int64(e.Lost), 10)
	dst = append(dst, `,"changes":[`...)
	start, n := len(dst), 0
	for ; n < min(len(e.Changes), maxChanges) && before+len(dst)-start+2*most < MaxLine; n++ {
		if n > 0 {
			dst = append(dst, ',')
		}
		dst = text(dst, `{"function":`, e.Changes[n].Function, maxRule)
		dst = strconv.AppendInt(append(dst, `,"gained":`...), int64(e.Changes[n].Gained), 10)
		dst = strconv.AppendInt(append(dst, `,"lost":`...), int64(e.Changes[n].Lost), 10)
		dst = append(dst, '}')
	}
	dst = append(dst, ']')
	if more := len(e.Changes) - n; more > 0 {
		dst = strconv.AppendInt(append(dst, `,"changes_more":`...), int64(more), 10)
	}
	return dst
}

// addresses appends the first maxAddresses addresses and, where that leaves
// some out, how many.
func addresses(dst []byte, all []netip.Addr) []byte {
	dst = append(dst, `,"addresses":`...)
	if len(all) == 0 {
		return append(dst, null...)
	}
	sep := byte('[')
	for _, a := range all[:min(len(all), maxAddresses)] {
		dst = append(dst, sep, '"')
		dst = a.Unmap().WithZone("").AppendTo(dst)
		dst = append(dst, '"')
		sep = ','
	}
	dst = append(dst, ']')
	if more := len(all) - maxAddresses; more > 0 {
		dst = append(dst, `,"addresses_more":`...)
		dst = strconv.AppendInt(dst, int64(more), 10)
	}
	return dst
}

// addrPort appends ip:port. A zone is left out: it is text of any kind.
func addrPort(dst []byte, key string, a netip.AddrPort) []byte {
	dst = append(dst, key...)
	if !a.IsValid() {
		return append(dst, null...)
	}
	dst = append(dst, '"')
	dst = netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port()).AppendTo(dst)
	return append(dst, '"')
}

// text appends a key and a text, null for "".
func text(dst []byte, key, s string, limit int) []byte {
	dst = append(dst, key...)
	if s == "" {
		return append(dst, null...)
	}
	return appendText(dst, s, limit)
}

// number appends a key and a number, null for 0.
func number(dst []byte, key string, n int64) []byte {
	dst = append(dst, key...)
	if n == 0 {
		return append(dst, null...)
	}
	return strconv.AppendInt(dst, n, 10)
}

// time appends t as RFC 3339 in UTC with nine digits of the second. Date and
// time of day are made once a second.
func (enc *Encoder) time(dst []byte, t time.Time) []byte {
	if s := t.Unix(); s != enc.second {
		enc.setSecond(s)
	}
	dst = append(dst, enc.stamp...)
	dst = append(dst, '.')
	dst = padded(dst, uint64(t.Nanosecond()), 9)
	return append(dst, 'Z')
}

// setSecond makes stamp show a Unix second.
func (enc *Encoder) setSecond(s int64) {
	enc.second = s
	enc.stamp = time.Unix(s, 0).UTC().AppendFormat(enc.stamp[:0], "2006-01-02T15:04:05")
}

// padded appends n in exactly that many decimal digits.
func padded(dst []byte, n uint64, digits int) []byte {
	start := len(dst)
	dst = append(dst, "000000000"[:digits]...)
	for i := len(dst) - 1; i >= start; i-- {
		dst[i] = byte('0' + n%10)
		n /= 10
	}
	return dst
}
