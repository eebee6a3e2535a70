package proxy

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
)

// refusal is how a reason looks to the client.
type refusal struct {
	status int
	token  string // error type of the Proxy-Status field, RFC 9209, section 2.3
	advice string // what the person who reads it can do
}

// refusals has an entry for every reason that is answered over HTTP. The
// reasons of the ClientHello close the tunnel instead and have none, but for
// not_tls, which a plain request can get as well.
var refusals = map[policy.Reason]refusal{
	policy.ReasonBadRequest:         {http.StatusBadRequest, "http_request_error", "The request is not well-formed HTTP/1.1."},
	policy.ReasonBadTarget:          {http.StatusBadRequest, "http_request_error", "The target must be a hostname or an address literal, and a port."},
	policy.ReasonLoop:               {http.StatusBadGateway, "proxy_loop_detected", "The request has already passed this proxy."},
	policy.ReasonMethodNotAllowed:   {http.StatusMethodNotAllowed, "http_request_error", "Use CONNECT, or one of the common methods with an http:// target."},
	policy.ReasonSchemeNotSupported: {http.StatusNotImplemented, "http_request_error", "Only http:// targets are forwarded; use CONNECT for everything else."},
	policy.ReasonHTTPSNotTunneled: {http.StatusNotImplemented, "http_request_error",
		"The client sent an https:// URL in the clear instead of opening a tunnel with CONNECT. Update it (axios: 1.16 or later)."},
	policy.ReasonIdentityRequired:  {http.StatusProxyAuthRequired, "http_request_denied", ""},
	policy.ReasonIdentityRejected:  {http.StatusProxyAuthRequired, "http_request_denied", ""},
	policy.ReasonLimitFailures:     {http.StatusTooManyRequests, "connection_limit_reached", "Too many credentials that do not hold came from this address. Correct HTTPS_PROXY, then wait a minute."},
	policy.ReasonLimitTotal:        {http.StatusServiceUnavailable, "connection_limit_reached", "The proxy is full: tunnels, dials or memory. Try again."},
	policy.ReasonLimitFunction:     {http.StatusServiceUnavailable, "connection_limit_reached", "The function has as many tunnels, or dials to this host, as it may have. Close idle connections, or ask for a higher limits.tunnels_per_function."},
	policy.ReasonDraining:          {http.StatusServiceUnavailable, "proxy_internal_response", "This proxy is stopping. Try again; another one answers."},
	policy.ReasonHostDenied:        {http.StatusForbidden, "http_request_denied", "The host is on the deny list, which no function's list overrides."},
	policy.ReasonHostNotAllowed:    {http.StatusForbidden, "http_request_denied", "The host is not on the function's list. Ask the owner of the egress policy to allow it, naming function, host and port."},
	policy.ReasonPortNotAllowed:    {http.StatusForbidden, "http_request_denied", "The host is on the function's list, the port is not. Ask the owner of the egress policy to add it to the rule's ports."},
	policy.ReasonRuleExpired:       {http.StatusForbidden, "http_request_denied", "The rule for this host has expired. Ask the owner of the egress policy to renew it."},
	policy.ReasonNotTLS:            {http.StatusForbidden, "http_request_denied", "The rule for this host and port wants TLS. Use an https:// URL, for which the client opens a tunnel, or ask for a rule with tls: any."},
	policy.ReasonDNSFailed:         {http.StatusBadGateway, "dns_error", "The host is allowed, but its name does not resolve."},
	policy.ReasonDNSTimeout:        {http.StatusGatewayTimeout, "dns_timeout", "The host is allowed, but no resolver answered in time."},
	policy.ReasonAddressNotAllowed: {http.StatusForbidden, "destination_ip_prohibited", "The host resolves to an address that its rule does not permit. If that is meant, the rule needs addresses."},
	policy.ReasonAuditUnavailable:  {http.StatusServiceUnavailable, "proxy_internal_error", "The proxy cannot write its records, and passes nothing that it cannot record."},
	policy.ReasonDialFailed:        {http.StatusBadGateway, "destination_unavailable", "The host is allowed, but does not accept the connection."},
	policy.ReasonDialTimeout:       {http.StatusGatewayTimeout, "connection_timeout", "The host is allowed, but does not answer."},
	policy.ReasonOriginFailed:      {http.StatusBadGateway, "http_protocol_error", "The host is allowed, but its answer is not usable HTTP."},
}

// statusOf returns the status of a reason; a more exact one for the ways in
// which a head can be wrong.
func statusOf(r policy.Reason, cause error) int {
	if r == policy.ReasonBadRequest {
		if status, ok := headStatus(cause); ok {
			return status
		}
	}
	return refusals[r].status
}

// maxPhrase is how long a reason phrase gets, in bytes. Clients that print it
// print it whole up to here.
const maxPhrase = 100

// appendRefusal appends the whole reply: status line, fields and body. The
// reason phrase carries the reason, the target and the function, because it is
// all that most clients show. It holds nothing but what the proxy itself made
// canonical; a target that did not parse is not repeated.
func appendRefusal(b []byte, e *audit.Event, id string, status int) []byte {
	r := refusals[e.Reason]
	reason := e.Reason.String()
	phrase := "Egress refused: " + reason
	if e.Host != "" && e.Reason != policy.ReasonBadTarget && e.Reason != policy.ReasonBadRequest {
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
		body = fmt.Sprintf("%s\n\n%s\nRequest %s, answered by the egress proxy, not by the destination.\n", phrase, r.advice, id)
	}
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	b = append(b, phrase...)
	b = append(b, "\r\nProxy-Status: egress; error="...)
	b = append(b, r.token...)
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
	b = append(b, headEnd...)
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
		return append(b, "\r\nAllow: CONNECT, "+strings.Join(forwardable, ", ")...)
	case http.StatusServiceUnavailable:
		return append(b, "\r\nRetry-After: 2"...)
	case http.StatusTooManyRequests:
		return append(b, "\r\nRetry-After: 60"...)
	}
	return b
}
