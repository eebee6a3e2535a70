package policy

import (
	"net/netip"
	"slices"
	"strconv"
	"time"

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
	Ports     []uint16       // the ports that are allowed; empty: none
	TLS       TLSMode        // what a tunnel must begin with
	Expires   time.Time      // first instant at which the rule no longer holds; zero: it holds on
	Ticket    string         // free text of the file, for records
	Addresses []netip.Prefix // where the host may resolve to beside the public internet
}

// fit reports whether the conditions allow the port at that Unix second, or why not.
func (t *Conditions) fit(port uint16, now int64) verdict.Reason {
	switch {
	case !slices.Contains(t.Ports, port):
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

// cidrTable finds the rules for a literal address: one map lookup for each
// prefix length in use, longest first.
type cidrTable struct {
	lengths []int // of IPv4 prefixes 0-32, of IPv6 prefixes 129 + bits; descending
	rules   map[netip.Prefix][]cidrRule
}

// cidrRule is an allow entry for literal addresses.
type cidrRule struct {
	rule
	prefix netip.Prefix
}

// lengthKey sorts IPv4 and IPv6 prefix lengths apart.
func lengthKey(a netip.Addr, bits int) int {
	if a.Is4() {
		return bits
	}
	return 129 + bits
}

// add adds a rule for the addresses of p.
func (t *cidrTable) add(p netip.Prefix, r rule) {
	p = p.Masked()
	if t.rules == nil {
		t.rules = map[netip.Prefix][]cidrRule{}
	}
	key := lengthKey(p.Addr(), p.Bits())
	if at, found := slices.BinarySearchFunc(t.lengths, key, func(a, b int) int { return b - a }); !found {
		t.lengths = slices.Insert(t.lengths, at, key)
	}
	t.rules[p] = append(t.rules[p], cidrRule{rule: r, prefix: p})
}

// each calls yield for every rule that contains a, longest prefix first,
// until it returns false.
func (t *cidrTable) each(a netip.Addr, yield func(*cidrRule) bool) {
	base := lengthKey(a, 0)
	for _, key := range t.lengths {
		bits := key - base
		if bits < 0 || bits > a.BitLen() {
			continue // a length of the other family
		}
		p, err := a.Prefix(bits)
		if err != nil {
			continue
		}
		rules := t.rules[p]
		for i := range rules {
			if !yield(&rules[i]) {
				return
			}
		}
	}
}
