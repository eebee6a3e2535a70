package policy

import (
	"errors"
	"hash/maphash"
	"math"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
)

// errTooMuchText is the error of a list that 32-bit offsets cannot address.
var errTooMuchText = errors.New("its patterns have more than 4 GiB of text")

// entry is what a pattern of a list stands for.
type entry struct {
	index      int32 // of the rule among its function's rules, or among the deny lines
	line       int32 // in the file
	conditions int32 // index into the function's conditions; deny lines have none
}

// list is a compiled set of patterns: one table of names and one of wildcards,
// and what tells without a look at them that they cannot have a text. A list
// takes 24 bytes a pattern beside its text. It is immutable.
type list struct {
	exact table
	wild  table
	shape shape
	count int
}

// table returns the table of wildcards, or that of names.
func (l *list) table(wild bool) *table {
	if wild {
		return &l.wild
	}
	return &l.exact
}

// shape says which lengths and label counts occur in the patterns of a list.
type shape struct {
	names  byteSet // lengths of names
	wilds  byteSet // lengths of wildcards, without the "*."
	labels byteSet // label counts of wildcards
	most   int     // the largest of labels, 0 of none
}

// add adds a pattern.
func (s *shape) add(p patternText) {
	if !p.wild {
		s.names.add(len(p.text))
		return
	}
	n := countLabels(p.text)
	s.wilds.add(len(p.text))
	s.labels.add(n)
	s.most = max(s.most, n)
}

// addAll adds what other has.
func (s *shape) addAll(other *shape) {
	for i := range s.names {
		s.names[i] |= other.names[i]
		s.wilds[i] |= other.wilds[i]
		s.labels[i] |= other.labels[i]
	}
	s.most = max(s.most, other.most)
}

// byteSet is a set of numbers from 0 to 255.
type byteSet [4]uint64

// add adds n to the set.
func (s *byteSet) add(n int) { s[n>>6&3] |= 1 << (n & 63) }

// has reports whether n is in the set.
func (s *byteSet) has(n int) bool { return s[n>>6&3]>>(n&63)&1 != 0 }

// countLabels returns the number of labels of a name.
func countLabels(name string) int { return strings.Count(name, ".") + 1 }

// listBuilder gathers patterns; build makes the list of them.
type listBuilder struct {
	seed     maphash.Seed
	firsts   bool // keep the first of equal patterns alone
	patterns []patternText
	entries  []entry            // one for each of patterns
	shared   []hostname.Pattern // instead of both: a set, whose entries are all zero
}

// patternText is a pattern as a table has it: the name without the "*.".
type patternText struct {
	text string
	wild bool
}

// textOf returns a pattern in that form.
func textOf(p hostname.Pattern) patternText { return patternText{p.Name().String(), p.Wildcard()} }

// add adds a pattern that stands for e. Of equal patterns the one added first
// is found first. One without a text covers nothing and is left out.
func (b *listBuilder) add(p patternText, e entry) {
	b.patterns = append(b.patterns, p)
	b.entries = append(b.entries, e)
}

// len returns how many patterns there are to build of.
func (b *listBuilder) len() int { return len(b.patterns) + len(b.shared) }

// at returns a pattern.
func (b *listBuilder) at(i int) patternText {
	if b.shared != nil {
		return textOf(b.shared[i])
	}
	return b.patterns[i]
}

// build compiles the list.
func (b *listBuilder) build() (*list, error) {
	var names, wilds, nameText, wildText int
	for i := range b.len() {
		if p := b.at(i); p.wild {
			wilds, wildText = wilds+1, wildText+len(p.text)
		} else {
			names, nameText = names+1, nameText+len(p.text)
		}
	}
	if max(names*headerSize+nameText, wilds*headerSize+wildText) > math.MaxUint32 {
		return nil, errTooMuchText
	}
	l := &list{exact: newTable(names, nameText), wild: newTable(wilds, wildText)}
	var c cursor
	for i := range b.len() {
		p := b.at(i)
		if p.text == "" {
			continue
		}
		t, h := l.table(p.wild), maphash.String(b.seed, p.text)
		if b.firsts {
			c.find(t, h, p.text)
			if _, dup := c.next(); dup {
				continue
			}
		}
		var e entry
		if b.shared == nil {
			e = b.entries[i]
		}
		t.insert(h, p.text, e)
		l.shape.add(p)
		l.count++
	}
	return l, nil
}
