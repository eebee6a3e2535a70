package matcher

import (
	"errors"
	"hash/maphash"
	"math"
	"slices"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
)

// errTooMuchText is the error of a list that 32-bit offsets cannot address.
var errTooMuchText = errors.New("its patterns have more than 4 GiB of text")

// Entry is what a pattern of a list stands for: three numbers that this package
// only keeps.
type Entry struct {
	Index      int32 // of the rule among its function's rules, or among the deny lines
	Line       int32 // in the file
	Conditions int32 // index into the function's conditions; deny lines have none
}

// List is a compiled set of patterns: one table of names and one of wildcards,
// and what says without a look at them that they cannot have a text. A list
// takes 24 bytes a pattern beside its text, and eight for each name above one where
// Group.Above is asked. It is immutable.
type List struct {
	seed    maphash.Seed // of the hashes by which a text is found
	exact   table
	wild    table
	shape   shape
	count   int
	parents parents
}

// Len returns how many patterns the list has. One that covers a name and those below it
// counts as two.
func (l *List) Len() int { return l.count }

// Each calls yield for every pattern: the names and then the wildcards, without
// their "*.", each in the order in which they were added. One that covers a name and those
// below it comes as both.
func (l *List) Each(yield func(text string, wild bool, e Entry)) {
	l.exact.each(func(text string, e Entry) { yield(text, false, e) })
	l.wild.each(func(text string, e Entry) { yield(text, true, e) })
}

// table returns the table of wildcards, or that of names.
func (l *List) table(wild bool) *table {
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

// add adds the text of a name or of a wildcard.
func (s *shape) add(text string, wild bool) {
	if !wild {
		s.names.add(len(text))
		return
	}
	n := countLabels(text)
	s.wilds.add(len(text))
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

// Builder gathers patterns; Build makes the List of them.
type Builder struct {
	Seed      maphash.Seed // of the lists that are asked together
	FirstOnly bool         // keep the first of equal patterns alone

	patterns []patternText
	entries  []Entry            // one for each of patterns
	shared   []hostname.Pattern // instead of both: a set, whose entries are all zero
}

// patternText is a pattern as the tables have it: the name without the "*.", in one of
// them or in both.
type patternText struct {
	text        string
	exact, wild bool
}

// textOf returns a pattern in that form.
func textOf(p hostname.Pattern) patternText {
	return patternText{p.Name().String(), p.Exact(), p.Wildcard()}
}

// NewSet compiles a list whose entries are all zero, of the first of equal
// patterns each. It keeps none of the patterns.
func NewSet(seed maphash.Seed, patterns []hostname.Pattern) (*List, error) {
	b := Builder{Seed: seed, FirstOnly: true, shared: patterns}
	return b.Build()
}

// Grow makes room for n more patterns.
func (b *Builder) Grow(n int) {
	b.patterns, b.entries = slices.Grow(b.patterns, n), slices.Grow(b.entries, n)
}

// Add adds a pattern that stands for e. Of equal patterns the one added first
// is found first. The zero pattern covers nothing and is left out.
func (b *Builder) Add(p hostname.Pattern, e Entry) { b.add(textOf(p), e) }

// AddText is Add for the text of a name, or, where it is a wildcard, for what
// stands behind the "*." of one, as List.Each gives them.
func (b *Builder) AddText(text string, wild bool, e Entry) {
	b.add(patternText{text, !wild, wild}, e)
}

// add adds a pattern that stands for e.
func (b *Builder) add(p patternText, e Entry) {
	b.patterns = append(b.patterns, p)
	b.entries = append(b.entries, e)
}

// Len returns how many patterns were added.
func (b *Builder) Len() int { return len(b.patterns) }

// Entry returns what the pattern that was added as the ith stands for. It may be
// changed until Build.
func (b *Builder) Entry(i int) *Entry { return &b.entries[i] }

// len returns how many patterns there are to build of.
func (b *Builder) len() int { return len(b.patterns) + len(b.shared) }

// at returns a pattern.
func (b *Builder) at(i int) patternText {
	if b.shared != nil {
		return textOf(b.shared[i])
	}
	return b.patterns[i]
}

// Build compiles the list.
func (b *Builder) Build() (*List, error) {
	var names, wilds, nameText, wildText int
	for i := range b.len() {
		p := b.at(i)
		if p.wild {
			wilds, wildText = wilds+1, wildText+len(p.text)
		}
		if p.exact {
			names, nameText = names+1, nameText+len(p.text)
		}
	}
	if max(names*headerSize+nameText, wilds*headerSize+wildText) > math.MaxUint32 {
		return nil, errTooMuchText
	}
	l := &List{seed: b.Seed, exact: newTable(names, nameText), wild: newTable(wilds, wildText)}
	for i := range b.len() {
		p := b.at(i)
		if p.text == "" {
			continue
		}
		var e Entry
		if b.shared == nil {
			e = b.entries[i]
		}
		h := maphash.String(b.Seed, p.text)
		if p.exact {
			b.insert(l, h, p.text, false, e)
		}
		if p.wild {
			b.insert(l, h, p.text, true, e)
		}
	}
	return l, nil
}

// insert puts the text of a name or of a wildcard, with its hash, into the table of l.
func (b *Builder) insert(l *List, h uint64, text string, wild bool, e Entry) {
	t := l.table(wild)
	if b.FirstOnly {
		var c Cursor
		c.find(t, h, text)
		if _, dup := c.Next(); dup {
			return
		}
	}
	t.insert(h, text, e)
	l.shape.add(text, wild)
	l.count++
}
