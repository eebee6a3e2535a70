// Package policydiff says what a load has changed, for the record of it.
//
// What it does: [Of] compares two compiled policies and counts by function what one has and
// the other has not.
//
// What it does not do: it decides nothing, and does not say which rules they are: the file is
// under version control, and a record has a bound.
//
//	deny, functions := policydiff.Of(before, now)
package policydiff

import (
	"fmt"
	"hash/maphash"
	"maps"
	"slices"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy/matcher"
)

// Change is how many rules a function has that it had not before, and the other way round.
// A pattern of a set is a rule, one for a name and those below it two; one whose conditions differ is gained and lost; where it
// stands in the file, and its ticket, do not count.
type Change struct {
	Function     string
	Gained, Lost int
}

// Of returns what a policy has gained and lost against the one before it: of the deny list,
// whose Function is "", and by function, sorted, those that differ. It walks both.
func Of(old, now *policy.Policy) (deny Change, functions []Change) {
	d := diff{seed: maphash.MakeSeed(), conditions: map[*policy.Conditions]uint64{}, compared: map[[2]*matcher.List]Change{}}
	deny.Gained, deny.Lost = d.lists(old.DenyList(), now.DenyList())
	names := slices.Concat(old.Functions(), now.Functions())
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		c, before, after := Change{Function: name}, old.Function(name), now.Function(name)
		c.Gained, c.Lost = d.functions(before, after)
		if c.Gained+c.Lost > 0 || (before == nil) != (after == nil) {
			functions = append(functions, c)
		}
	}
	return deny, functions
}

// diff compares rules by hashes. What many functions have is hashed and compared once.
type diff struct {
	seed       maphash.Seed
	conditions map[*policy.Conditions]uint64
	compared   map[[2]*matcher.List]Change // an old list and a new one
}

// functions counts what one function has and another has not; nil has nothing.
func (d *diff) functions(old, now *policy.Function) (gained, lost int) {
	gained, lost = compare(d.own(old), d.own(now))
	before, after := d.setsOf(old), d.setsOf(now)
	under := maps.Clone(before)
	maps.Copy(under, after)
	for c := range under {
		was, is := d.unlike(before[c], after[c])
		for i := range max(len(was), len(is)) {
			g, l := d.lists(at(was, i), at(is, i))
			gained, lost = gained+g, lost+l
		}
	}
	return gained, lost
}

// unlike leaves out the sets that stand in both: what is taken from between others changes
// nothing of them.
func (d *diff) unlike(old, now []*matcher.List) (was, is []*matcher.List) {
	was = slices.Clone(old)
	for _, set := range now {
		i := slices.IndexFunc(was, func(other *matcher.List) bool {
			gained, lost := 1, 0
			if set.Len() == other.Len() {
				gained, lost = d.lists(other, set)
			}
			return gained+lost == 0
		})
		if i < 0 {
			is = append(is, set)
		} else {
			was = slices.Delete(was, i, i+1)
		}
	}
	return was, is
}

// at returns an element, or zero behind the last.
func at[T any](all []T, i int) (one T) {
	if i < len(all) {
		one = all[i]
	}
	return one
}

// own returns the hashes of the rules of a function that name no set, sorted.
func (d *diff) own(f *policy.Function) (all []uint64) {
	f.EachRule(func(text string, wild bool, c *policy.Conditions) { all = append(all, d.pattern(text, wild, c)) })
	slices.Sort(all)
	return all
}

// setsOf returns the sets of a function by the conditions that it has them under.
func (d *diff) setsOf(f *policy.Function) map[uint64][]*matcher.List {
	all := map[uint64][]*matcher.List{}
	f.EachSet(func(set *matcher.List, c *policy.Conditions) { all[d.of(c)] = append(all[d.of(c)], set) })
	return all
}

// pattern returns the hash of a pattern under conditions; nil: under none.
func (d *diff) pattern(text string, wild bool, c *policy.Conditions) uint64 {
	h := maphash.String(d.seed, text)
	if wild {
		h = h<<1 | 1
	}
	if c != nil {
		h ^= d.of(c)
	}
	return h
}

// of returns the hash of conditions, but for the ticket.
func (d *diff) of(c *policy.Conditions) uint64 {
	h, known := d.conditions[c]
	if !known {
		ports := hostname.MergePorts(c.Ports)
		h = maphash.String(d.seed, fmt.Sprint(ports, c.TLS, c.Expires.Unix(), c.Addresses))
		d.conditions[c] = h
	}
	return h
}

// lists counts the patterns that one list has and another has not; nil has none.
func (d *diff) lists(old, now *matcher.List) (gained, lost int) {
	switch {
	case old == nil && now == nil:
		return 0, 0
	case old == nil:
		return now.Len(), 0
	case now == nil:
		return 0, old.Len()
	}
	pair := [2]*matcher.List{old, now}
	c, known := d.compared[pair]
	if !known {
		common := now.Common(old)
		c = Change{Gained: now.Len() - common, Lost: old.Len() - common}
		d.compared[pair] = c
	}
	return c.Gained, c.Lost
}

// compare counts what is in one of two sorted lists alone.
func compare(old, now []uint64) (gained, lost int) {
	for len(old) > 0 && len(now) > 0 {
		switch {
		case old[0] == now[0]:
			old, now = old[1:], now[1:]
		case old[0] < now[0]:
			lost, old = lost+1, old[1:]
		default:
			gained, now = gained+1, now[1:]
		}
	}
	return gained + len(now), lost + len(old)
}
