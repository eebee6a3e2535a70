package matcher

import (
	"encoding/binary"
	"math/bits"
)

// headerSize is the length of what stands before each text of an arena: the
// three numbers of its entry and one byte for the length of the text.
const headerSize = 13

// slots is how many entries a bucket has room for, and filled how many it has
// on average: one bucket in fifty is full, and only those send a lookup on to
// the next one.
const (
	slots  = 12
	filled = 6
)

// table is a hash table from text to entries. Every text has one home bucket,
// which is one cache line, so that a text that is not there costs one access to
// memory and one that is there one more, for the arena, where text and entry
// lie side by side. The text is always compared: equal hashes are not equal
// names. There are no pointers in it, so the collector has nothing to follow.
type table struct {
	buckets []bucket
	arena   []byte
}

// bucket holds the entries of texts that have it as their home, in the order in
// which they were added, and those that found the buckets before it full.
type bucket struct {
	tags [16]uint8     // eight bits of each hash; 0: nothing here nor behind; the last four always are
	at   [slots]uint32 // where each entry begins in the arena
}

// newTable returns a table with room for n entries of that much text in all.
func newTable(n, text int) table {
	if n == 0 {
		return table{}
	}
	return table{buckets: make([]bucket, n/filled+1), arena: make([]byte, 0, n*headerSize+text)}
}

// empty reports whether there is nothing to be found.
func (t *table) empty() bool { return len(t.buckets) == 0 }

// insert adds an entry behind those of equal text. The table must have been
// made with room for it.
func (t *table) insert(h uint64, text string, e Entry) {
	i := t.home(h)
	for t.buckets[i].full() {
		i = t.after(i)
	}
	b := &t.buckets[i]
	slot := 0
	for b.tags[slot] != 0 {
		slot++
	}
	b.tags[slot], b.at[slot] = tagOf(h), uint32(len(t.arena))
	t.arena = binary.LittleEndian.AppendUint32(t.arena, uint32(e.Index))
	t.arena = binary.LittleEndian.AppendUint32(t.arena, uint32(e.Line))
	t.arena = binary.LittleEndian.AppendUint32(t.arena, uint32(e.Conditions))
	t.arena = append(t.arena, byte(len(text)))
	t.arena = append(t.arena, text...)
}

// home maps a hash to its bucket without a division (Lemire, "A fast
// alternative to the modulo reduction").
func (t *table) home(h uint64) int {
	return int(uint64(uint32(h)) * uint64(len(t.buckets)) >> 32)
}

// after returns the bucket behind i; the first follows the last.
func (t *table) after(i int) int {
	if i++; i < len(t.buckets) {
		return i
	}
	return 0
}

// tagOf returns the bits of a hash that stand in a bucket, never 0.
func tagOf(h uint64) uint8 { return max(uint8(h>>56), 1) }

// full reports whether entries of this bucket may stand in the next one.
func (b *bucket) full() bool { return b.tags[slots-1] != 0 }

// match returns the slots that have a tag, as bits. It looks at all of them at
// once: a branch for each would make the processor wait for the memory of this
// bucket before it asks for that of the next.
func (b *bucket) match(tag uint8) uint16 {
	same := uint64(tag) * eachByte
	low := binary.LittleEndian.Uint64(b.tags[:8]) ^ same
	high := binary.LittleEndian.Uint64(b.tags[8:]) ^ same
	return zeroBytes(low) | zeroBytes(high)<<8
}

// eachByte times n is n in each byte of a word.
const eachByte = 0x0101_0101_0101_0101

// zeroBytes returns which bytes of w are zero, the lowest as bit 0. The first
// two lines leave the top bit of those bytes alone (Warren, "Hacker's Delight",
// section 6-1), the product moves these eight bits side by side.
func zeroBytes(w uint64) uint16 {
	const low7 = 0x7f * eachByte
	w = ^(w&low7 + low7 | w | low7)
	return uint16(w >> 7 * 0x0102_0408_1020_4080 >> 56)
}

// mayHave reports whether there may be an entry for a text with that hash. It
// reads one bucket and nothing else.
func (t *table) mayHave(h uint64) bool {
	if t.empty() {
		return false
	}
	b := &t.buckets[t.home(h)]
	return b.match(tagOf(h)) != 0 || b.full()
}

// Cursor walks the entries of one table for one text.
type Cursor struct {
	t      *table
	text   string
	bucket int
	slots  uint16 // of the bucket, those with the tag that are still to be read
	tag    uint8
}

// find points the Cursor at the entries that t has for text, whose hash is h.
func (c *Cursor) find(t *table, h uint64, text string) {
	c.t, c.text, c.bucket, c.tag, c.slots = t, text, t.home(h), tagOf(h), 0
	if !t.empty() {
		c.slots = t.buckets[c.bucket].match(c.tag)
	}
}

// Next returns the next entry, or false behind the last one. Of all slots about
// half are empty, so the walk ends.
func (c *Cursor) Next() (Entry, bool) {
	if c.t.empty() {
		return Entry{}, false
	}
	for {
		b := &c.t.buckets[c.bucket]
		for c.slots != 0 {
			slot := bits.TrailingZeros16(c.slots)
			c.slots &= c.slots - 1
			if e, ok := c.t.read(b.at[slot], c.text); ok {
				return e, true
			}
		}
		if !b.full() {
			return Entry{}, false
		}
		c.bucket = c.t.after(c.bucket)
		c.slots = c.t.buckets[c.bucket].match(c.tag)
	}
}

// read returns the entry that begins there if it is one for text.
func (t *table) read(at uint32, text string) (Entry, bool) {
	record := t.arena[at:]
	size := int(record[headerSize-1])
	if string(record[headerSize:headerSize+size]) != text {
		return Entry{}, false
	}
	return Entry{
		Index:      int32(binary.LittleEndian.Uint32(record)),
		Line:       int32(binary.LittleEndian.Uint32(record[4:])),
		Conditions: int32(binary.LittleEndian.Uint32(record[8:])),
	}, true
}

// each calls yield for every entry in the order in which they were added.
func (t *table) each(yield func(text string, e Entry)) {
	for rest := t.arena; len(rest) > 0; {
		size := int(rest[headerSize-1])
		yield(string(rest[headerSize:headerSize+size]), Entry{
			Index:      int32(binary.LittleEndian.Uint32(rest)),
			Line:       int32(binary.LittleEndian.Uint32(rest[4:])),
			Conditions: int32(binary.LittleEndian.Uint32(rest[8:])),
		})
		rest = rest[headerSize+size:]
	}
}
