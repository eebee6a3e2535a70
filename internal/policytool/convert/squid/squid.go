// Package squid reads what a squid.conf says of who may reach what, and says it as a policy
// of ours.
//
// What it does: it reads acl, http_access and include, and asks the rules in their order, the
// first match as Squid does it, about a member of each region that they tell apart: each
// source, each name and what lies below it, each range of ports, CONNECT and other methods.
// What comes out becomes rules, or a problem with its line. ACLs of the types src, dstdomain,
// port and method are known.
//
// What it does not do: it does not guess. A directive that it does not know is a problem, for
// it may have a say in what is allowed; so is an ACL of another type, if a rule has it.
//
//	p, err := squid.Read("squid.conf", data, squid.Options{ConnectOnly: true}, os.ReadFile)
package squid

import (
	"net/netip"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/convert"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/yamlread"
)

// Options narrow what is compared, where the whole cannot be said.
type Options struct {
	// ConnectOnly: what Squid says of CONNECT is what the policy says, whatever Squid says of
	// other methods.
	ConnectOnly bool
	// NamesOnly: no literal address is allowed. Squid looks the name of one up, which its
	// owner sets, and compares that with lists that lack -n.
	NamesOnly bool
}

// Read reads a squid.conf. open reads the files that it names. What is wrong with it, and what
// a policy cannot say of it, is a *yamlread.Error.
func Read(name string, data []byte, o Options, open func(path string) ([]byte, error)) (*convert.Policy, error) {
	r := &reader{name: name, options: o, open: open, acls: builtin()}
	r.file(name, data, 0)
	if len(r.problems) == 0 {
		r.check()
	}
	if len(r.problems) > 0 {
		return nil, &yamlread.Error{Problems: r.problems}
	}
	t := newTable(r)
	p := t.policy()
	if len(r.problems) > 0 {
		return nil, &yamlread.Error{Problems: r.problems}
	}
	return p, nil
}

// acl is one access list: of its values one has to fit.
type acl struct {
	at       yamlread.Position
	name     string
	kind     string // src, dstdomain, port, method; any other is not known
	prefixes []netip.Prefix
	domains  []hostname.Pattern
	index    map[string]hostname.Pattern // those of domains, by their name
	ports    []hostname.PortRange
	methods  []string
	noLookup bool // -n: literal addresses are not looked up
}

// literal is an access list in a rule, or what it does not have.
type literal struct {
	*acl
	not bool
}

// rule is one http_access: all of its lists have to fit.
type rule struct {
	at    yamlread.Position
	allow bool
	all   []literal
}

// request is what the rules are asked about.
type request struct {
	source  netip.Prefix
	host    hostname.Pattern // a name
	port    uint16
	connect bool
}

// has reports whether a list fits a request.
func (a *acl) has(q request) bool {
	switch a.kind {
	case "src":
		for _, p := range a.prefixes {
			if p.Bits() <= q.source.Bits() && p.Contains(q.source.Addr()) {
				return true
			}
		}
	case "dstdomain":
		return a.hasName(q.host)
	case "port":
		for _, p := range a.ports {
			if p.Contains(q.port) {
				return true
			}
		}
	case "method":
		return q.connect // the lists that are known have CONNECT alone
	case "manager", "here":
		return false // see builtin
	}
	return false
}

// add puts a pattern into a list of names.
func (a *acl) add(p hostname.Pattern) {
	if a.index == nil {
		a.index = map[string]hostname.Pattern{}
	}
	name := p.Name().String()
	if old, ok := a.index[name]; ok && old != p {
		p, _ = hostname.ParsePattern("." + name) // the name and all below it
	}
	a.domains = append(a.domains, p)
	a.index[name] = p
}

// hasName reports whether a list has a name.
func (a *acl) hasName(host hostname.Pattern) bool {
	for name := host.Name().String(); name != ""; _, name, _ = strings.Cut(name, ".") {
		if convert.Covers(a.index[name], host) {
			return true
		}
	}
	return false
}

// decide returns the verdict on a request, and the rule that decides; nil: none fits. Then it
// is the opposite of the last one, and a denial where there is none.
func decide(rules []rule, q request) (allow bool, by *rule) {
	for i := range rules {
		fits := true
		for _, l := range rules[i].all {
			fits = fits && l.has(q) != l.not
		}
		if fits {
			return rules[i].allow, &rules[i]
		}
	}
	return len(rules) > 0 && !rules[len(rules)-1].allow, nil
}

// everywhere are the sources of everybody.
func everywhere() []netip.Prefix {
	return []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
}

// builtin returns the lists that Squid defines by itself. Requests for its cache manager are
// never CONNECT. What resolves to its own machine or to the link is refused by every policy,
// as long as no rule opens it by addresses, and none of these does.
func builtin() map[string]*acl {
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("::1/128")}
	all := map[string]*acl{}
	for _, a := range []acl{
		{name: "all", kind: "src", prefixes: everywhere()},
		{name: "localhost", kind: "src", prefixes: loopback},
		{name: "CONNECT", kind: "method", methods: []string{"CONNECT"}},
		{name: "manager", kind: "manager"},
		{name: "to_localhost", kind: "here"},
		{name: "to_linklocal", kind: "here"},
	} {
		all[a.name] = &a
	}
	return all
}
