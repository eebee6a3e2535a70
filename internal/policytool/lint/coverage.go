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
	names  map[hostname.Pattern][]int // the rules that have a pattern, in that order
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
			c.names[r.Pattern] = append(c.names[r.Pattern], i)
		}
	}
	for i, r := range f.Allow {
		if r.Set == 0 {
			continue
		}
		for _, p := range cfg.Sets[r.Set-1].Patterns {
			c.names[p] = append(c.names[p], i)
		}
	}
	return c
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
	order := c.order(r)
	at := slices.Index(order, i)
	var lines []string
	for _, port := range r.Conditions.Ports {
		other, ok := c.decides(order, at, port)
		if !ok {
			return "", false
		}
		if line := fmt.Sprintf("line %d", c.rules[other].Line); !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, " and "), true
}

// order returns the rules that have all that a rule covers, in the order in which they are
// tried.
func (c *coverage) order(r policy.RuleSpec) (all []int) {
	if r.Prefix.IsValid() {
		for bits := r.Prefix.Bits(); bits >= 0; bits-- {
			wider, _ := r.Prefix.Addr().Prefix(bits)
			all = append(all, c.ranges[wider]...)
		}
		return all
	}
	all = slices.Clone(c.names[r.Pattern])
	for name := r.Pattern.Name().String(); name != ""; {
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
		case place == at || c.out[i] || other == nil || !slices.Contains(other.Ports, port):
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
