package policy

import "github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy/matcher"

// EachRule calls yield for each rule that names no set, with the name, the prefix, or what a
// wildcard stands below. A nil function has none.
func (f *Function) EachRule(yield func(text string, wild bool, c *Conditions)) {
	if f == nil {
		return
	}
	f.own.Each(func(text string, wild bool, e matcher.Entry) { yield(text, wild, f.conditions[e.Conditions]) })
	if f.cidrs.ranges == nil {
		return
	}
	for prefix, c := range f.cidrs.ranges.All() {
		for _, r := range c.rules {
			yield(prefix.String(), false, r.conditions)
		}
	}
}

// EachSet calls yield for each rule that names a set. Sets are shared by the functions of a
// policy. A nil function has none.
func (f *Function) EachSet(yield func(set *matcher.List, c *Conditions)) {
	if f == nil {
		return
	}
	for _, ref := range f.sets {
		yield(ref.list, ref.rule.conditions)
	}
}

// DenyList returns the deny list, nil where nothing is on it.
func (p *Policy) DenyList() *matcher.List {
	if all := p.deny.Lists(); len(all) > 0 {
		return all[0]
	}
	return nil
}
