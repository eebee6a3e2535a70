package matcher

import (
	"hash/maphash"
	"math/bits"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
)

// batch is how many texts are looked for at once.
const batch = 8

// Candidates walks the texts that patterns for a name can have, the name itself
// and then its suffixes, longest first, and leaves out those that no list of a
// group has. What it leaves in must be looked up: it may be there or not.
//
//	var c Candidates
//	for c.Begin(g, name); c.Next(); { … c.In(g.lists[i], &at) … }
//
// A list of a million patterns is in memory, not in a cache, and each text has
// another place in it. So a batch of texts is hashed before any of them is looked
// for, and all are looked for before anything depends on what was found: then
// the processor waits for all these places at once, not for one after the other.
type Candidates struct {
	text string // the candidate: the name, or what stands behind "*." in a wildcard
	hash uint64
	wild bool

	g      *Group
	name   string
	starts [hostname.MaxName/2 + 1]uint8 // where the texts begin that are still to be looked for, the longest last
	left   int                           // of starts
	last   int                           // of the starts of this batch, the one of the longest text
	hashes [batch]uint64
	maybe  uint8 // the texts of this batch that may be there
}

// Begin prepares the walk. Texts of a length, or wildcards of a number of
// labels, that no pattern has are left out here. It counts labels from the right
// and only as far as the deepest wildcard has them, so that a name of 127 labels
// costs no more than another.
func (c *Candidates) Begin(g *Group, name string) {
	c.g, c.name = g, name
	labels := 0
	for i := len(name) - 1; i >= 0 && labels < g.shape.most; i-- {
		if name[i] != '.' {
			continue
		}
		labels++
		if g.shape.labels.has(labels) && g.shape.wilds.has(len(name)-i-1) {
			c.starts[c.left] = uint8(i + 1)
			c.left++
		}
	}
	if g.shape.names.has(len(name)) {
		c.starts[c.left] = 0
		c.left++
	}
}

// Next goes to the next candidate, and returns false behind the last one.
func (c *Candidates) Next() bool {
	for c.maybe == 0 {
		if c.left == 0 {
			return false
		}
		c.look()
	}
	i := bits.TrailingZeros8(c.maybe)
	c.maybe &= c.maybe - 1
	start := c.starts[c.last-i]
	c.text, c.hash, c.wild = c.name[start:], c.hashes[i], start > 0
	return true
}

// In points a Cursor at the entries that a list has for the candidate.
func (c *Candidates) In(l *List, at *Cursor) { at.find(l.table(c.wild), c.hash, c.text) }

// Suffix returns what stands behind the "*." where the candidate is a wildcard,
// otherwise "".
func (c *Candidates) Suffix() string {
	if c.wild {
		return c.text
	}
	return ""
}

// look looks for the next batch of texts.
func (c *Candidates) look() {
	n := min(c.left, batch)
	c.last = c.left - 1
	c.left -= n
	for i := range n {
		c.hashes[i&(batch-1)] = maphash.String(c.g.seed, c.name[c.starts[c.last-i]:])
	}
	for _, l := range c.g.lists {
		for i := range n {
			if l.table(c.starts[c.last-i] > 0).mayHave(c.hashes[i&(batch-1)]) {
				c.maybe |= 1 << i
			}
		}
	}
}
