package policy

import (
	"errors"
	"hash/maphash"
	"math"
	"runtime"
)

// yieldEvery is how many patterns are compiled before other goroutines get
// their turn: a reload of a million rules must not hold requests up for the ten
// milliseconds after which the scheduler would step in.
const yieldEvery = 128

// errTooMuchText is the error of a list that 32-bit offsets cannot address.
var errTooMuchText = errors.New("its patterns have more than 4 GiB of text")

// entry is what a pattern of a list stands for.
type entry struct {
	index int32 // of the rule among its function's rules, or among the deny lines
	line  int32 // in the file
	terms int32 // index into the function's terms; deny lines have none
}

// list is a compiled set of patterns: one table of names and one of wildcards.
// A lookup probes the first for the whole name, and the second for those
// suffixes alone whose number of labels some wildcard of the list has. A list
// takes 29 bytes a pattern beside its text. It is immutable.
type list struct {
	exact table
	wild  table
	depth depths
	count int
}

// table returns the table of wildcards, or that of names.
func (l *list) table(wild bool) *table {
	if wild {
		return &l.wild
	}
	return &l.exact
}

// depths is the set of the label counts of wildcards, 1 to 127.
type depths struct {
	bits [2]uint64
	most int // the largest of the set, 0 of the empty one
}

// add adds n to the set.
func (d *depths) add(n int) {
	d.bits[n>>6&1] |= 1 << (n & 63)
	d.most = max(d.most, n)
}

// addAll adds the counts of other.
func (d *depths) addAll(other depths) {
	d.bits[0] |= other.bits[0]
	d.bits[1] |= other.bits[1]
	d.most = max(d.most, other.most)
}

// has tells whether n is in the set.
func (d *depths) has(n int) bool { return d.bits[n>>6&1]&(1<<(n&63)) != 0 }

// listBuilder gathers patterns; build makes the list of them.
type listBuilder struct {
	seed     maphash.Seed
	firsts   bool // keep the first of equal patterns alone
	patterns []Pattern
	entries  []entry
}

// add adds a pattern that stands for e. Of equal patterns the one added first
// is found first. The zero Pattern covers nothing and is left out.
func (b *listBuilder) add(p Pattern, e entry) {
	if p.IsZero() {
		return
	}
	b.patterns = append(b.patterns, p)
	b.entries = append(b.entries, e)
}

// build compiles the list.
func (b *listBuilder) build() (*list, error) {
	var names, wilds, nameText, wildText int
	for _, p := range b.patterns {
		if p.wildcard {
			wilds, wildText = wilds+1, wildText+len(p.name.s)
		} else {
			names, nameText = names+1, nameText+len(p.name.s)
		}
	}
	if max(names*headerSize+nameText, wilds*headerSize+wildText) > math.MaxUint32 {
		return nil, errTooMuchText
	}
	l := &list{exact: newTable(names, nameText), wild: newTable(wilds, wildText)}
	for i, p := range b.patterns {
		if i%yieldEvery == 0 {
			runtime.Gosched()
		}
		t := &l.exact
		if p.wildcard {
			t = &l.wild
			l.depth.add(countLabels(p.name.s))
		}
		h := maphash.String(b.seed, p.name.s)
		if b.firsts {
			c := t.find(h, p.name.s)
			if _, dup := c.next(); dup {
				continue
			}
		}
		t.insert(h, p.name.s, b.entries[i])
		l.count++
	}
	return l, nil
}

// first returns the entry of the pattern that covers name: the exact one, else
// the longest wildcard.
func (l *list) first(seed maphash.Seed, name string) (entry, bool) {
	if !l.exact.empty() {
		c := l.exact.find(maphash.String(seed, name), name)
		if e, ok := c.next(); ok {
			return e, true
		}
	}
	walk := newSuffixes(name, l.depth.most)
	for suffix, labels, more := walk.next(); more; suffix, labels, more = walk.next() {
		if !l.depth.has(labels) {
			continue
		}
		c := l.wild.find(maphash.String(seed, suffix), suffix)
		if e, ok := c.next(); ok {
			return e, true
		}
	}
	return entry{}, false
}
