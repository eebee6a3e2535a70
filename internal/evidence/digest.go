package evidence

import (
	"bytes"
	"crypto/sha256"
	"strconv"
	"time"
)

const (
	// batchLines and batchBytes are when a batch is full.
	batchLines = 256
	batchBytes = 1 << 20
)

// place is where a line stands.
type place struct {
	file int // index in the files of the Verifier
	line int
}

// class tells lines apart.
type class uint8

const (
	classUnreadable class = iota
	classForeign
	classTorn // begins as a record does and is none
	classRecord
)

// fact is what a Verifier needs of a line. Its slices are of the batch.
type fact struct {
	at       place
	class    class
	shuffled bool

	// Of a record; boot and seq also of a torn line, as far as it has them.
	boot, event, reason, policy, totals []byte // totals nil: it has none
	seq, weight, lost                   uint64
	request                             bool // totals count it
	time                                time.Time
	prev, hash                          [sha256.Size]byte
}

// batch is lines that are digested together, by one goroutine.
type batch struct {
	buf   []byte
	ends  []int // of the lines in buf
	facts []fact
	done  chan struct{}

	// Of a Verifier that gives records:
	parser  *parser // nil: it does not
	records []parsed
}

// parsed is what Parse makes of a line.
type parsed struct {
	record Record
	err    error
}

// add appends a line.
func (b *batch) add(l *Line, at place) {
	b.buf = append(b.buf, l.Raw...)
	b.ends = append(b.ends, len(b.buf))
	b.facts = append(b.facts, fact{at: at, shuffled: l.shuffled})
}

// full reports whether the batch should be digested.
func (b *batch) full() bool { return len(b.ends) >= batchLines || len(b.buf) >= batchBytes }

// digest fills the facts and closes done.
func (b *batch) digest() {
	defer close(b.done)
	start := 0
	for i, end := range b.ends {
		line := b.buf[start:end]
		object := b.facts[i].read(line, b.parser)
		if b.parser != nil {
			r, err := b.parser.end(line, object)
			b.records = append(b.records, parsed{r, err})
		}
		start = end
	}
}

// reset empties the batch.
func (b *batch) reset() {
	b.buf, b.ends, b.facts, b.records = b.buf[:0], b.ends[:0], b.facts[:0], b.records[:0]
}

// needed are the members that the verification looks at.
const needed = required | 1<<memberAWS | 1<<memberTime | 1<<memberPolicy | 1<<memberVerdict | 1<<memberReason |
	1<<memberSuppressed | 1<<memberTotals | 1<<memberLost

// read fills the fact of a line, gives the members to p as well, unless it is
// nil, and reports whether the line is an object. The fact has no member that the
// verification does not need: a client address that is none is for Parse to
// refuse, and stays as it was written by the hash.
func (f *fact) read(raw []byte, p *parser) (object bool) {
	f.weight = 1
	var seen uint64
	var keys order
	good := true
	object = members(raw, func(key, value []byte) {
		m := keys.of(key)
		if p != nil {
			p.take(m, value)
		}
		if needed&(1<<m) == 0 {
			return
		}
		good = good && seen&(1<<m) == 0
		seen |= 1 << m
		if string(value) != "null" {
			good = f.member(m, value) && good
		}
	})
	if !object {
		f.readOther(raw)
		return false
	}
	f.request = seen&(1<<memberVerdict) != 0
	switch {
	case seen&(1<<memberAWS) != 0 || seen&required != required:
		f.class = classForeign
	case good:
		f.readRecord(raw)
	}
	return true
}

// readRecord fills the fact of a line that has what a record has, if it has it
// all.
func (f *fact) readRecord(raw []byte) {
	if f.seq > 0 && len(f.boot) > 0 && len(f.event) > 0 {
		f.class = classRecord
		f.hash = sha256.Sum256(raw)
	}
}

// readOther fills the fact of a line that is not an object.
func (f *fact) readOther(raw []byte) {
	switch {
	case valid(raw):
		f.class = classForeign
	case tornRecord(raw):
		f.class = classTorn
		f.boot, f.seq = tornPlace(raw)
	}
}

// member takes a member that is not null.
func (f *fact) member(m member, value []byte) bool {
	switch m {
	case memberSeq:
		return unsigned(&f.seq, value)
	case memberLost:
		return unsigned(&f.lost, value)
	case memberSuppressed:
		ok := unsigned(&f.weight, value)
		f.weight++
		return ok
	case memberTotals:
		f.totals = value
		return value[0] == '{'
	case memberPrev, memberTime:
		return f.stamp(m, value)
	case memberBoot:
		return bytesOf(&f.boot, value)
	case memberEvent:
		return bytesOf(&f.event, value)
	case memberReason:
		return bytesOf(&f.reason, value)
	case memberPolicy:
		return bytesOf(&f.policy, value)
	}
	return true
}

// stamp takes prev or time.
func (f *fact) stamp(m member, value []byte) bool {
	var text []byte
	if !bytesOf(&text, value) {
		return false
	}
	if m == memberPrev {
		return hash(&f.prev, text)
	}
	return f.time.UnmarshalText(text) == nil
}

// bytesOf takes a string. Where it has no escape, dst is a part of the batch.
func bytesOf(dst *[]byte, value []byte) bool {
	if value[0] != '"' {
		return false
	}
	*dst = unquote(value)
	return true
}

// recordStart is how every record begins.
const recordStart = `{"time":"`

// tornRecord reports whether what is not JSON begins as a record does.
func tornRecord(raw []byte) bool {
	n := min(len(raw), len(recordStart))
	return n > 0 && string(raw[:n]) == recordStart[:n]
}

// tornPlace returns boot and seq of a torn record, as far as it has them whole.
func tornPlace(raw []byte) (boot []byte, seq uint64) {
	_, rest, _ := bytes.Cut(raw, []byte(`"boot":"`))
	boot, rest, ok := bytes.Cut(rest, []byte(`","seq":`))
	if !ok {
		return nil, 0
	}
	if digits, _, ok := bytes.Cut(rest, []byte(",")); ok {
		seq, _ = strconv.ParseUint(string(digits), 10, 64)
	}
	return boot, seq
}
