package verdict

import "strconv"

// Row is what a reason means to everyone who meets it. Every column has a zero
// value that says nothing, so that one that was forgotten is seen.
type Row struct {
	// Word is the reason in records, metrics and X-Egress-Reason: snake_case.
	Word string
	// Status is what an HTTP client gets.
	Status Status
	// ProxyStatus is the error type of the Proxy-Status field, or NotOverHTTP.
	ProxyStatus ProxyError
	// Alert is what a TLS client gets that knows of no proxy.
	Alert Alert
	// DNS is what a DNS client gets.
	DNS DNSAnswer
	// Outcome is how OCSF sees it.
	Outcome Outcome
	// Fault says who can do something about it.
	Fault Fault
	// Advice says to whoever runs the client what to do: the body of the answer.
	Advice string
	// Meaning and Remedy are the row of docs/decision.md: what has happened, and what
	// the operator of the proxy can do.
	Meaning, Remedy string
}

// Status is an HTTP status, or why there is none.
type Status int

const (
	// StatusClosed closes a tunnel that is open already: the 200 has been sent.
	StatusClosed Status = -1
	// StatusLookup goes with what DNS questions alone can meet.
	StatusLookup Status = -2
)

// InTunnel reports whether the reason can close a tunnel that is open: by CONNECT
// the client has had its 200 then, whatever the row's Status.
func (r Reason) InTunnel() bool { return r.Row().Status == StatusClosed || r == ReasonNotTLS }

// Code returns the status of an answer. Where the reason is not answered over HTTP
// it is 403: one that stands in the wrong place still refuses.
func (s Status) Code() int {
	if s <= 0 {
		return 403
	}
	return int(s)
}

// String returns the status as docs/decision.md has it: three digits, closed or dns.
func (s Status) String() string {
	switch s {
	case StatusClosed:
		return "closed"
	case StatusLookup:
		return "dns"
	default:
		return strconv.Itoa(int(s))
	}
}

// ProxyError is an error type of the Proxy-Status field (RFC 9209, section 2.3).
type ProxyError string

// The error types that are in use; NotOverHTTP is none, and is not sent.
const (
	NotOverHTTP             ProxyError = "-"
	DNSTimeout              ProxyError = "dns_timeout"
	DNSError                ProxyError = "dns_error"
	DestinationUnavailable  ProxyError = "destination_unavailable"
	DestinationIPProhibited ProxyError = "destination_ip_prohibited"
	ConnectionTimeout       ProxyError = "connection_timeout"
	ConnectionLimitReached  ProxyError = "connection_limit_reached"
	HTTPRequestError        ProxyError = "http_request_error"
	HTTPRequestDenied       ProxyError = "http_request_denied"
	HTTPProtocolError       ProxyError = "http_protocol_error"
	ProxyInternalResponse   ProxyError = "proxy_internal_response"
	ProxyInternalError      ProxyError = "proxy_internal_error"
	ProxyLoopDetected       ProxyError = "proxy_loop_detected"
)

// Alert is a TLS alert (RFC 8446, section 6).
type Alert uint8

const (
	// AlertAccessDenied goes with who calls.
	AlertAccessDenied Alert = 49
	// AlertInternalError goes with what is neither about the caller nor the host.
	AlertInternalError Alert = 80
	// AlertUnrecognizedName goes with the host that is asked for.
	AlertUnrecognizedName Alert = 112
)

// DNSAnswer is the answer to a question that is refused.
type DNSAnswer struct {
	RCode RCode
	EDE   EDE // its text is the reason's word
}

// RCode is a DNS response code, or by which setting it is chosen.
type RCode uint16

const (
	// RCodeFormErr is FORMERR.
	RCodeFormErr RCode = 1
	// RCodeServFail is SERVFAIL: the client may try again, or elsewhere.
	RCodeServFail RCode = 2
	// RCodeRefuseWith is what dns.refuse_with says.
	RCodeRefuseWith RCode = 256
	// RCodeRefuseType is the same, but NODATA in the place of NXDOMAIN: the name is
	// there, what it has of that type is not to be had.
	RCodeRefuseType RCode = 257
)

// EDE is an extended DNS error (RFC 8914, section 4).
type EDE uint16

// The extended errors that are in use.
const (
	EDEOther                EDE = 0
	EDENotReady             EDE = 14
	EDEFiltered             EDE = 17
	EDENoReachableAuthority EDE = 22
)

// Outcome is how OCSF sees a refusal.
type Outcome struct {
	Disposition Disposition
	Severity    Severity
}

// Disposition is a disposition_id of OCSF.
type Disposition uint8

const (
	// Blocked is kept from the destination by the policy.
	Blocked Disposition = 2
	// Rejected is wrong in itself, or there is no room for it.
	Rejected Disposition = 25
	// Unauthorized is a caller that has not shown who it is.
	Unauthorized Disposition = 26
	// Failed was allowed, and could not be done.
	Failed Disposition = 27
)

// Severity is a severity_id of OCSF.
type Severity uint8

// The severities that are in use.
const (
	Informational Severity = 1
	Low           Severity = 2
	Medium        Severity = 3
	High          Severity = 4
)

// Fault says on whose side a request has failed.
type Fault uint8

const (
	// FaultCaller is with the client: how it asks, or who it says it is.
	FaultCaller Fault = iota + 1
	// FaultPolicy is with the policy, which does not have the request.
	FaultPolicy
	// FaultOutside is beyond the proxy: a resolver, a network, an origin.
	FaultOutside
	// FaultProxy is with the proxy.
	FaultProxy
)
