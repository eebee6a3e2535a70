package convert

import (
	"slices"
	"strconv"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
)

// Covers reports whether the pattern a has every name that b has.
func Covers(a, b hostname.Pattern) bool {
	switch {
	case a.IsZero() || b.IsZero():
		return false
	case isBelow(b.Name(), a.Name()):
		return a.Wildcard() // all that b has lies below a's name
	case a.Name() != b.Name():
		return false
	default:
		return (!b.Exact() || a.Exact()) && (!b.Wildcard() || a.Wildcard())
	}
}

// Overlap reports whether some name is one of both patterns.
func Overlap(a, b hostname.Pattern) bool {
	switch {
	case a.IsZero() || b.IsZero():
		return false
	case isBelow(b.Name(), a.Name()):
		return a.Wildcard()
	case isBelow(a.Name(), b.Name()):
		return b.Wildcard()
	case a.Name() != b.Name():
		return false
	default:
		return a.Exact() && b.Exact() || a.Wildcard() && b.Wildcard()
	}
}

// Shortened returns rules that mean the same, with a rule for a name and one for all below it
// as one, and without those of which another one has the whole.
func Shortened(rules []Rule) (short []Rule) {
	byName := map[hostname.Name][]int{}
	for i, r := range rules {
		byName[r.Pattern.Name()] = append(byName[r.Pattern.Name()], i)
	}
	all := slices.Clone(rules)
	for i := range all {
		for _, j := range byName[all[i].Pattern.Name()] {
			all[i].widen(rules[j])
		}
	}
	for i, r := range all {
		redundant := false
		for above := r.Pattern.Name().String(); above != ""; _, above, _ = strings.Cut(above, ".") {
			name, _ := hostname.ParseName(above)
			redundant = redundant || slices.ContainsFunc(byName[name], func(j int) bool {
				return j != i && all[j].has(r) && (j < i || !r.has(all[j])) // of two that mean the same the first stays
			})
		}
		if !redundant {
			short = append(short, r)
		}
	}
	return short
}

// widen makes the rule that of the name and of all below it, where it is one of the two and the
// other rule is the other.
func (r *Rule) widen(o Rule) {
	both, err := hostname.ParsePattern("." + r.Pattern.Name().String())
	if err == nil && o.Pattern != r.Pattern && o.TLSAny == r.TLSAny && slices.Equal(o.Ports, r.Ports) {
		r.Pattern, r.Shared = both, r.Shared || o.Shared
	}
}

// has reports whether a rule allows all that another one does, and on the same conditions.
func (r Rule) has(o Rule) bool {
	return Covers(r.Pattern, o.Pattern) && r.TLSAny == o.TLSAny && (r.Ports == nil) == (o.Ports == nil) && HasPorts(r.Ports, o.Ports)
}

// HasPorts reports whether each port of some is one of all, which are merged.
func HasPorts(all, some []hostname.PortRange) bool {
	return !slices.ContainsFunc(some, func(s hostname.PortRange) bool {
		return !slices.ContainsFunc(all, func(a hostname.PortRange) bool { return a.Contains(s.First) && a.Contains(s.Last) })
	})
}

// FreeLabel returns a label that is in none of the names, so that what lies below one of them
// by it is a member of what no list tells apart.
func FreeLabel(names []hostname.Name) string {
	label := "x0"
	for i := 1; slices.ContainsFunc(names, func(n hostname.Name) bool { return strings.Contains(n.String(), label) }); i++ {
		label = "x" + strconv.Itoa(i)
	}
	return label
}

// isBelow reports whether a name has the other one behind one of its dots.
func isBelow(name, above hostname.Name) bool {
	return strings.HasSuffix(name.String(), "."+above.String())
}
