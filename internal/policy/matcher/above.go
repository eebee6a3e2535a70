package matcher

import (
	"hash/maphash"
	"slices"
	"strings"
	"sync"
)

// parents are the names above those that a list has patterns for, as hashes: eight bytes
// for each of them, made when they are first asked for. Two names of one hash say that a
// name is there which is not.
type parents struct {
	once   sync.Once
	hashes []uint64 // sorted
}

// compactAt is how many hashes are gathered before equal ones are taken out.
const compactAt = 1 << 16

// Above reports whether a list of the group has a pattern for a name below this one, the
// root, "", included: a wildcard is one for names below what stands behind its "*.", and
// below each name that it covers.
func (g *Group) Above(name string) bool {
	h := maphash.String(g.seed, name)
	for _, l := range g.lists {
		if l.isAbove(g.seed, h) {
			return true
		}
	}
	return false
}

// CoversBelow reports whether a wildcard of the group covers the name, and with it all
// names below.
func (g *Group) CoversBelow(name string) bool {
	if len(g.lists) == 0 {
		return false
	}
	var c Candidates
	var at Cursor
	for c.Begin(g, name); c.Next(); {
		for _, l := range g.lists {
			if c.In(l, &at); !c.wild {
				continue
			}
			if _, ok := at.Next(); ok {
				return true
			}
		}
	}
	return false
}

// PrepareAbove makes what Above needs, which it else does by itself.
func (g *Group) PrepareAbove() {
	for _, l := range g.lists {
		l.isAbove(g.seed, 0)
	}
}

// isAbove reports whether the list has a pattern for a name below the one of that hash.
func (l *List) isAbove(seed maphash.Seed, h uint64) bool {
	l.parents.once.Do(func() { l.parents.hashes = l.hashParents(seed) })
	_, found := slices.BinarySearch(l.parents.hashes, h)
	return found
}

// hashParents returns the hashes of all names above those that the list has patterns for.
func (l *List) hashParents(seed maphash.Seed) (hashes []uint64) {
	limit := compactAt
	l.Each(func(text string, wild bool, _ Entry) {
		if !wild {
			_, text, _ = strings.Cut(text, ".")
		}
		for ; text != ""; _, text, _ = strings.Cut(text, ".") {
			hashes = append(hashes, maphash.String(seed, text))
		}
		if len(hashes) >= limit {
			slices.Sort(hashes)
			hashes = slices.Compact(hashes)
			limit = 2*len(hashes) + compactAt
		}
	})
	if l.count > 0 {
		hashes = append(hashes, maphash.String(seed, ""))
	}
	slices.Sort(hashes)
	return slices.Clip(slices.Compact(hashes))
}
