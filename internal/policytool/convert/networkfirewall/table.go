package networkfirewall

import (
	"slices"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config/patterns"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/convert"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/yamlread"
)

// region are the names that no rule tells apart.
type region struct {
	at     hostname.Name        // zero: every name that no rule has
	below  bool                 // every name below at that has no region of its own; else at itself
	member hostname.Pattern     // one of them, which is asked about
	ports  []hostname.PortRange // what a rule of ours allows of it; merged
}

// pattern returns the pattern of the region, which has the regions below it too.
func (g *region) pattern() hostname.Pattern {
	form := g.at.String()
	if g.below {
		form = "*." + form
	}
	p, _ := hostname.ParsePattern(form)
	return p
}

// table is the verdict on everything that the rules tell apart.
type table struct {
	*reader
	byName   map[hostname.Name][]int // indexes of rules about a name, or what is below it
	anyName  []int                   // of those about every host
	cuts     []hostname.PortRange    // the ports, cut where some rule has an end
	regions  []region
	suffixes *hostname.Suffixes // nil until the first wildcard that is passed
	reported map[*rule]bool     // nil: what no rule decides
}

// newTable asks the rules about everything that they tell apart.
func newTable(r *reader) *table {
	t := &table{reader: r, byName: map[hostname.Name][]int{}, reported: map[*rule]bool{}}
	if !r.strict {
		slices.SortStableFunc(r.rules, func(a, b rule) int { return order(a) - order(b) })
	}
	var names []hostname.Name
	for i, u := range r.rules {
		name := u.host.Name()
		switch {
		case name.IsZero():
			t.anyName = append(t.anyName, i)
			continue
		case t.byName[name] == nil:
			names = append(names, name)
		}
		t.byName[name] = append(t.byName[name], i)
	}
	t.checkRules()
	t.cutPorts()
	slices.SortFunc(names, func(a, b hostname.Name) int { return strings.Compare(a.String(), b.String()) })
	probe := convert.FreeLabel(names)
	for _, name := range names {
		self, _ := hostname.ParsePattern(name.String())
		t.add(region{at: name, member: self})
		if under, err := hostname.ParsePattern(probe + "." + name.String()); err == nil {
			t.add(region{at: name, below: true, member: under})
		}
	}
	other, _ := hostname.ParsePattern(probe + "." + probe)
	t.add(region{member: other})
	return t
}

// order is the place of a rule by its action: those that pass come first.
func order(u rule) int {
	if u.allow {
		return 0
	}
	return 1
}

// checkRules notes rules that drop packets before a name is known, although another one
// passes names there, and rules that pass names for everybody, although the group says who
// is inside.
func (t *table) checkRules() {
	var passed []hostname.PortRange
	for _, u := range t.rules {
		if u.allow {
			passed = append(passed, u.ports...)
		}
	}
	passed = hostname.MergePorts(passed)
	for i := range t.rules {
		u := &t.rules[i]
		if u.allow && u.anySource && t.home != nil {
			t.once(u, "it passes what comes from anywhere, and HOME_NET says who calls; write $HOME_NET")
		}
		if u.early && overlap(u.ports, passed) {
			t.once(u, "it drops the packets that open a connection on ports on which other rules pass names; take those ports out, or add flow:established")
		}
	}
}

// cutPorts cuts the ports where some rule begins or ends. Port 80 is apart: a rule of ours
// that has it allows plain HTTP there.
func (t *table) cutPorts() {
	switch {
	case t.options.TLSOnly:
		t.cuts = hostname.Ports(443)
		return
	case t.options.WebOnly:
		t.cuts = hostname.Ports(80, 443)
		return
	}
	starts := map[int]bool{1: true, 80: true, 81: true}
	for _, u := range t.rules {
		for _, p := range u.ports {
			starts[int(p.First)], starts[int(p.Last)+1] = true, true
		}
	}
	for first := 1; first <= 65535; {
		last := first
		for last < 65535 && !starts[last+1] {
			last++
		}
		t.cuts = append(t.cuts, hostname.PortRange{First: uint16(first), Last: uint16(last)})
		first = last + 1
	}
}

// once notes a problem with a rule, one for each; nil: with what no rule decides.
func (t *table) once(by *rule, format string, args ...any) {
	if t.reported[by] {
		return
	}
	t.reported[by] = true
	if by == nil {
		by = &rule{at: t.top, key: "RulesSource"}
	}
	t.failRule(by, format, args...)
}

// decide returns the rule that decides about names by TLS or by plain HTTP on a port, nil for
// none.
func (t *table) decide(member hostname.Pattern, port uint16, tls bool) *rule {
	best := t.first(t.anyName, len(t.rules), member, port, tls)
	for above := member.Name().String(); above != ""; _, above, _ = strings.Cut(above, ".") {
		name, _ := hostname.ParseName(above)
		best = t.first(t.byName[name], best, member, port, tls)
	}
	if best == len(t.rules) {
		return nil
	}
	return &t.rules[best]
}

// first returns the first of some rules, whose indexes ascend, that fits and comes before
// another one; else that.
func (t *table) first(all []int, before int, member hostname.Pattern, port uint16, tls bool) int {
	for _, i := range all {
		u := &t.rules[i]
		if i >= before {
			break
		}
		if (tls && u.tls || !tls && u.http) && (u.host.IsZero() || convert.Covers(u.host, member)) && hasPort(u.ports, port) {
			return i
		}
	}
	return before
}

// hasPort reports whether a port is one of some ranges.
func hasPort(all []hostname.PortRange, port uint16) bool {
	return slices.ContainsFunc(all, func(p hostname.PortRange) bool { return p.Contains(port) })
}

// add asks about one region.
func (t *table) add(g region) {
	for _, ports := range t.cuts {
		if t.allows(&g, ports) {
			g.ports = append(g.ports, ports)
		}
	}
	g.ports = hostname.MergePorts(g.ports)
	t.regions = append(t.regions, g)
}

// allows reports whether a rule of ours may have these ports for a region. One with port 80 is for
// plain HTTP and for TLS; on any other port it is for TLS, and there is none that is for plain
// HTTP and not for any protocol.
func (t *table) allows(g *region, ports hostname.PortRange) bool {
	port := ports.First
	if t.options.WebOnly || t.options.TLSOnly {
		allow, _ := t.verdict(g, port, port != 80)
		return allow
	}
	tls, tlsBy := t.verdict(g, port, true)
	http, httpBy := t.verdict(g, port, false)
	switch {
	case port == 80 && tls && !http:
		t.once(tlsBy, "on port 80 it passes TLS but not plain HTTP, and a rule of ours is for both there; give --tls-only or --web-only, or leave port 80 out")
	case port == 80 && http && !tls:
		t.once(httpBy, "on port 80 it passes plain HTTP but not TLS, and a rule of ours is for both there; give --web-only, or pass TLS too")
	case port != 80 && http:
		t.once(httpBy, "it passes plain HTTP on ports %s, where a rule of ours would let any protocol through; give --web-only or --tls-only, or leave them out", ports)
	default:
		return tls
	}
	return false
}

// decider returns the rule that decides about a region on the first of some ports.
func (t *table) decider(g *region, ports []hostname.PortRange) *rule {
	port := ports[0].First
	return t.decide(g.member, port, port != 80 || !t.options.WebOnly)
}

// verdict asks about one protocol, and notes what no rule decides.
func (t *table) verdict(g *region, port uint16, tls bool) (allow bool, by *rule) {
	by = t.decide(g.member, port, tls)
	if by == nil {
		if !t.options.DropRest {
			t.once(nil, "no rule decides about %s on port %d of hosts such as %s, so that it is up to the firewall policy; give --drop-rest if that drops it", map[bool]string{true: "TLS", false: "plain HTTP"}[tls], port, g.member)
		}
		return false, nil
	}
	if by.allow && by.host.IsZero() {
		t.once(by, "it passes every host, which no list says; pass the names that are needed, and drop the rest")
		return false, by
	}
	return by.allow, by
}

// policy makes rules of what is allowed.
func (t *table) policy() *convert.Policy {
	f := convert.Function{At: t.top, Key: "RulesSource", Name: t.function, Sources: t.home}
	passed := map[hostname.Pattern][]hostname.PortRange{}
	for _, g := range t.regions {
		if len(g.ports) > 0 && !g.at.IsZero() {
			passed[g.pattern()] = g.ports
			f.Allow = append(f.Allow, t.allow(&g))
		}
	}
	f.Allow = convert.Shortened(f.Allow)
	p := &convert.Policy{Functions: []convert.Function{f}}
	for _, r := range convert.Shortened(t.deny(passed)) {
		p.Deny = append(p.Deny, r.Pattern)
	}
	return p
}

// allow returns the rule of a region where something is passed.
func (t *table) allow(g *region) convert.Rule {
	out := convert.Rule{Pattern: g.pattern(), Ports: g.ports}
	if slices.Equal(g.ports, hostname.Ports(443)) {
		out.Ports = nil
	}
	if !g.below {
		return out
	}
	if t.suffixes == nil {
		t.suffixes = hostname.NewSuffixes()
	}
	switch t.suffixes.WildcardScope(out.Pattern) {
	case hostname.ScopeRegistry:
		t.once(t.decider(g, g.ports), "%s", patterns.TooWide(out.Pattern))
	case hostname.ScopeShared:
		out.Shared = true
	case hostname.ScopeOne:
	}
	return out
}

// deny returns the lines for what is dropped below a wildcard that is passed. A line holds for
// every port, and for all that is below it.
func (t *table) deny(passed map[hostname.Pattern][]hostname.PortRange) (all []convert.Rule) {
	taken := map[hostname.Pattern]*rule{}
	for _, g := range t.regions {
		if g.at.IsZero() {
			continue
		}
		for wide := range above(g) {
			ports := passed[wide]
			if ports == nil || convert.HasPorts(g.ports, ports) {
				continue
			}
			by := t.decider(&g, subtract(ports, g.ports))
			if len(g.ports) > 0 {
				t.once(by, "it takes %s out of %s on some ports alone, and the deny list of a policy is for all; pass the names that are needed instead of the wildcard", yamlread.Quote(g.pattern().String()), wide)
			} else if _, again := taken[g.pattern()]; !again {
				taken[g.pattern()] = by
				all = append(all, convert.Rule{Pattern: g.pattern()})
			}
		}
	}
	for _, g := range t.regions {
		for wide := range above(g) {
			if by, denied := taken[wide]; denied && len(g.ports) > 0 {
				t.once(by, "it drops %s, below which other names are passed, and here a deny line wins over every rule; pass the names that are needed instead of the wildcard", wide)
			}
		}
	}
	return all
}

// above yields the wildcards that have the names of a region beside its own.
func above(g region) func(yield func(hostname.Pattern) bool) {
	return func(yield func(hostname.Pattern) bool) {
		name := g.at.String()
		for _, name, _ = strings.Cut(name, "."); name != ""; _, name, _ = strings.Cut(name, ".") {
			if p, err := hostname.ParsePattern("*." + name); err == nil && !yield(p) {
				return
			}
		}
	}
}
