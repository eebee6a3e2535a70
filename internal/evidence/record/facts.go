package record

import (
	"bytes"
	"crypto/sha256"
	"strconv"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence/jsonscan"
)

// Class is what a line is.
type Class uint8

const (
	// Unreadable is a line that is neither JSON nor the beginning of a record.
	Unreadable Class = iota
	// OtherJSON is a line that is JSON and no record.
	OtherJSON
	// Partial is the beginning of a record without its end.
	Partial
	// Whole is a line that is a record.
	Whole
)

// Facts are what a verification needs of a line. The slices are parts of the line.
type Facts struct {
	Class Class

	// Of a record; Process and Seq also of a part of one, as far as it has them.

	Process, Event, Reason, Policy, Totals []byte // Totals nil: it has none
	Seq, Weight, Lost                      uint64 // Weight: how many events it stands for
	Request                                bool   // totals count it
	Time                                   time.Time
	Prev, Hash                             [sha256.Size]byte
}

// needed are the members that the verification looks at.
const needed = required | 1<<memberAWS | 1<<memberTime | 1<<memberPolicy | 1<<memberVerdict | 1<<memberReason |
	1<<memberSuppressed | 1<<memberTotals | 1<<memberLost

// Read sets the facts of a line, gives the members to p as well, unless it is nil,
// and reports whether the line is an object. They have no member that a
// verification does not need: Parse refuses a client address that is not one, and
// the hash shows that it is as it was written.
func (f *Facts) Read(raw []byte, p *Parser) (object bool) {
	f.Weight = 1
	var seen uint64
	var keys order
	good := true
	object = jsonscan.Members(raw, func(key, value []byte) {
		m := keys.of(key)
		if p != nil {
			p.set(m, value)
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
	f.Request = seen&(1<<memberVerdict) != 0
	switch {
	case seen&(1<<memberAWS) != 0 || seen&required != required:
		f.Class = OtherJSON
	case good:
		f.readRecord(raw)
	}
	return true
}

// readRecord sets the facts of a line that has what a record has, if it has it
// all.
func (f *Facts) readRecord(raw []byte) {
	if f.Seq > 0 && len(f.Process) > 0 && len(f.Event) > 0 {
		f.Class = Whole
		f.Hash = sha256.Sum256(raw)
	}
}

// readOther sets the facts of a line that is not an object.
func (f *Facts) readOther(raw []byte) {
	switch {
	case jsonscan.Valid(raw):
		f.Class = OtherJSON
	case isPartial(raw):
		f.Class = Partial
		f.Process, f.Seq = partialPlace(raw)
	}
}

// member sets a member that is not null.
func (f *Facts) member(m member, value []byte) bool {
	switch m {
	case memberSeq:
		return Unsigned(&f.Seq, value)
	case memberLost:
		return Unsigned(&f.Lost, value)
	case memberSuppressed:
		ok := Unsigned(&f.Weight, value)
		f.Weight++
		return ok
	case memberTotals:
		f.Totals = value
		return value[0] == '{'
	case memberPrev, memberTime:
		return f.stamp(m, value)
	case memberProcess:
		return bytesOf(&f.Process, value)
	case memberEvent:
		return bytesOf(&f.Event, value)
	case memberReason:
		return bytesOf(&f.Reason, value)
	case memberPolicy:
		return bytesOf(&f.Policy, value)
	}
	return true
}

// stamp sets prev or time.
func (f *Facts) stamp(m member, value []byte) bool {
	var text []byte
	if !bytesOf(&text, value) {
		return false
	}
	if m == memberPrev {
		return hash(&f.Prev, text)
	}
	return f.Time.UnmarshalText(text) == nil
}

// bytesOf sets a string. Where it has no escape, dst is a part of value.
func bytesOf(dst *[]byte, value []byte) bool {
	if value[0] != '"' {
		return false
	}
	*dst = jsonscan.Unquote(value)
	return true
}

// recordStart is how every record begins.
const recordStart = `{"time":"`

// isPartial reports whether what is not JSON begins as a record does.
func isPartial(raw []byte) bool {
	n := min(len(raw), len(recordStart))
	return n > 0 && string(raw[:n]) == recordStart[:n]
}

// partialPlace returns process and seq of a part of a record, as far as it has them whole.
func partialPlace(raw []byte) (process []byte, seq uint64) {
	_, rest, _ := bytes.Cut(raw, []byte(`"boot":"`))
	process, rest, ok := bytes.Cut(rest, []byte(`","seq":`))
	if !ok {
		return nil, 0
	}
	if digits, _, ok := bytes.Cut(rest, []byte(",")); ok {
		seq, _ = strconv.ParseUint(string(digits), 10, 64)
	}
	return process, seq
}
