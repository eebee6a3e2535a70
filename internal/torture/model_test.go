//go:build torture

package torture

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// The functions of the policies. alpha and beta show a token, gamma too and is
// in report mode, seeker is known by its source, delta and epsilon by tokens of AWS. crowder is the
// attackers'.
const (
	alpha   = "alpha"
	beta    = "beta"
	gamma   = "gamma"
	seeker  = "seeker"
	crowder = "crowder"
)

// The last two labels of names, which say what rules there are for them.
const (
	zoneBoth    = "both.test"    // always allowed to alpha
	zoneOnlyA   = "onlya.test"   // by variant A alone
	zoneOnlyB   = "onlyb.test"   // by variant B alone
	zoneRaw     = "raw.test"     // without TLS
	zoneWeb     = "web.test"     // plain HTTP
	zoneNarrow  = "narrow.test"  // the addresses that it may have differ by variant
	zonePorts   = "ports.test"   // the ports do
	zoneSelf    = "self.test"    // may resolve to the address that the proxy listens on
	zoneDenied  = "denied.test"  // on alpha's list and on the deny list
	zoneGone    = "gone.test"    // the rule has expired
	zoneBeta    = "beta.test"    // beta's
	zoneNever   = "never.test"   // nobody's
	zoneCrowder = "crowder.test" // crowder's
)

// The addresses that origins and canaries have, by what rules open.
var (
	firstNet   = netip.MustParsePrefix("127.1.0.0/16")
	secondNet  = netip.MustParsePrefix("127.2.0.0/16")
	literalNet = netip.MustParsePrefix("127.3.0.0/16")
	ownNet     = netip.MustParsePrefix("127.0.0.0/16")  // the program's own listeners are in it
	balancers  = netip.MustParsePrefix("127.90.0.0/16") // a PROXY header comes first
	seekerNet  = netip.MustParsePrefix("127.80.0.0/16") // seeker's source
)

// modelRule is a rule as the model has it.
type modelRule struct {
	ports   []uint16
	verify  bool           // the ClientHello must name the host
	opens   []netip.Prefix // where the name may resolve to
	expired bool
}

// variant is one policy of those that reloads alternate between.
type variant struct {
	name  string
	rules map[string]map[string]modelRule // function, then zone
	cidr  map[string][]uint16             // function, then the ports that literalNet is open at
	// strangers: delta's ARN is another function's name, so that none of its tokens is its.
	strangers bool
	// unfetched: the account whose keys are fetched is not in it, and the program forgets them.
	unfetched bool
}

// without returns the variant without the account whose keys are fetched.
func (v *variant) without() *variant {
	less := *v
	less.unfetched = true
	return &less
}

// reason is the word of a refusal, "" where there is none.
type reason = string

// decide says what the rules of a function have on a name: the rule, and why it
// does not let the target through.
func (v *variant) decide(function, zone string, port uint16) (modelRule, reason) {
	if zone == zoneDenied {
		return modelRule{}, "host_denied"
	}
	r, ok := v.rules[function][zone]
	switch {
	case !ok:
		return modelRule{}, "host_not_allowed"
	case !slices.Contains(r.ports, port):
		return r, "port_not_allowed"
	case r.expired:
		return r, "rule_expired"
	default:
		return r, ""
	}
}

// decideLiteral is decide for an address.
func (v *variant) decideLiteral(function string, a netip.Addr, port uint16) reason {
	ports, ok := v.cidr[function]
	switch {
	case !ok || !literalNet.Contains(a):
		return "host_not_allowed"
	case !slices.Contains(ports, port):
		return "port_not_allowed"
	default:
		return ""
	}
}

// opensAll reports whether the rule opens every address.
func (r modelRule) opensAll(addrs []netip.Addr) bool {
	for _, a := range addrs {
		if !slices.ContainsFunc(r.opens, func(p netip.Prefix) bool { return p.Contains(a) }) {
			return false
		}
	}
	return true
}

// variants are the policies of a world.
func (w *world) variants() []*variant {
	tls, raw, web := w.ports.tls, w.ports.raw, w.ports.web
	first, second := []netip.Prefix{firstNet}, []netip.Prefix{secondNet}
	attested := func() map[string]modelRule {
		return map[string]modelRule{
			zoneBoth: {ports: []uint16{tls}, verify: true, opens: first},
			zoneRaw:  {ports: []uint16{raw, tls}, opens: first},
			zoneWeb:  {ports: []uint16{web}, opens: first},
		}
	}
	common := func() map[string]map[string]modelRule {
		return map[string]map[string]modelRule{
			alpha: {
				zoneBoth: {ports: []uint16{tls}, verify: true, opens: first},
				zoneRaw:  {ports: []uint16{raw, tls}, opens: first},
				zoneWeb:  {ports: []uint16{web}, opens: first},
				zoneSelf: {ports: []uint16{w.ports.proxy, w.ports.admin, w.ports.dns, raw}, opens: []netip.Prefix{ownNet}},
				zoneGone: {ports: []uint16{tls}, verify: true, opens: first, expired: true},
			},
			beta:    {zoneBeta: {ports: []uint16{tls}, verify: true, opens: second}},
			gamma:   {zoneBoth: {ports: []uint16{tls}, verify: true, opens: first}},
			seeker:  {zoneBoth: {ports: []uint16{tls}, verify: true, opens: first}, zoneWeb: {ports: []uint16{web}, opens: first}},
			delta:   attested(),
			epsilon: attested(),
			crowder: {zoneCrowder: {ports: []uint16{tls, web}, opens: first}},
		}
	}
	a := &variant{name: "A", rules: common(), cidr: map[string][]uint16{alpha: {raw}}}
	a.rules[alpha][zoneOnlyA] = modelRule{ports: []uint16{tls}, verify: true, opens: first}
	a.rules[alpha][zoneNarrow] = modelRule{ports: []uint16{tls}, verify: true, opens: first}
	a.rules[alpha][zonePorts] = modelRule{ports: []uint16{tls}, opens: first}
	b := &variant{name: "B", rules: common(), strangers: true}
	b.rules[alpha][zoneOnlyB] = modelRule{ports: []uint16{tls}, verify: true, opens: first}
	b.rules[alpha][zoneNarrow] = modelRule{ports: []uint16{tls}, verify: true, opens: second}
	b.rules[alpha][zonePorts] = modelRule{ports: []uint16{tls, raw}, opens: first}
	b.rules[beta][zoneWeb] = modelRule{ports: []uint16{web}, opens: second}
	c := &variant{name: "C", rules: common(), cidr: map[string][]uint16{alpha: {raw}, beta: {raw}}}
	c.rules[alpha][zoneNarrow] = modelRule{ports: []uint16{tls}, verify: true, opens: []netip.Prefix{firstNet, secondNet}}
	c.rules[alpha][zonePorts] = modelRule{ports: []uint16{raw}, opens: first}
	delete(c.rules[seeker], zoneWeb)
	return []*variant{a, b, c}
}

// allowList writes a function's rules as the file has them.
func (v *variant) allowList(function string) string {
	var b strings.Builder
	for _, zone := range sortedKeys(v.rules[function]) {
		r := v.rules[function][zone]
		mode, expires := "any", ""
		if r.verify {
			mode = "verify"
		}
		if r.expired {
			expires = ", expires: 2021-03-04"
		}
		fmt.Fprintf(&b, "      - {host: \"*.%s\", ports: %s, tls: %s, addresses: %s%s}\n", zone, list(r.ports), mode, list(r.opens), expires)
	}
	if function == alpha {
		fmt.Fprintf(&b, "      - {host: \"*.%s\", ports: [443], tls: any, addresses: [127.0.0.0/8]}\n", zoneDenied)
	}
	if ports := v.cidr[function]; ports != nil {
		fmt.Fprintf(&b, "      - {cidr: %s, ports: %s, tls: any}\n", literalNet, list(ports))
	}
	if b.Len() == 0 {
		return " []\n"
	}
	return "\n" + b.String()
}

// list writes a flow sequence of YAML.
func list[T any](all []T) string {
	var words []string
	for _, one := range all {
		words = append(words, fmt.Sprint(one))
	}
	return "[" + strings.Join(words, ", ") + "]"
}
