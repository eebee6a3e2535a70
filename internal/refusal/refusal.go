// Package refusal writes the reply of a request that is refused: status line, fields and
// body, of what the proxy itself made canonical and of the row of the reason.
//
// What it does not do: it decides nothing, and sends nothing.
package refusal

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/gate"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/httphead"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// Reply is what a reply says beside its event.
type Reply struct {
	ID      string // of the record
	Status  int
	Advice  string // what to do about it
	Persist bool   // the connection takes another request
}

// ReplyTo returns the reply to what was refused for a reason. The cause, which may be nil,
// makes it more exact: there are several ways in which a head can be wrong, and parts of a
// target.
func ReplyTo(r verdict.Reason, cause error) Reply {
	row := r.Row()
	reply := Reply{Status: row.Status.Code(), Advice: row.Advice}
	switch {
	case r == verdict.ReasonBadRequest:
		if status, ok := headStatus(cause); ok {
			reply.Status = status
		}
	case r == verdict.ReasonBadTarget && errors.Is(cause, httphead.ErrPath):
		reply.Advice = "The path or query has a byte that a URL does not have; percent-encode it in the client."
	}
	return reply
}

// maxPhrase is how long a reason phrase gets, in bytes. Clients that print it
// print it whole up to here.
const maxPhrase = 100

// Size is room for most replies, in bytes.
const Size = 704

// AppendTo appends the whole reply to an event: status line, fields and body. The
// reason phrase carries the reason, the target and the function, because it is
// all that most clients show. It holds nothing but what the proxy itself made
// canonical; a target that did not parse is not repeated.
func (r Reply) AppendTo(b []byte, e *audit.Event) []byte {
	row, reason := e.Reason.Row(), e.Reason.String()
	var buf [2 * maxPhrase]byte
	phrase := appendPhrase(buf[:0], e, reason)
	body := [...]string{"\n\n", r.Advice, "\nRequest ", r.ID, ", answered by the egress proxy, not by the destination.\n"}
	length := 0
	if r.Status != http.StatusProxyAuthRequired {
		length = len(phrase)
		for _, s := range body {
			length += len(s)
		}
	}
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(r.Status), 10)
	b = append(b, ' ')
	b = append(b, phrase...)
	for _, s := range [...]string{
		"\r\nProxy-Status: egress; error=", string(row.ProxyStatus), `; details="`, reason, "\"\r\nX-Egress-Reason: ", reason, "\r\nX-Egress-Request-Id: ", r.ID,
	} {
		b = append(b, s...)
	}
	b = appendStatusFields(b, r.Status)
	if !r.Persist {
		b = append(b, "\r\nConnection: close"...)
	}
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(length), 10)
	if length > 0 {
		b = append(b, "\r\nContent-Type: text/plain; charset=utf-8"...)
	}
	b = append(b, "\r\n\r\n"...)
	if e.Method == http.MethodHead || length == 0 {
		return b
	}
	b = append(b, phrase...)
	for _, s := range body {
		b = append(b, s...)
	}
	return b
}

// appendPhrase appends the reason phrase.
func appendPhrase(b []byte, e *audit.Event, reason string) []byte {
	from := len(b)
	b = append(append(b, "Egress refused: "...), reason...)
	if e.Host != "" && e.Reason != verdict.ReasonBadTarget && e.Reason != verdict.ReasonBadRequest {
		b = append(append(b, ' '), e.Host...)
	}
	if e.Function != "" {
		b = append(append(b, " for "...), e.Function...)
	}
	if len(b)-from > maxPhrase {
		b = append(b[:from+maxPhrase-3], "..."...)
	}
	return b
}

// appendStatusFields appends the fields that go with the status.
func appendStatusFields(b []byte, status int) []byte {
	switch status {
	case http.StatusProxyAuthRequired:
		return append(b, "\r\nProxy-Authenticate: Basic realm=\"egress\""...)
	case http.StatusMethodNotAllowed:
		return append(b, "\r\nAllow: CONNECT, "+strings.Join(gate.Forwardable, ", ")...)
	case http.StatusServiceUnavailable:
		return append(b, "\r\nRetry-After: 2"...)
	case http.StatusTooManyRequests:
		return append(b, "\r\nRetry-After: 60"...)
	}
	return b
}

// headStatus maps what is wrong with a head to a status.
func headStatus(err error) (int, bool) {
	switch {
	case errors.Is(err, httphead.ErrTooLarge), errors.Is(err, httphead.ErrTooManyFields):
		return http.StatusRequestHeaderFieldsTooLarge, true
	case errors.Is(err, httphead.ErrVersion):
		return http.StatusHTTPVersionNotSupported, true
	case errors.Is(err, httphead.ErrCoding):
		return http.StatusNotImplemented, true
	case errors.Is(err, httphead.ErrExpectation):
		return http.StatusExpectationFailed, true
	default:
		return 0, false
	}
}
