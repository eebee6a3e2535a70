package policy

import "fmt"

// Verdict is what becomes of a request. The zero value refuses.
type Verdict uint8

const (
	// Deny refuses the request.
	Deny Verdict = iota
	// Report lets the request through and records that it would be refused.
	Report
	// Allow lets the request through.
	Allow
)

// String returns the word records and metrics use: deny, report or allow. An
// unknown value is a deny.
func (v Verdict) String() string {
	switch v {
	case Allow:
		return "allow"
	case Report:
		return "report"
	default:
		return "deny"
	}
}

// Reason says why a request was refused. It is the one vocabulary of refusal:
// record field, metric label, reply header. The set is closed; ReasonNone is
// the zero value and goes with what was not refused.
type Reason uint8

// The reasons, in the order in which a request meets them.
const (
	ReasonNone               Reason = iota
	ReasonBadRequest                // the request is not HTTP/1.1 as RFC 9112 wants it
	ReasonBadTarget                 // the target is no host:port of a canonical name or address
	ReasonLoop                      // the request has passed this proxy before
	ReasonMethodNotAllowed          // the method cannot be forwarded
	ReasonSchemeNotSupported        // absolute-form with a scheme other than http
	ReasonHTTPSNotTunneled          // https:// in absolute-form instead of CONNECT
	ReasonIdentityRequired          // no credential was shown and the source names nobody
	ReasonIdentityRejected          // a credential was shown and does not hold
	ReasonLimitFailures             // too many failed credentials from one source
	ReasonLimitTotal                // the proxy has all the tunnels it may have
	ReasonLimitFunction             // the function has all the tunnels it may have
	ReasonLimitNames                // the client has asked for too many names below one wildcard
	ReasonDraining                  // the proxy is stopping
	ReasonHostDenied                // the deny list has the host
	ReasonHostNotAllowed            // no rule of the function has the host
	ReasonPortNotAllowed            // a rule has the host, none has the port
	ReasonRuleExpired               // the rule that has host and port has expired
	ReasonTypeNotAllowed            // the DNS question's type, class or opcode is not answered
	ReasonDNSFailed                 // the name does not resolve
	ReasonDNSTimeout                // no resolver answered in time
	ReasonAddressNotAllowed         // one address of the answer is not permitted
	ReasonAuditUnavailable          // the record could not be written
	ReasonDialFailed                // no address of the host could be connected to
	ReasonDialTimeout               // no address of the host answered in time
	ReasonOriginFailed              // the origin's answer to a plain HTTP request is unusable
	ReasonSNIMismatch               // the ClientHello names another host
	ReasonSNIMissing                // the ClientHello names no host
	ReasonNotTLS                    // the first bytes of the tunnel are not a ClientHello
	ReasonHelloTimeout              // no whole ClientHello came in time
	reasonCount
)

// reasonNames are the words of design, records and metrics.
var reasonNames = [reasonCount]string{
	ReasonNone:               "",
	ReasonBadRequest:         "bad_request",
	ReasonBadTarget:          "bad_target",
	ReasonLoop:               "loop",
	ReasonMethodNotAllowed:   "method_not_allowed",
	ReasonSchemeNotSupported: "scheme_not_supported",
	ReasonHTTPSNotTunneled:   "https_not_tunneled",
	ReasonIdentityRequired:   "identity_required",
	ReasonIdentityRejected:   "identity_rejected",
	ReasonLimitFailures:      "limit_failures",
	ReasonLimitTotal:         "limit_total",
	ReasonLimitFunction:      "limit_function",
	ReasonLimitNames:         "limit_names",
	ReasonDraining:           "draining",
	ReasonHostDenied:         "host_denied",
	ReasonHostNotAllowed:     "host_not_allowed",
	ReasonPortNotAllowed:     "port_not_allowed",
	ReasonRuleExpired:        "rule_expired",
	ReasonTypeNotAllowed:     "type_not_allowed",
	ReasonDNSFailed:          "dns_failed",
	ReasonDNSTimeout:         "dns_timeout",
	ReasonAddressNotAllowed:  "address_not_allowed",
	ReasonAuditUnavailable:   "audit_unavailable",
	ReasonDialFailed:         "dial_failed",
	ReasonDialTimeout:        "dial_timeout",
	ReasonOriginFailed:       "origin_failed",
	ReasonSNIMismatch:        "sni_mismatch",
	ReasonSNIMissing:         "sni_missing",
	ReasonNotTLS:             "not_tls",
	ReasonHelloTimeout:       "hello_timeout",
}

// String returns the snake_case word, "" for ReasonNone.
func (r Reason) String() string {
	if r < reasonCount {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason_%d", uint8(r))
}

// Reasons returns every reason there is, in the order in which a request
// meets them, without ReasonNone.
func Reasons() []Reason {
	all := make([]Reason, 0, reasonCount-1)
	for r := ReasonNone + 1; r < reasonCount; r++ {
		all = append(all, r)
	}
	return all
}
