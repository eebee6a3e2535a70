package exchange

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/gate"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/httphead"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// statusOf returns the status of a reason; a more exact one for the ways in
// which a head can be wrong.
func statusOf(r verdict.Reason, cause error) int {
	if r == verdict.ReasonBadRequest {
		if status, ok := headStatus(cause); ok {
			return status
		}
	}
	return r.Row().Status.Code()
}

// adviceOf returns what to do about a reason; of a bad target it matters which part of
// it is bad.
func adviceOf(r verdict.Reason, cause error) string {
	if r == verdict.ReasonBadTarget && errors.Is(cause, httphead.ErrPath) {
		return "The path or query has a byte that a URL does not have; percent-encode it in the client."
	}
	return r.Row().Advice
}

// maxPhrase is how long a reason phrase gets, in bytes. Clients that print it
// print it whole up to here.
const maxPhrase = 100

// appendRefusal appends the whole reply: status line, fields and body. The
// reason phrase carries the reason, the target and the function, because it is
// all that most clients show. It holds nothing but what the proxy itself made
// canonical; a target that did not parse is not repeated.
func appendRefusal(b []byte, e *audit.Event, id string, status int, advice string) []byte {
	row := e.Reason.Row()
	reason := e.Reason.String()
	phrase := "Egress refused: " + reason
	if e.Host != "" && e.Reason != verdict.ReasonBadTarget && e.Reason != verdict.ReasonBadRequest {
		phrase += " " + e.Host
	}
	if e.Function != "" {
		phrase += " for " + e.Function
	}
	if len(phrase) > maxPhrase {
		phrase = phrase[:maxPhrase-3] + "..."
	}
	body := ""
	if status != http.StatusProxyAuthRequired {
		body = fmt.Sprintf("%s\n\n%s\nRequest %s, answered by the egress proxy, not by the destination.\n", phrase, advice, id)
	}
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	b = append(b, phrase...)
	b = append(b, "\r\nProxy-Status: egress; error="...)
	b = append(b, row.ProxyStatus...)
	b = append(b, `; details="`...)
	b = append(b, reason...)
	b = append(b, "\"\r\nX-Egress-Reason: "...)
	b = append(b, reason...)
	b = append(b, "\r\nX-Egress-Request-Id: "...)
	b = append(b, id...)
	b = appendStatusFields(b, status)
	b = append(b, "\r\nConnection: close\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(body)), 10)
	if body != "" {
		b = append(b, "\r\nContent-Type: text/plain; charset=utf-8"...)
	}
	b = append(b, "\r\n\r\n"...)
	if e.Method == http.MethodHead {
		return b
	}
	return append(b, body...)
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
