package relay

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"
)

// refusal is an answer of the extension itself, in place of the proxy's.
type refusal struct {
	status int
	phrase string // behind "Egress extension: "
	error  string // of Proxy-Status (RFC 9209, section 2.3)
	advice string
}

// malformed is a request that the proxy would not take either.
var malformed = refusal{http.StatusBadRequest, "malformed request", "http_request_error", "What came is no HTTP/1.1 request to a proxy."}

// notConfigured is the answer where a setting is wrong.
func notConfigured(setting string) refusal {
	return refusal{http.StatusServiceUnavailable, "not configured: " + setting, "proxy_configuration_error", "Set the variable of the function."}
}

// noToken is the answer where STS gives none. The code is AWS's where it has one.
func noToken(code string) *refusal {
	return &refusal{http.StatusServiceUnavailable, "no token: " + code, "proxy_internal_error", "Run \"/opt/extensions/egress doctor\" in the function: it says what is missing."}
}

// noProxy is the answer where the proxy cannot be reached. The code is Proxy-Status's.
func noProxy(err error) *refusal {
	code := proxyError(err)
	return &refusal{http.StatusBadGateway, "no proxy: " + code, code, "The extension reaches no proxy at EGRESS_PROXY."}
}

// proxyError returns the word of RFC 9209 for an error of a connection to the proxy.
func proxyError(err error) string {
	var dns *net.DNSError
	var timeout interface{ Timeout() bool }
	var certificate *tls.CertificateVerificationError
	var header tls.RecordHeaderError
	var alert tls.AlertError
	var authority x509.UnknownAuthorityError
	switch {
	case errors.As(err, &dns):
		return "dns_error"
	case errors.As(err, &certificate), errors.As(err, &authority):
		return "tls_certificate_error"
	case errors.As(err, &header), errors.As(err, &alert):
		return "tls_protocol_error"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "connection_timeout"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection_refused"
	case errors.Is(err, errNoAnswer):
		return "connection_terminated"
	case errors.Is(err, errHead):
		return "http_response_header_section_size"
	default:
		return "destination_unavailable"
	}
}

// refuse answers a client and leaves its connection to be closed. Whether the answer
// arrives is the client's concern.
func (r *Relay) refuse(c *peer, f refusal) {
	text := "Egress extension: " + f.phrase + "\n" + f.advice + "\n"
	fmt.Fprintf(c, "HTTP/1.1 %d Egress extension: %s\r\nProxy-Status: egress-extension; error=%s\r\nConnection: close\r\n"+
		"Content-Length: %d\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n%s", f.status, f.phrase, f.error, len(text), text)
	linger(c)
}
