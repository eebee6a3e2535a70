// Package jsonscan walks JSON (RFC 8259) without building anything.
//
// What it does: it gives the members of an object and the elements of an array as
// the bytes that they are, in order, duplicates included, and says whether a text
// is one JSON value. What it takes is what encoding/json calls valid, up to
// MaxDepth.
//
// What it does not do: it converts no numbers, and it keeps nothing: what it gives
// are parts of what it was given, but for texts with an escape.
//
//	ok := jsonscan.Members(line, func(key, value []byte) {
//		if string(key) == "host" {
//			host = string(jsonscan.Unquote(value))
//		}
//	})
//
// encoding/json/jsontext does the same; with Go 1.26 it cannot be imported without
// GOEXPERIMENT=jsonv2.
package jsonscan

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxDepth is how deep values may be nested. A record needs three.
const MaxDepth = 64

// scanner is a place in a text.
type scanner struct {
	b       []byte
	i       int  // where the scanner stands
	escaped bool // there was an escape
}

// Members gives each member of the object that b is, in order: the key as
// it stands between its quotes, unescaped, and the bytes of the value. It
// returns false for what is not one JSON object, perhaps after some members.
func Members(b []byte, each func(key, value []byte)) bool {
	s := scanner{b: b}
	s.space()
	if !s.object(each, MaxDepth) {
		return false
	}
	s.space()
	return s.i == len(s.b)
}

// Elements gives each element of the array that b begins with, in order. It
// returns false for what is not an array, perhaps after some elements.
func Elements(b []byte, each func(value []byte)) bool {
	s := scanner{b: b}
	return s.array(each, MaxDepth)
}

// Valid reports whether b is one JSON value.
func Valid(b []byte) bool {
	s := scanner{b: b}
	s.space()
	if !s.skip(MaxDepth) {
		return false
	}
	s.space()
	return s.i == len(s.b)
}

// IsText reports whether b is one JSON string, with its quotes and nothing around
// them.
func IsText(b []byte) bool {
	s := scanner{b: b}
	return s.text() && s.i == len(b)
}

// space skips white space.
func (s *scanner) space() {
	for s.i < len(s.b) && IsSpace(s.b[s.i]) {
		s.i++
	}
}

// IsSpace reports whether c is white space of JSON.
func IsSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

// accept skips one given byte, if it is next.
func (s *scanner) accept(c byte) bool {
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

// skip skips one value.
func (s *scanner) skip(depth int) bool {
	if s.i >= len(s.b) || depth == 0 {
		return false
	}
	switch s.b[s.i] {
	case '{':
		return s.object(nil, depth)
	case '[':
		return s.array(nil, depth)
	case '"':
		return s.text()
	case 't':
		return s.word("true")
	case 'f':
		return s.word("false")
	case 'n':
		return s.word("null")
	default:
		return s.number()
	}
}

// object skips an object; a nil each is not called.
func (s *scanner) object(each func(key, value []byte), depth int) bool {
	if !s.accept('{') {
		return false
	}
	if s.space(); s.accept('}') {
		return true
	}
	for {
		s.space()
		from := s.i
		s.escaped = false
		if !s.text() {
			return false
		}
		key := s.b[from+1 : s.i-1]
		if s.escaped {
			key = Unquote(s.b[from:s.i])
		}
		if s.space(); !s.accept(':') {
			return false
		}
		s.space()
		from = s.i
		if !s.skip(depth - 1) {
			return false
		}
		if each != nil {
			each(key, s.b[from:s.i])
		}
		s.space()
		if !s.accept(',') {
			return s.accept('}')
		}
	}
}

// array skips an array; a nil each is not called.
func (s *scanner) array(each func(value []byte), depth int) bool {
	if !s.accept('[') {
		return false
	}
	if s.space(); s.accept(']') {
		return true
	}
	for {
		s.space()
		from := s.i
		if !s.skip(depth - 1) {
			return false
		}
		if each != nil {
			each(s.b[from:s.i])
		}
		s.space()
		if !s.accept(',') {
			return s.accept(']')
		}
	}
}

// text skips a string with its quotes.
func (s *scanner) text() bool {
	if !s.accept('"') {
		return false
	}
	for s.plain(); s.i < len(s.b); s.plain() {
		c := s.b[s.i]
		s.i++
		switch {
		case c == '"':
			return true
		case c < ' ':
			return false
		case c == '\\' && !s.escape():
			return false
		}
	}
	return false
}

// plain skips bytes of a string that mean themselves, eight at a time; it may
// stop before one. https://graphics.stanford.edu/~seander/bithacks.html#ZeroInWord
func (s *scanner) plain() {
	const each = 0x0101010101010101
	for ; len(s.b)-s.i >= 8; s.i += 8 {
		x := binary.LittleEndian.Uint64(s.b[s.i:])
		quote, slash := x^each*'"', x^each*'\\'
		if found := ((quote-each)&^quote | (slash-each)&^slash | (x-each*' ')&^x) & (each << 7); found != 0 {
			s.i += bits.TrailingZeros64(found) / 8
			return
		}
	}
}

// escape skips what follows a backslash.
func (s *scanner) escape() bool {
	if s.i >= len(s.b) {
		return false
	}
	c := s.b[s.i]
	s.i++
	s.escaped = true
	switch c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
		_, ok := unit(s.b[s.i:])
		s.i += 4 // nobody goes on where they are not there
		return ok
	}
	return false
}

// word skips a literal.
func (s *scanner) word(w string) bool {
	if len(s.b)-s.i < len(w) || string(s.b[s.i:s.i+len(w)]) != w {
		return false
	}
	s.i += len(w)
	return true
}

// number skips a number.
func (s *scanner) number() bool {
	s.accept('-')
	if !s.accept('0') && !s.digits() {
		return false
	}
	if s.accept('.') && !s.digits() {
		return false
	}
	if s.accept('e') || s.accept('E') {
		if !s.accept('+') {
			s.accept('-')
		}
		return s.digits()
	}
	return true
}

// digits skips one digit or more.
func (s *scanner) digits() bool {
	from := s.i
	for s.i < len(s.b) && s.b[s.i]-'0' <= 9 {
		s.i++
	}
	return s.i > from
}

// unit reads the four hexadecimal digits of an escape.
func unit(b []byte) (r rune, ok bool) {
	if len(b) < 4 {
		return 0, false
	}
	for _, c := range b[:4] {
		switch {
		case c-'0' <= 9:
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// Unquote returns the text of a valid string, which has its quotes. Where there is
// no escape it is a part of quoted.
func Unquote(quoted []byte) []byte {
	if b := quoted[1 : len(quoted)-1]; bytes.IndexByte(b, '\\') < 0 {
		return b
	}
	return AppendUnquoted(nil, quoted)
}

// AppendUnquoted appends the text of a valid string, which has its quotes.
func AppendUnquoted(dst, quoted []byte) []byte {
	b := quoted[1 : len(quoted)-1]
	for {
		at := bytes.IndexByte(b, '\\')
		if at < 0 {
			return append(dst, b...)
		}
		dst = append(dst, b[:at]...)
		var n int
		dst, n = appendEscaped(dst, b[at:])
		b = b[at+n:]
	}
}

// appendEscaped appends what the escape at the beginning of b, a valid one,
// stands for, and returns how long it is.
func appendEscaped(dst, b []byte) ([]byte, int) {
	switch b[1] {
	case 'b':
		return append(dst, '\b'), 2
	case 'f':
		return append(dst, '\f'), 2
	case 'n':
		return append(dst, '\n'), 2
	case 'r':
		return append(dst, '\r'), 2
	case 't':
		return append(dst, '\t'), 2
	case 'u':
	default: // a quote, a slash or a backslash
		return append(dst, b[1]), 2
	}
	r, _ := unit(b[2:])
	if !utf16.IsSurrogate(r) {
		return utf8.AppendRune(dst, r), 6
	}
	if len(b) >= 12 && b[6] == '\\' && b[7] == 'u' {
		low, _ := unit(b[8:])
		if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
			return utf8.AppendRune(dst, pair), 12
		}
	}
	return utf8.AppendRune(dst, utf8.RuneError), 6
}
