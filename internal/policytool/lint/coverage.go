package lint

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
)

// coverage finds the rules of one function that others make superfluous. It follows the
// order in which package policy tries rules: an exact name before a wildcard, a longer
// wildcard or range before a wider one, and among equal ones the function's own rules
// before its sets, in the order of the file.
type coverage struct {
	rules  []policy.RuleSpec
	names  map[hostname.Pattern][]int // the rules that have a part of a pattern, in that order
	ranges map[netip.Prefix][]int
	out    map[int]bool // those that were found superfluous, and count no longer
}

// newCoverage indexes the rules of a function.
func newCoverage(cfg *config.Config, f *config.Function) *coverage {
	c := &coverage{rules: f.Allow, names: map[hostname.Pattern][]int{}, ranges: map[netip.Prefix][]int{}, out: map[int]bool{}}
	for i, r := range f.Allow {
		switch {
		case r.Prefix.IsValid():
			c.ranges[r.Prefix] = append(c.ranges[r.Prefix], i)
		case r.Set == 0:
			c.addName(r.Pattern, i)
		}
	}
	for i, r := range f.Allow {
		if r.Set == 0 {
			continue
		}
		for _, p := range cfg.Sets[r.Set-1].Patterns {
			c.addName(p, i)
		}
	}
	return c
}

// addName notes a rule that has a pattern.
func (c *coverage) addName(pattern hostname.Pattern, i int) {
	for _, p := range pattern.Parts() {
		c.names[p] = append(c.names[p], i)
	}
}

// superfluous returns the rules that can be taken out, all together, and by which rules
// everything is allowed that they allow.
func (c *coverage) superfluous() map[int]string {
	all := map[int]string{}
	for i := len(c.rules) - 1; i >= 0; i-- { // of two equal ones the first stays
		if by, covered := c.of(i); covered {
			all[i], c.out[i] = by, true
		}
	}
	return all
}

// of returns the rules by which everything is allowed that rule i allows. A rule that names a
// set is none of those that are asked about.
func (c *coverage) of(i int) (by string, covered bool) {
	r := c.rules[i]
	if r.Set > 0 || r.Conditions == nil || len(r.Conditions.Ports) == 0 {
		return "", false
	}
	var lines []string
	for _, order := range c.orders(r) {
		at := slices.Index(order, i)
		for _, port := range c.portsOf(order, i) {
			other, ok := c.decides(order, at, port)
			if !ok {
				return "", false
			}
			if line := fmt.Sprintf("line %d", c.rules[other].Line); !slices.Contains(lines, line) {
				lines = append(lines, line)
			}
		}
	}
	return strings.Join(lines, " and "), true
}

// portsOf returns ports of rule i, one of each stretch of them of which the rules of an order
// say the same: a range differs from another where either begins.
func (c *coverage) portsOf(order []int, i int) (all []uint16) {
	mine := c.rules[i].Conditions.Ports
	for _, r := range mine {
		all = append(all, r.First)
	}
	for _, other := range order {
		if c.rules[other].Conditions == nil {
			continue
		}
		for _, r := range c.rules[other].Conditions.Ports {
			for _, p := range []uint16{r.First, r.Last + 1} {
				if has(mine, p) && !slices.Contains(all, p) {
					all = append(all, p)
				}
			}
		}
	}
	return all
}

// has reports whether ports have one.
func has(ports []hostname.PortRange, port uint16) bool {
	return slices.ContainsFunc(ports, func(r hostname.PortRange) bool { return r.Contains(port) })
}

// orders returns the order of the rules for each part of what a rule covers.
func (c *coverage) orders(r policy.RuleSpec) (all [][]int) {
	if r.Prefix.IsValid() {
		return [][]int{c.order(r.Prefix, hostname.Pattern{})}
	}
	for _, p := range r.Pattern.Parts() {
		all = append(all, c.order(netip.Prefix{}, p))
	}
	return all
}

// order returns the rules that have all of a range, or of a part of a pattern, in the order
// in which they are tried.
func (c *coverage) order(prefix netip.Prefix, part hostname.Pattern) (all []int) {
	if prefix.IsValid() {
		for bits := prefix.Bits(); bits >= 0; bits-- {
			wider, _ := prefix.Addr().Prefix(bits)
			all = append(all, c.ranges[wider]...)
		}
		return all
	}
	all = slices.Clone(c.names[part])
	for name := part.Name().String(); name != ""; {
		_, name, _ = strings.Cut(name, ".")
		if p, err := hostname.ParsePattern("*." + name); err == nil {
			all = append(all, c.names[p]...)
		}
	}
	return all
}

// decides returns the rule that decides about a port instead of the one at that place of the
// order: one before it that holds as long, which decides already, or the first one behind it
// that has the port, where that asks the same and holds as long.
func (c *coverage) decides(order []int, at int, port uint16) (rule int, ok bool) {
	mine := c.rules[order[at]].Conditions
	for place, i := range order {
		other := c.rules[i].Conditions
		switch {
		case place == at || c.out[i] || other == nil || !has(other.Ports, port):
		case place < at:
			if holdsAsLong(other, mine) {
				return i, true
			}
		default:
			same := other.TLS == mine.TLS && slices.Equal(other.Addresses, mine.Addresses)
			return i, same && holdsAsLong(other, mine)
		}
	}
	return 0, false
}

// holdsAsLong reports whether conditions expire no sooner than others.
func holdsAsLong(a, b *policy.Conditions) bool {
	return a.Expires.IsZero() || !b.Expires.IsZero() && !a.Expires.Before(b.Expires)
}
