package verdict

import "fmt"

// Reason says why a request was refused. It is the one vocabulary of refusal:
// record field, metric label, reply header. The set is closed; ReasonNone is
// the zero value and goes with what was not refused.
type Reason uint8

// The reasons, in the order in which a request meets them.
const (
	ReasonNone               Reason = iota
	ReasonBadRequest                // the request is not HTTP/1.1 as RFC 9112 wants it
	ReasonBadTarget                 // the target is not a host:port of a canonical name or address
	ReasonLoop                      // the request has passed this proxy before
	ReasonMethodNotAllowed          // the method cannot be forwarded
	ReasonSchemeNotSupported        // absolute-form with a scheme other than http
	ReasonHTTPSNotTunneled          // https:// in absolute-form instead of CONNECT
	ReasonIdentityRequired          // no credential was shown and the source names nobody
	ReasonKeysUnavailable           // there are no keys to verify the token of AWS by
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

// String returns the snake_case word, "" for ReasonNone.
func (r Reason) String() string {
	if r < reasonCount {
		return table[r].Word
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

// ParseReason returns the reason of a word, as records have it. False: there is
// no such word, or it is empty.
func ParseReason(word string) (Reason, bool) {
	for r := ReasonNone + 1; r < reasonCount; r++ {
		if table[r].Word == word {
			return r, true
		}
	}
	return ReasonNone, false
}

// Row returns what the reason means. ReasonNone and a reason that is not in the
// table have the row of a plain refusal.
func (r Reason) Row() Row {
	if r == ReasonNone || r >= reasonCount {
		return unknown
	}
	return table[r]
}
