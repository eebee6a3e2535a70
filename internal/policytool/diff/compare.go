package diff

import (
	"cmp"
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
	reports   bool // report mode has not ended in either: all that is not denied matters
	patterns  map[hostname.Pattern]bool
	literals  map[netip.Prefix]bool
	opened    map[netip.Prefix]bool // where names may resolve to
	ports     []uint16              // those of the rules, and otherPort
	otherPort uint16                // stands for every port that no rule has; 0: only rules let anything through
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
			c.patterns[pattern] = true
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
	delete(c.patterns, hostname.Pattern{})
}

// compare finds the regions and asks about each.
func (c *comparison) compare(denied *denyIndex) {
	now := c.starts[0]
	c.starts = slices.DeleteFunc(c.starts, func(t time.Time) bool { return t.Before(now) })
	slices.SortFunc(c.starts, time.Time.Compare)
	c.starts = slices.CompactFunc(c.starts, time.Time.Equal)
	slices.Sort(c.ports)
	c.ports = slices.Compact(c.ports)
	if other := otherPort(c.ports); c.reports && other > 0 {
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
func otherPort(ports []uint16) uint16 {
	for p := uint16(65535); p > 0; p-- {
		if _, listed := slices.BinarySearch(ports, p); !listed {
			return p
		}
	}
	return 0
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
	when                   string // a 1 for each of starts from which on it holds, else a 0
	port                   uint16 // 0: all of those that are told as one
	covers, except, inPart string // of the region; "": not yet described
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
			for k := range c.differences(hostname.Target{Host: t.list[i].host, Port: port}) {
				if found[k] == nil {
					found[k] = map[int]bool{}
				}
				found[k][i] = true
			}
		}
	}
	ports := map[kind][]uint16{}
	regionOf := map[kind]Region{}
	for k, in := range found {
		port := k.port
		for _, r := range t.describe(in) {
			k.port, k.covers, k.except, k.inPart = 0, r.Covers, strings.Join(r.Except, " "), part
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
func (c *comparison) differences(t hostname.Target) map[kind]bool {
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
		k.when, k.port = string(bits), t.Port
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

// sorted sorts changes by what they cover.
func sorted(all []Change) []Change {
	slices.SortFunc(all, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.Covers, b.Covers), cmp.Compare(a.Part, b.Part), slices.Compare(a.Ports, b.Ports), slices.Compare(a.NotPorts, b.NotPorts),
			cmp.Compare(a.Carries, b.Carries), slices.Compare(a.Except, b.Except), cmp.Compare(a.details(), b.details()))
	})
	return append([]Change{}, all...)
}
