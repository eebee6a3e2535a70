// Package hostname has the words for where a request wants to go: Name, Pattern,
// Host and Target. Text from outside becomes one of them once, at the edge; what
// has become one is canonical, so that equal means equal and matching never
// normalises.
//
// It resolves nothing, and whether a name may be reached is not its question:
// package policy answers that. What DNS answers and ClientHellos call a name is
// laxer than a Name; Fold, IsServerName and EqualServerName are for those.
//
//	t, err := hostname.ParseTarget("API.example.com.:443") // api.example.com:443
//	p, err := hostname.ParsePattern("*.example.com")
package hostname

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/net/idna"
)

// MaxName and maxLabel are the lengths of RFC 1035, section 2.3.4, in the
// form without the root's dot.
const (
	MaxName  = 253
	maxLabel = 63
)

// ErrBadName is wrapped by every error of ParseName.
var ErrBadName = errors.New("not a hostname")

// Name is a canonical DNS hostname: lower case, no trailing dot, A-labels
// only. The zero Name is not a name and matches nothing.
type Name struct{ s string }

// String returns the canonical text, "" for the zero Name.
func (n Name) String() string { return n.s }

// IsZero reports whether n is not a name.
func (n Name) IsZero() bool { return n.s == "" }

// ParseName makes s canonical: it lowers the case and drops one trailing dot.
// It accepts labels of letters, digits, hyphens and underscores (RFC 1123
// with the underscore of RFC 8552), 63 bytes each, 253 in all, that neither
// begin nor end with a hyphen. A label that begins with "xn--" must be a valid
// A-label (RFC 5891). The last label is never a number, so that nothing an
// address parser might take for an IPv4 address passes for a name.
//
// Errors wrap ErrBadName and never quote s, which an attacker wrote.
func ParseName(s string) (Name, error) {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > MaxName {
		return Name{}, fmt.Errorf("%w: it has %d bytes of 1 to %d", ErrBadName, len(s), MaxName)
	}
	upper := false
	start := 0
	for i := 0; i <= len(s); i++ {
		if i < len(s) && s[i] != '.' {
			class := classOf(s[i])
			if class == byteBad {
				return Name{}, fmt.Errorf("%w: byte %d is not a letter, digit, hyphen or underscore", ErrBadName, i)
			}
			upper = upper || class == byteUpper
			continue
		}
		if err := checkLabel(s[start:i]); err != nil {
			return Name{}, err
		}
		start = i + 1
	}
	if upper {
		s = strings.ToLower(s)
	}
	if isNumber(s[strings.LastIndexByte(s, '.')+1:]) {
		return Name{}, fmt.Errorf("%w: its last label is a number", ErrBadName)
	}
	if err := checkALabels(s); err != nil {
		return Name{}, err
	}
	return Name{s}, nil
}

// byteClass sorts the bytes a hostname may have.
type byteClass uint8

const (
	byteBad byteClass = iota
	byteLower
	byteUpper
)

// classOf returns what a byte is in a hostname.
func classOf(c byte) byteClass {
	switch {
	case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
		return byteLower
	case 'A' <= c && c <= 'Z':
		return byteUpper
	default:
		return byteBad
	}
}

// checkLabel checks a label's length and hyphens.
func checkLabel(label string) error {
	switch {
	case label == "":
		return fmt.Errorf("%w: a label is empty", ErrBadName)
	case len(label) > maxLabel:
		return fmt.Errorf("%w: a label has more than %d bytes", ErrBadName, maxLabel)
	case label[0] == '-' || label[len(label)-1] == '-':
		return fmt.Errorf("%w: a label begins or ends with a hyphen", ErrBadName)
	}
	return nil
}

// isNumber reports whether address parsers take the label for a number:
// decimal or octal digits, or hexadecimal behind 0x (WHATWG URL, "ends in a
// number"). Binary behind 0b and octal behind 0o are what C23 and scripting
// languages read; no top-level domain looks like that.
func isNumber(label string) bool {
	digits, set := label, "0123456789"
	if len(label) >= 2 && label[0] == '0' {
		switch label[1] {
		case 'x':
			digits, set = label[2:], "0123456789abcdef"
		case 'b', 'o':
			digits = label[2:]
		}
	}
	for i := range len(digits) {
		if strings.IndexByte(set, digits[i]) < 0 {
			return false
		}
	}
	return true
}

// checkALabels checks that every label that claims to be an A-label is one:
// it decodes, to something that is not plain ASCII, and encodes back to itself.
// A label that decodes to ASCII would be a second spelling of another name
// (CVE-2024-12224 in other parsers).
func checkALabels(s string) error {
	if !strings.Contains(s, "xn--") {
		return nil
	}
	for label := range strings.SplitSeq(s, ".") {
		if !strings.HasPrefix(label, "xn--") {
			continue
		}
		u, err := idna.Lookup.ToUnicode(label)
		if err != nil || isASCII(u) {
			return fmt.Errorf("%w: a label is not a valid A-label", ErrBadName)
		}
		a, err := idna.Lookup.ToASCII(u)
		if err != nil || a != label {
			return fmt.Errorf("%w: a label is not a canonical A-label", ErrBadName)
		}
	}
	return nil
}

// isASCII reports whether s has bytes below 0x80 alone.
func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
