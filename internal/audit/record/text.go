package record

import (
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// ellipsis marks a text that was cut.
const ellipsis = "…"

// appendText appends s as a JSON string (RFC 8259, section 7). What does not
// print is escaped, which is more than JSON asks for: DEL, C1 controls, line
// and paragraph separators and the marks that turn the direction of text would
// let a line look like another on a terminal or split it for some readers.
// Every byte that is not UTF-8 becomes U+FFFD. A text of more than limit bytes
// is cut before the rune that passes it, and marked.
func appendText[T string | []byte](dst []byte, s T, limit int) []byte {
	short := len(s) <= limit
	if !short {
		s = s[:runeBoundary(s, limit)]
	}
	dst = append(dst, '"')
	done := 0
	for i := 0; ; {
		for i < len(s) && asIs(s[i]) {
			i++
		}
		if i == len(s) {
			break
		}
		r, size := rune(s[i]), 1
		if r >= utf8.RuneSelf {
			// At most four bytes are converted, which needs no memory.
			r, size = utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
		}
		if size > 1 && unicode.IsPrint(r) {
			i += size
			continue
		}
		dst = append(dst, s[done:i]...)
		dst = appendEscape(dst, r)
		i += size
		done = i
	}
	dst = append(dst, s[done:]...)
	if !short {
		dst = append(dst, ellipsis...)
	}
	return append(dst, '"')
}

// asIs reports whether a byte is an ASCII character that stands in a line as it
// is.
func asIs(c byte) bool { return c-' ' < 0x7f-' ' && c != '"' && c != '\\' }

// appendEscape appends the escape of a rune.
func appendEscape(dst []byte, r rune) []byte {
	switch r {
	case '"', '\\':
		return append(dst, '\\', byte(r))
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	if r > 0xffff {
		high, low := utf16.EncodeRune(r)
		return appendUnit(appendUnit(dst, high), low)
	}
	return appendUnit(dst, r)
}

// appendUnit appends \u and four hex digits.
func appendUnit(dst []byte, u rune) []byte {
	const digits = "0123456789abcdef"
	return append(dst, '\\', 'u', digits[u>>12&15], digits[u>>8&15], digits[u>>4&15], digits[u&15])
}

// runeBoundary returns the last index up to limit at which a rune begins. In
// bytes that are not UTF-8 it is limit, which is four at least.
func runeBoundary[T string | []byte](s T, limit int) int {
	for i := limit; i > limit-utf8.UTFMax; i-- {
		if utf8.RuneStart(s[i]) {
			return i
		}
	}
	return limit
}
