package policy

import (
	"encoding/binary"
	"strings"
)

// headerSize is the length of what stands before each text of an arena: the
// three numbers of its entry and one byte for the length of the text.
const headerSize = 13

// table is an open-addressing hash table from text to entries. A probe reads
// one line of slots; text and entry lie side by side in the arena, so that a
// hit reads one place more. A 32-bit tag spares reading the arena in vain, and
// the text is always compared: equal hashes are not equal names.
type table struct {
	slots []slot // twice as many as entries, so that a probe ends soon
	arena []byte
}

// slot is one entry; the zero slot is empty.
type slot struct {
	tag uint32 // high half of the hash
	at  uint32 // 1 + where the entry begins in the arena
}

// newTable returns a table with room for n entries of that much text in all.
func newTable(n, text int) table {
	if n == 0 {
		return table{}
	}
	return table{slots: make([]slot, 2*n), arena: make([]byte, 0, n*headerSize+text)}
}

// empty tells whether there is nothing to be found.
func (t *table) empty() bool { return len(t.slots) == 0 }

// insert adds an entry behind those of equal text. The table must have been
// made with room for it.
func (t *table) insert(h uint64, text string, e entry) {
	s := slot{tag: uint32(h >> 32), at: uint32(len(t.arena)) + 1}
	t.arena = binary.LittleEndian.AppendUint32(t.arena, uint32(e.index))
	t.arena = binary.LittleEndian.AppendUint32(t.arena, uint32(e.line))
	t.arena = binary.LittleEndian.AppendUint32(t.arena, uint32(e.terms))
	t.arena = append(t.arena, byte(len(text)))
	t.arena = append(t.arena, text...)
	i := t.home(h)
	for t.slots[i].at != 0 {
		i = t.after(i)
	}
	t.slots[i] = s
}

// home maps a hash to its first slot without a division (Lemire, "A fast
// alternative to the modulo reduction").
func (t *table) home(h uint64) int {
	return int(uint64(uint32(h)) * uint64(len(t.slots)) >> 32)
}

// after returns the slot behind i; the first follows the last.
func (t *table) after(i int) int {
	if i++; i < len(t.slots) {
		return i
	}
	return 0
}

// cursor walks the entries of one table for one text.
type cursor struct {
	t    *table
	text string
	tag  uint32
	slot int
}

// find returns a cursor over the entries for text, whose hash is h.
func (t *table) find(h uint64, text string) cursor {
	return cursor{t: t, text: text, tag: uint32(h >> 32), slot: t.home(h)}
}

// next returns the next entry, or false behind the last one. Half of the slots
// are empty, so the walk ends.
func (c *cursor) next() (entry, bool) {
	if c.t.empty() {
		return entry{}, false
	}
	for {
		s := c.t.slots[c.slot]
		if s.at == 0 {
			return entry{}, false
		}
		c.slot = c.t.after(c.slot)
		if s.tag != c.tag {
			continue
		}
		if e, ok := c.t.read(s.at, c.text); ok {
			return e, true
		}
	}
}

// read returns the entry that a slot points at if it is one for text.
func (t *table) read(at uint32, text string) (entry, bool) {
	record := t.arena[at-1:]
	size := int(record[headerSize-1])
	if string(record[headerSize:headerSize+size]) != text {
		return entry{}, false
	}
	return entry{
		index: int32(binary.LittleEndian.Uint32(record)),
		line:  int32(binary.LittleEndian.Uint32(record[4:])),
		terms: int32(binary.LittleEndian.Uint32(record[8:])),
	}, true
}

// suffixes walks the proper suffixes of a name at its label boundaries,
// longest first.
type suffixes struct {
	rest   string
	labels int // of rest; 0: the walk is over
}

// newSuffixes begins a walk over the proper suffixes of name that have at most
// that many labels. It counts from the right, so that a name of 127 labels
// costs no more than the deepest wildcard does.
func newSuffixes(name string, most int) suffixes {
	var s suffixes
	for i := len(name) - 1; i >= 0 && s.labels < most; i-- {
		if name[i] == '.' {
			s.rest = name[i+1:]
			s.labels++
		}
	}
	return s
}

// next returns the next shorter suffix and how many labels it has.
func (s *suffixes) next() (suffix string, labels int, ok bool) {
	if s.labels == 0 {
		return "", 0, false
	}
	suffix, labels = s.rest, s.labels
	s.labels--
	s.rest = s.rest[strings.IndexByte(s.rest, '.')+1:]
	return suffix, labels, true
}

// countLabels returns the number of labels of a name.
func countLabels(name string) int { return strings.Count(name, ".") + 1 }
