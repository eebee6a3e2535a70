package policy

import (
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/ipclass"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// TLSMode says what the first bytes of a tunnel must be.
type TLSMode uint8

const (
	// TLSVerify wants a ClientHello whose server name is the host. It is the
	// zero value.
	TLSVerify TLSMode = iota
	// TLSAny asks for nothing: the tunnel may carry any protocol.
	TLSAny
)

// String returns the word of the file.
func (m TLSMode) String() string {
	if m == TLSAny {
		return "any"
	}
	return "verify"
}

// Conditions are what a rule asks beside the host. The zero Conditions have no port
// and so allow nothing.
type Conditions struct {
	Ports     []hostname.PortRange // the ports that are allowed; empty: none
	TLS       TLSMode              // what a tunnel must begin with
	Expires   time.Time            // first instant at which the rule no longer holds; zero: it holds on
	Ticket    string               // free text of the file, for records
	Addresses []netip.Prefix       // where the host may resolve to beside the public internet
}

// hasPort reports whether the port is one of those that are allowed.
func (t *Conditions) hasPort(port uint16) bool {
	for _, r := range t.Ports {
		if r.Contains(port) {
			return true
		}
	}
	return false
}

// fit reports whether the conditions allow the port at that Unix second, or why not.
func (t *Conditions) fit(port uint16, now int64) verdict.Reason {
	switch {
	case !t.hasPort(port):
		return verdict.ReasonPortNotAllowed
	case !t.Expires.IsZero() && now >= t.Expires.Unix():
		return verdict.ReasonRuleExpired
	default:
		return verdict.ReasonNone
	}
}

// Rule is the line of the file that decided. The zero Rule is not one: it has
// no path and opens no address.
type Rule struct {
	function   *Function // nil: a line of the deny list, or no rule
	conditions *Conditions
	literal    *netip.Prefix // what a cidr rule covers; nil: not a cidr rule
	index      int32
	line       int32
	deny       bool
}

// IsZero reports whether there is no rule.
func (r Rule) IsZero() bool { return r.function == nil && !r.deny }

// Index returns the rule's place in its list, from 0: the 2 of functions.billing.allow[2].
func (r Rule) Index() int { return int(r.index) }

// Line returns the rule's line in the file, 0 for no rule.
func (r Rule) Line() int { return int(r.line) }

// Ticket returns the free text of the rule, "" where it has none.
func (r Rule) Ticket() string {
	if r.conditions == nil {
		return ""
	}
	return r.conditions.Ticket
}

// TLS returns what a tunnel under this rule must begin with; no rule: TLSVerify.
func (r Rule) TLS() TLSMode {
	if r.conditions == nil {
		return TLSVerify
	}
	return r.conditions.TLS
}

// String returns the rule's place in the file as records carry it:
// functions.billing-webhook.allow[2], deny[0], or "" for no rule.
func (r Rule) String() string { return string(r.AppendPath(nil)) }

// AppendPath appends what String returns to dst.
func (r Rule) AppendPath(dst []byte) []byte {
	switch {
	case r.deny:
		dst = append(dst, "deny["...)
	case r.function != nil:
		dst = append(dst, "functions."...)
		dst = append(dst, r.function.name...)
		dst = append(dst, ".allow["...)
	default:
		return dst
	}
	dst = strconv.AppendInt(dst, int64(r.index), 10)
	return append(dst, ']')
}

// permits reports whether a connection under this rule may go to a.
func (r Rule) permits(a netip.Addr) bool {
	if ipclass.AlwaysBlocked(a) {
		return false
	}
	a = a.Unmap()
	if ipclass.IsPublic(a) || r.literal != nil && r.literal.Contains(a) {
		return true
	}
	return r.conditions != nil && slices.ContainsFunc(r.conditions.Addresses, func(p netip.Prefix) bool { return p.Contains(a) })
}
