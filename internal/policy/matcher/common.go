package matcher

import (
	"bytes"
	"hash/maphash"
	"math/bits"
)

// Common returns how many patterns of the list the other one has too, whatever their
// entries. Both keep the first of equal patterns alone, and may have other seeds. Patterns
// that stand in the same order, as in a list and the one that was made of it by an edit,
// cost a compare; others a look at the table.
func (l *List) Common(other *List) int {
	return l.exact.common(&other.exact, other.seed) + l.wild.common(&other.wild, other.seed)
}

// common counts the texts that another table, of that seed, has too.
func (t *table) common(other *table, seed maphash.Seed) (n int) {
	if t.empty() || other.empty() {
		return 0
	}
	at := 0 // in the other arena, behind the text that was found last
	for rest := t.arena; len(rest) > 0; {
		text := textAt(rest)
		rest = rest[headerSize+len(text):]
		if at == len(other.arena) || !bytes.Equal(text, textAt(other.arena[at:])) {
			found, ok := other.search(maphash.Bytes(seed, text), text)
			if !ok {
				continue
			}
			at = found
		}
		at += headerSize + len(text)
		n++
	}
	return n
}

// textAt returns the text of the entry that an arena begins with.
func textAt(arena []byte) []byte { return arena[headerSize:][:arena[headerSize-1]] }

// search returns where the first entry for a text with that hash begins in the arena.
func (t *table) search(h uint64, text []byte) (at int, ok bool) {
	tag := tagOf(h)
	for i := t.home(h); ; i = t.after(i) {
		b := &t.buckets[i]
		for slots := b.match(tag); slots != 0; slots &= slots - 1 {
			at := int(b.at[bits.TrailingZeros16(slots)])
			if bytes.Equal(text, textAt(t.arena[at:])) {
				return at, true
			}
		}
		if !b.full() {
			return 0, false
		}
	}
}
