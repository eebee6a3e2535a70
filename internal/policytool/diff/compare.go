package diff

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// side is one function in one version.
type side struct {
	policy    *policy.Policy
	function  *policy.Function
	permitted map[policy.Rule]string // the addresses that a rule permits, once they have been asked for
}

// access is what may be reached of a target at an instant: at which addresses, as a string
// of a 1 for each that is permitted and a 0 for each that is not; "" for none.
type access struct {
	tls   string // by TLS to the name
	other string // by anything else
}

// comparison is that of one function.
type comparison struct {
	sides     [2]side
	reports   bool                      // report mode has not ended in either: all that is not denied matters
	patterns  map[hostname.Pattern]bool // parts of them: of a name, or of those below one
	literals  map[netip.Prefix]bool
	opened    map[netip.Prefix]bool // where names may resolve to
	ports     []hostname.PortRange  // those of the rules, cut where any begins or ends, and otherPort
	otherPort hostname.PortRange    // stands for every port that no rule has; zero: only rules let anything through
	starts    []time.Time           // what may be reached changes at these alone; the first is now

	places  *regions     // of opened, their special parts
	probes  []netip.Addr // a public address, then one of each of places
	indexes []int        // of places, for each of probes but the first

	gains, loses []Change
}

// newComparison returns one without a function in either version.
func newComparison(now time.Time) *comparison {
	return &comparison{
		patterns: map[hostname.Pattern]bool{}, literals: map[netip.Prefix]bool{}, opened: map[netip.Prefix]bool{},
		starts: []time.Time{now},
	}
}

// add adds the function of one version; nil: it is not there, and may reach nothing.
func (c *comparison) add(i int, p *policy.Policy, s *policy.Spec, f *policy.FunctionSpec) {
	c.sides[i] = side{policy: p, permitted: map[policy.Rule]string{}}
	if f == nil {
		return
	}
	c.sides[i].function = p.Function(f.Name)
	c.reports = c.reports || f.ReportUntil.After(c.starts[0])
	c.starts = append(c.starts, f.ReportUntil)
	for _, r := range f.Rules {
		for _, pattern := range append(slices.Clip(setOf(s, r)), r.Pattern) {
			for _, part := range pattern.Parts() {
				c.patterns[part] = true
			}
		}
		if r.Prefix.IsValid() {
			c.literals[r.Prefix] = true
		}
		if r.Conditions == nil {
			continue
		}
		c.ports = append(c.ports, r.Conditions.Ports...)
		c.starts = append(c.starts, r.Conditions.Expires)
		for _, p := range r.Conditions.Addresses {
			c.opened[p] = true
		}
	}
}

// compare finds the regions and asks about each.
func (c *comparison) compare(denied *denyIndex) {
	now := c.starts[0]
	c.starts = slices.DeleteFunc(c.starts, func(t time.Time) bool { return t.Before(now) })
	slices.SortFunc(c.starts, time.Time.Compare)
	c.starts = slices.CompactFunc(c.starts, time.Time.Equal)
	c.ports = cutPorts(c.ports)
	if other := otherPort(c.ports); c.reports && other.First > 0 {
		c.ports, c.otherPort = append(c.ports, other), other
	}

	c.places = prefixRegions(c.opened)[partSpecial]
	c.probes = []netip.Addr{netip.AddrFrom4([4]byte{1, 1, 1, 1})}
	for i := range c.places.list {
		if a := c.places.list[i].host.Addr(); a.IsValid() {
			c.probes, c.indexes = append(c.probes, a), append(c.indexes, i)
		}
	}
	c.addDenied(denied)
	c.regions(nameRegions(c.patterns, c.reports), "")
	if c.reports {
		c.literals[netip.PrefixFrom(netip.IPv4Unspecified(), 0)] = true
		c.literals[netip.PrefixFrom(netip.IPv6Unspecified(), 0)] = true
	}
	trees := prefixRegions(c.literals)
	for part, t := range trees {
		c.regions(t, part)
	}
	c.gains, c.loses = wholeRanges(trees, c.gains), wholeRanges(trees, c.loses)
}

// addDenied adds the lines of the deny lists that take something out of what the rules
// cover. A line for what is above a rule's pattern decides about the whole of it.
func (c *comparison) addDenied(denied *denyIndex) {
	bases := []string{}
	if c.reports {
		bases = append(bases, "")
	}
	for p := range c.patterns {
		if p.Wildcard() {
			bases = append(bases, p.Name().String())
		}
	}
	for _, base := range bases {
		for _, p := range denied.below[base] {
			c.patterns[p] = true
		}
	}
}

// otherPort returns a port that is none of those, which are sorted; 0: there is none.
func otherPort(ports []hostname.PortRange) hostname.PortRange {
	last := uint16(65535)
	for _, r := range slices.Backward(hostname.MergePorts(ports)) {
		if r.Last < last {
			break
		}
		last = r.First - 1
	}
	return hostname.Port(last)
}

// cutPorts returns the ports of ranges as ranges of which each lies in another one whole or
// not at all: what rules say of one of its ports they say of all.
func cutPorts(ranges []hostname.PortRange) (all []hostname.PortRange) {
	begins := map[int]bool{} // where a range begins, or the ports behind one
	for _, r := range ranges {
		begins[int(r.First)], begins[int(r.Last)+1] = true, true
	}
	order := slices.Sorted(maps.Keys(begins))
	whole := hostname.MergePorts(ranges)
	for i := range max(len(order)-1, 0) {
		r := hostname.PortRange{First: uint16(order[i]), Last: uint16(order[i+1] - 1)}
		for len(whole) > 0 && whole[0].Last < r.First {
			whole = whole[1:]
		}
		if len(whole) > 0 && whole[0].Contains(r.First) {
			all = append(all, r)
		}
	}
	return all
}

// access says what a side may reach of a target at an instant.
func (c *comparison) access(s *side, t hostname.Target, now time.Time) (a access) {
	d := s.policy.Decide(s.function, t, now)
	if d.Verdict != verdict.Allow && d.Verdict != verdict.Report {
		return a
	}
	if addr := t.Host.Addr(); !addr.IsValid() {
		a.tls = c.addresses(s, d)
	} else if d.PermitsAddress(addr) {
		a.tls = "1"
	}
	// Report mode asks for no TLS either.
	if d.Rule.TLS() == policy.TLSAny || d.Verdict == verdict.Report || s.function.Reports(now) {
		a.other = a.tls
	}
	return a
}

// addresses says at which addresses a decision lets a name be reached.
func (c *comparison) addresses(s *side, d policy.Decision) string {
	if known, ok := s.permitted[d.Rule]; ok {
		return known
	}
	bits := make([]byte, len(c.probes))
	for i, a := range c.probes {
		bits[i] = '0'
		if d.PermitsAddress(a) {
			bits[i] = '1'
		}
	}
	s.permitted[d.Rule] = string(bits)
	return string(bits)
}

// minus returns the addresses of a that are not in b, "" for none.
func minus(a, b string) string {
	if a == "" || b == "" {
		return a
	}
	rest := []byte(a)
	for i := range rest {
		if b[i] == '1' {
			rest[i] = '0'
		}
	}
	if strings.IndexByte(string(rest), '1') < 0 {
		return ""
	}
	return string(rest)
}

// kind is what changes have to have in common to be told as one.
type kind struct {
	gained                 bool
	carries, addresses     string
	when                   string             // a 1 for each of starts from which on it holds, else a 0
	port                   hostname.PortRange // zero: all of those that are told as one
	covers, except, inPart string             // of the region; "": not yet described
}

// regions asks about every region of a tree at every port and instant; part is that of the
// ranges, "" for names.
func (c *comparison) regions(t *regions, part string) {
	found := map[kind]map[int]bool{}
	for i := range t.list {
		if t.list[i].host.IsZero() {
			continue
		}
		for _, port := range c.ports {
			for k := range c.differences(hostname.Target{Host: t.list[i].host, Port: port.First}, port) {
				if found[k] == nil {
					found[k] = map[int]bool{}
				}
				found[k][i] = true
			}
		}
	}
	ports := map[kind][]hostname.PortRange{}
	regionOf := map[kind]Region{}
	for k, in := range found {
		port := k.port
		for _, r := range t.describe(in) {
			k.port, k.covers, k.except, k.inPart = hostname.PortRange{}, r.Covers, strings.Join(r.Except, " "), part
			ports[k] = append(ports[k], port)
			regionOf[k] = r
		}
	}
	for k, list := range ports {
		change := c.change(k, regionOf[k], list)
		if k.gained {
			c.gains = append(c.gains, change)
		} else {
			c.loses = append(c.loses, change)
		}
	}
}

// differences returns what the versions differ in about one target.
func (c *comparison) differences(t hostname.Target, ports hostname.PortRange) map[kind]bool {
	var when map[kind][]byte
	for i, at := range c.starts {
		before, after := c.access(&c.sides[0], t, at), c.access(&c.sides[1], t, at)
		if before == after {
			continue
		}
		for _, k := range append(kinds(true, after, before), kinds(false, before, after)...) {
			if when == nil {
				when = map[kind][]byte{}
			}
			if when[k] == nil {
				when[k] = []byte(strings.Repeat("0", len(c.starts)))
			}
			when[k][i] = '1'
		}
	}
	all := map[kind]bool{}
	for k, bits := range when {
		k.when, k.port = string(bits), ports
		all[k] = true
	}
	return all
}

// kinds says what a has that b has not.
func kinds(gained bool, a, b access) (all []kind) {
	tls, other := minus(a.tls, b.tls), minus(a.other, b.other)
	if tls == other {
		if tls != "" {
			all = append(all, kind{gained: gained, carries: "any", addresses: tls})
		}
		return all
	}
	if tls != "" {
		all = append(all, kind{gained: gained, carries: "tls", addresses: tls})
	}
	if other != "" {
		all = append(all, kind{gained: gained, carries: "other", addresses: other})
	}
	return all
}

// comparePorts orders lists of ports.
func comparePorts(a, b []hostname.PortRange) int {
	return slices.CompareFunc(a, b, func(a, b hostname.PortRange) int {
		return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.Last, b.Last))
	})
}

// sorted sorts changes by what they cover.
func sorted(all []Change) []Change {
	slices.SortFunc(all, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.Covers, b.Covers), cmp.Compare(a.Part, b.Part), comparePorts(a.Ports, b.Ports), comparePorts(a.NotPorts, b.NotPorts),
			cmp.Compare(a.Carries, b.Carries), slices.Compare(a.Except, b.Except), cmp.Compare(a.details(), b.details()))
	})
	return append([]Change{}, all...)
}
