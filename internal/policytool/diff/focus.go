package diff

import (
	"slices"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
)

// focus leaves out of the rules that are compared the patterns about which both versions
// decide the same. A set of a million patterns that many functions share is in both of them,
// but for a few: what nothing covers that differs is decided by the same rules in the same
// order, and need not be asked about.
type focus struct {
	from, to *policy.Spec
	same     map[[2]int]bool               // whether two sets have the same patterns in the same order
	differ   map[[2]int][]hostname.Pattern // the patterns that one of two sets has alone
}

// newFocus returns one for two versions that have the same deny list.
func newFocus(from, to *policy.Spec) *focus {
	return &focus{from: from, to: to, same: map[[2]int]bool{}, differ: map[[2]int][]hostname.Pattern{}}
}

// on returns the rules of a function in both versions without the patterns that can be left
// out. What the rules ask stays, for it cuts ports, times and addresses.
func (x *focus) on(a, b *policy.FunctionSpec) (from, to *policy.FunctionSpec) {
	begin, endA, endB := x.middle(a.Rules, b.Rules)
	changed := x.changed(a.Rules[begin:endA], b.Rules[begin:endB])
	names, wide := map[string]bool{}, false
	for _, p := range changed {
		names[p.Name().String()] = true
		wide = wide || p.String() != p.Name().String()
	}
	matters := func(p hostname.Pattern) bool {
		name := p.Name().String()
		if names[name] || !wide {
			return names[name]
		}
		for above := range parents(name) {
			if names[above] {
				return true
			}
		}
		return false
	}
	return x.reduce(x.from, a, changed, wide, matters), x.reduce(x.to, b, changed, wide, matters)
}

// sameRules reports whether a function is written the same in both versions, which most
// are: then nothing needs to be asked.
func (x *focus) sameRules(a, b *policy.FunctionSpec) bool {
	return a != nil && b != nil && a.ReportUntil.Equal(b.ReportUntil) && slices.EqualFunc(a.Rules, b.Rules, x.sameRule)
}

// middle returns which rules lie between those that are the same at the begin of two lists
// and those that are the same at their end.
func (x *focus) middle(a, b []policy.RuleSpec) (begin, endA, endB int) {
	endA, endB = len(a), len(b)
	for begin < endA && begin < endB && x.sameRule(a[begin], b[begin]) {
		begin++
	}
	for endA > begin && endB > begin && x.sameRule(a[endA-1], b[endB-1]) {
		endA, endB = endA-1, endB-1
	}
	return begin, endA, endB
}

// changed returns the patterns of rules that differ. Of two sets in the same place with the
// same conditions it is what one of them has alone.
func (x *focus) changed(a, b []policy.RuleSpec) (all []hostname.Pattern) {
	paired := len(a) == len(b)
	for i := range a {
		paired = paired && (a[i].Set > 0) == (b[i].Set > 0)
	}
	for i := range a {
		if paired && a[i].Set > 0 && sameConditions(a[i].Conditions, b[i].Conditions) {
			all = append(all, x.notInBoth(a[i].Set, b[i].Set)...)
			continue
		}
		all = append(append(all, setOf(x.from, a[i])...), a[i].Pattern)
		if paired {
			all = append(append(all, setOf(x.to, b[i])...), b[i].Pattern)
		}
	}
	if !paired {
		for i := range b {
			all = append(append(all, setOf(x.to, b[i])...), b[i].Pattern)
		}
	}
	return slices.DeleteFunc(all, hostname.Pattern.IsZero)
}

// sameRule reports whether two rules mean the same.
func (x *focus) sameRule(a, b policy.RuleSpec) bool {
	return a.Pattern == b.Pattern && a.Prefix == b.Prefix && (a.Set > 0) == (b.Set > 0) && sameConditions(a.Conditions, b.Conditions) && x.sameSet(a.Set, b.Set)
}

// sameSet compares two sets by the numbers that rules have of them, each pair once.
func (x *focus) sameSet(a, b int) bool {
	pair := [2]int{a, b}
	same, known := x.same[pair]
	if !known {
		same = slices.Equal(setOf(x.from, policy.RuleSpec{Set: a}), setOf(x.to, policy.RuleSpec{Set: b}))
		x.same[pair] = same
	}
	return same
}

// notInBoth returns the patterns that one of two sets has and the other has not.
func (x *focus) notInBoth(a, b int) []hostname.Pattern {
	pair := [2]int{a, b}
	all, known := x.differ[pair]
	if known {
		return all
	}
	in := map[hostname.Pattern]bool{}
	for _, p := range setOf(x.from, policy.RuleSpec{Set: a}) {
		in[p] = false
	}
	for _, p := range setOf(x.to, policy.RuleSpec{Set: b}) {
		if _, both := in[p]; !both {
			all = append(all, p)
		}
		in[p] = true
	}
	for p, both := range in {
		if !both {
			all = append(all, p)
		}
	}
	x.differ[pair] = all
	return all
}

// reduce returns a function with the patterns that are to be kept. A pattern of a set is a
// rule of its own there: only package policy decides, and it has the whole function.
func (x *focus) reduce(of *policy.Spec, f *policy.FunctionSpec, changed []hostname.Pattern, wide bool, matters func(hostname.Pattern) bool) *policy.FunctionSpec {
	less := *f
	less.Rules = nil
	for _, r := range f.Rules {
		rest := policy.RuleSpec{Prefix: r.Prefix, Conditions: r.Conditions}
		if matters(r.Pattern) {
			rest.Pattern = r.Pattern
		}
		less.Rules = append(less.Rules, rest)
		if !wide {
			continue // nothing but what has changed is to be asked about
		}
		for _, p := range setOf(of, r) {
			if matters(p) {
				less.Rules = append(less.Rules, policy.RuleSpec{Pattern: p})
			}
		}
	}
	for _, p := range changed {
		less.Rules = append(less.Rules, policy.RuleSpec{Pattern: p})
	}
	return &less
}
