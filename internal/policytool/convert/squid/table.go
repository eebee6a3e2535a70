package squid

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config/patterns"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/convert"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/yamlread"
)

// everybody is the caller that no list has.
const everybody = "everybody"

// region are the names that no list tells apart, and the member that is asked about.
type region struct {
	at      hostname.Name
	below   bool // every name below at that has no region of its own; else at itself
	member  hostname.Pattern
	allowed []hostname.PortRange // of the caller that is looked at
	by      *rule                // which denies the first range of ports that is denied; nil: none fits
}

// caller is a source that the rules tell apart.
type caller struct {
	at      yamlread.Position
	name    string
	lists   []string // which have it
	sources []netip.Prefix
	regions []region
}

// table is the verdict on everything that the rules tell apart.
type table struct {
	*reader
	ports    []hostname.PortRange // all ports, cut where some list has an end
	names    []hostname.Name      // sorted
	probe    string               // a label that none of them has
	lines    map[hostname.Name]yamlread.Position
	callers  []caller
	suffixes *hostname.Suffixes
	denied   map[hostname.Pattern]bool // lines of the deny list
	reported map[yamlread.Position]bool
}

// newTable asks the rules about everything that they tell apart.
func newTable(r *reader) *table {
	t := &table{reader: r, lines: map[hostname.Name]yamlread.Position{}, suffixes: hostname.NewSuffixes(), denied: map[hostname.Pattern]bool{}, reported: map[yamlread.Position]bool{}}
	used := t.used()
	t.cutPorts(used)
	for _, a := range used {
		for _, p := range a.domains {
			if _, ok := t.lines[p.Name()]; !ok {
				t.lines[p.Name()] = a.at
				t.names = append(t.names, p.Name())
			}
		}
	}
	slices.SortFunc(t.names, func(a, b hostname.Name) int { return strings.Compare(a.String(), b.String()) })
	t.probe = convert.FreeLabel(t.names)
	t.findCallers(used)
	for i := range t.callers {
		t.evaluate(&t.callers[i])
	}
	return t
}

// used returns the lists that rules have, in the order of the file.
func (t *table) used() (all []*acl) {
	for _, u := range t.rules {
		for _, l := range u.all {
			if !slices.Contains(all, l.acl) {
				all = append(all, l.acl)
			}
		}
	}
	return all
}

// cutPorts cuts the ports where some list begins or ends.
func (t *table) cutPorts(used []*acl) {
	starts := map[int]bool{1: true}
	for _, a := range used {
		for _, p := range a.ports {
			starts[int(p.First)], starts[int(p.Last)+1] = true, true
		}
	}
	delete(starts, 65536)
	sorted := slices.Sorted(maps.Keys(starts))
	for i, first := range sorted {
		last := 65535
		if i+1 < len(sorted) {
			last = sorted[i+1] - 1
		}
		t.ports = append(t.ports, hostname.PortRange{First: uint16(first), Last: uint16(last)})
	}
}

// findCallers makes a caller of the sources that the same lists have. The longest range that
// has an address says whose it is, here as in a policy.
func (t *table) findCallers(used []*acl) {
	var sources []*acl
	for _, a := range used {
		if a.kind == "src" && a.name != "all" {
			sources = append(sources, a)
		}
	}
	for _, a := range sources {
		for _, p := range a.prefixes {
			t.addCaller(sources, p, a.at)
		}
	}
	for _, p := range everywhere() {
		t.addCaller(sources, p, t.rules[0].at)
	}
}

// addCaller gives a range to the caller that the lists with it make.
func (t *table) addCaller(sources []*acl, p netip.Prefix, at yamlread.Position) {
	var names []string
	for _, a := range sources {
		if a.has(request{source: p}) {
			names = append(names, a.name)
		}
	}
	name := strings.Join(names, "-")
	if name == "" {
		name = everybody
	}
	i := slices.IndexFunc(t.callers, func(c caller) bool { return slices.Equal(c.lists, names) })
	if i < 0 {
		i = len(t.callers)
		if slices.ContainsFunc(t.callers, func(c caller) bool { return c.name == name }) {
			t.fail(at, "acl "+name, "two functions would have the name %s; call the list by another one", name)
		}
		t.callers = append(t.callers, caller{at: at, name: name, lists: names})
		if !identity.ValidFunction(name) {
			t.fail(at, "acl "+name, "%s cannot be the name of a function; call the list by 1 to 64 of A-Z a-z 0-9 - . _ ~", yamlread.Quote(name))
		}
	}
	if !slices.Contains(t.callers[i].sources, p) {
		t.callers[i].sources = append(t.callers[i].sources, p)
	}
}

// evaluate asks the rules about a caller: about each region of names and each range of ports.
func (t *table) evaluate(c *caller) {
	for _, name := range t.names {
		self, _ := hostname.ParsePattern(name.String())
		under, err := hostname.ParsePattern(t.probe + "." + name.String())
		c.regions = append(c.regions, t.region(c, region{at: name, member: self}))
		if err == nil {
			c.regions = append(c.regions, t.region(c, region{at: name, below: true, member: under}))
		}
	}
	other, _ := hostname.ParsePattern(t.probe + "." + t.probe)
	if rest := t.region(c, region{member: other}); len(rest.allowed) > 0 {
		t.once(t.lastAllow(), "it allows %s every host but those that are denied, which no list says; allow the names that are needed, and deny all behind them", c.name)
	}
}

// region asks about one region, and notes where CONNECT and other methods differ.
func (t *table) region(c *caller, g region) region {
	for _, ports := range t.ports {
		q := request{source: c.sources[0], host: g.member, port: ports.First, connect: true}
		allow, by := decide(t.rules, q)
		if q.connect = false; !t.options.ConnectOnly {
			if plain, also := decide(t.rules, q); plain != allow {
				t.once(cause(by, also), "it makes a difference between CONNECT and other methods on port %s, and a rule of ours holds for both; give --connect-only, if functions use CONNECT alone", ports)
			}
		}
		if allow {
			g.allowed = append(g.allowed, ports)
		} else if g.by == nil {
			g.by = by
		}
	}
	g.allowed = hostname.MergePorts(g.allowed)
	return g
}

// cause returns the one of two rules that asks for the method, or else the last of them.
func cause(a, b *rule) *rule {
	if a != nil && slices.ContainsFunc(a.all, func(l literal) bool { return l.kind == "method" }) {
		return a
	}
	return b
}

// once notes a problem with a rule, one for each; nil: with what comes behind the last one.
func (t *table) once(by *rule, format string, args ...any) {
	if by == nil {
		by = &t.rules[len(t.rules)-1]
	}
	if !t.reported[by.at] {
		t.reported[by.at] = true
		t.fail(by.at, "http_access", format, args...)
	}
}

// lastAllow returns the last rule that allows, or nil.
func (t *table) lastAllow() *rule {
	for i := len(t.rules) - 1; i >= 0; i-- {
		if t.rules[i].allow {
			return &t.rules[i]
		}
	}
	return nil
}

// policy makes rules of what is allowed.
func (t *table) policy() *convert.Policy {
	p := &convert.Policy{}
	for _, c := range t.callers {
		f := convert.Function{At: c.at, Key: "acl " + c.name, Name: c.name, Sources: c.sources}
		for _, g := range c.regions {
			if len(g.allowed) > 0 {
				f.Allow = append(f.Allow, t.allow(&c, g))
			}
		}
		f.Allow = convert.Shortened(f.Allow)
		if c.name != everybody || len(f.Allow) > 0 {
			p.Functions = append(p.Functions, f)
		}
	}
	for d := range t.denied {
		p.Deny = append(p.Deny, d)
	}
	slices.SortFunc(p.Deny, func(a, b hostname.Pattern) int { return strings.Compare(a.String(), b.String()) })
	return p
}

// allow returns the rule of a region where something is allowed. A wildcard has the
// regions below it too: what is denied there has to be denied to everybody, by the deny list.
func (t *table) allow(c *caller, g region) convert.Rule {
	form := g.at.String()
	if g.below {
		form = "*." + form
	}
	p, _ := hostname.ParsePattern(form)
	rule := convert.Rule{Pattern: p, Ports: g.allowed, TLSAny: true}
	switch t.suffixes.WildcardScope(p) {
	case hostname.ScopeRegistry:
		t.fail(t.lines[g.at], "acl", "%s", patterns.TooWide(p))
	case hostname.ScopeShared:
		rule.Shared = true
	case hostname.ScopeOne:
	}
	for _, other := range c.regions {
		if g.below && strings.HasSuffix(other.at.String(), "."+g.at.String()) && !convert.HasPorts(other.allowed, g.allowed) {
			t.deny(other)
		}
	}
	return rule
}

// deny puts a region on the deny list, which holds for every caller and every port.
func (t *table) deny(g region) {
	form := g.at.String()
	if g.below {
		form = "*." + form
	}
	p, _ := hostname.ParsePattern(form)
	for _, c := range t.callers {
		for _, other := range c.regions {
			if convert.Covers(p, other.member) && len(other.allowed) > 0 {
				t.once(g.by, "it takes %s out of a wildcard for some callers or ports alone, and the deny list of a policy holds for all; allow the names that are needed instead of the wildcard", p)
				return
			}
		}
	}
	t.denied[p] = true
}
