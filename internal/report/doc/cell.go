package doc

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// kind says what a cell holds. The zero kind is untrusted text.
type kind uint8

const (
	untrusted kind = iota // from records or the policy file: anyone may have written it
	plain                 // of this package
	number
	instant
)

// Cell is one value. The zero cell is empty.
type Cell struct {
	text string
	kind kind
}

// Text makes a cell of untrusted text.
func Text(s string) Cell { return Cell{text: s} }

// Word makes a cell of text that this package wrote.
func Word(s string) Cell { return Cell{s, plain} }

// Num makes a cell of a count.
func Num[T int | int64 | uint16 | uint64](n T) Cell {
	if n < 0 {
		return Cell{strconv.FormatInt(int64(n), 10), number}
	}
	return Cell{strconv.FormatUint(uint64(n), 10), number}
}

// Some makes a cell of a number whose zero means that there is none.
func Some[T int | uint16](n T) Cell {
	if n == 0 {
		return Cell{"", number}
	}
	return Cell{strconv.Itoa(int(n)), plain}
}

// At makes a cell of an instant, to the second; the zero time is empty.
func At(t time.Time) Cell {
	if t.IsZero() {
		return Cell{"", instant}
	}
	return Cell{t.UTC().Format(time.RFC3339), instant}
}

// maxShown is how many characters of untrusted text are shown: records have 256
// at most, so what is longer is not a record of the proxy's.
const maxShown = 300

// Visible makes untrusted text safe to print anywhere: what does not print, what
// changes the direction of text, and what is not UTF-8 is shown as \u{…}, and a
// backslash as two, so that nothing can pass for what it is not.
func Visible(s string) string {
	if len(s) <= maxShown && strings.IndexFunc(s, func(c rune) bool { return c < ' ' || c > '~' || c == '\\' }) < 0 {
		return s // nearly always
	}
	var b strings.Builder
	printed := 0
	for i := 0; i < len(s); {
		c, size := utf8.DecodeRuneInString(s[i:])
		if printed++; printed > maxShown {
			b.WriteString("…")
			break
		}
		switch {
		case c == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case c == '\\':
			b.WriteString(`\\`)
		case !unicode.IsPrint(c):
			fmt.Fprintf(&b, `\u{%x}`, c)
		default:
			b.WriteRune(c)
		}
		i += size
	}
	return b.String()
}

// grouped returns digits with a comma after each thousand.
func grouped(digits string) string {
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// Count returns a number as text has it.
func Count[T int | uint64](n T) string { return grouped(fmt.Sprint(n)) }

// Several returns a number of things, of which thing is one.
func Several(n uint64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return Count(n) + " " + thing + "s"
}

// String returns the text of the cell as it was given, in no format.
func (c Cell) String() string { return c.text }
