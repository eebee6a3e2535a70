// Package matcher finds the patterns that cover a name, in lists of up to
// millions of them.
//
// What it does: a Builder compiles patterns, each with an Entry of a few numbers,
// to an immutable List; a Group is several lists that are asked together; and
// Candidates walks the texts that a pattern for a name can have, the name itself
// first and then its wildcards, the longest first. A lookup allocates nothing,
// scans nothing, and waits for memory as seldom as it can.
//
// What it does not do: it decides nothing, and does not know what an Entry
// stands for. Package policy does.
//
//	var c matcher.Candidates
//	var at matcher.Cursor
//	for c.Begin(&group, name); c.Next(); {
//		c.In(list, &at)
//		for e, ok := at.Next(); ok; e, ok = at.Next() { … }
//	}
package matcher

import "hash/maphash"

// Group is lists that are asked together, in their order. The zero Group has
// none.
type Group struct {
	seed  maphash.Seed
	lists []*List
	shape shape // what the lists have between them
}

// NewGroup returns the group of those lists, built with that seed, that have
// a pattern.
func NewGroup(seed maphash.Seed, lists ...*List) Group {
	g := Group{seed: seed}
	for _, l := range lists {
		if l.count > 0 {
			g.lists = append(g.lists, l)
			g.shape.addAll(&l.shape)
		}
	}
	return g
}

// Lists returns the lists, in their order. The caller must not change it.
func (g *Group) Lists() []*List { return g.lists }

// First returns the entry of the pattern that covers name: the exact one, else
// the longest wildcard.
func (g *Group) First(name string) (Entry, bool) {
	if len(g.lists) == 0 {
		return Entry{}, false
	}
	var c Candidates
	var at Cursor
	for c.Begin(g, name); c.Next(); {
		for _, l := range g.lists {
			c.In(l, &at)
			if e, ok := at.Next(); ok {
				return e, true
			}
		}
	}
	return Entry{}, false
}
