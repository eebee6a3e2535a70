package hostname

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/net/idna"
)

// ErrBadPattern is wrapped by every error of ParsePattern.
var ErrBadPattern = errors.New("not a pattern")

// Pattern covers one name, or every name below one. The zero Pattern covers
// nothing.
type Pattern struct {
	name     Name
	wildcard bool
}

// IsZero reports whether the pattern covers nothing.
func (p Pattern) IsZero() bool { return p.name.IsZero() }

// Wildcard reports whether the pattern covers the names below Name instead of
// Name itself.
func (p Pattern) Wildcard() bool { return p.wildcard }

// Name returns the name without the "*." of a wildcard.
func (p Pattern) Name() Name { return p.name }

// String returns the canonical text: A-labels, lower case, "*." in front of a
// wildcard.
func (p Pattern) String() string {
	if p.wildcard {
		return "*." + p.name.s
	}
	return p.name.s
}

// ParsePattern parses a name, or "*." and a name. "*.example.org" covers one
// or more labels below example.org, never example.org itself. A wildcard
// stands only as the whole first label. U-labels are converted to A-labels
// (UTS 46, non-transitional) where a registry may have them (RFC 5892). Whether a wildcard is too wide is asked of
// Suffixes. Errors wrap ErrBadPattern and end with what would be right.
func ParsePattern(s string) (Pattern, error) {
	rest, wildcard := strings.CutPrefix(s, "*.")
	switch {
	case s == "":
		return Pattern{}, fmt.Errorf("%w: it is empty; write a hostname", ErrBadPattern)
	case s == "*" || s == "*.":
		return Pattern{}, fmt.Errorf("%w: it would cover every host; write the hosts that are needed", ErrBadPattern)
	case strings.Contains(rest, "*"):
		return Pattern{}, fmt.Errorf(`%w: it has a wildcard that is not the whole first label; write "*." and a name`, ErrBadPattern)
	case strings.HasPrefix(rest, "."):
		return Pattern{}, fmt.Errorf(`%w: it begins with a dot; write "*%s" for the names below`, ErrBadPattern, rest)
	}
	ascii := rest
	if !isASCII(rest) {
		a, err := toASCII(rest)
		if err != nil {
			return Pattern{}, fmt.Errorf("%w: %w", ErrBadPattern, err)
		}
		ascii = a
	}
	n, err := ParseName(ascii)
	if err != nil {
		return Pattern{}, fmt.Errorf("%w: %w; write a hostname such as api.example.com", ErrBadPattern, err)
	}
	return Pattern{name: n, wildcard: wildcard}, nil
}

// toASCII converts U-labels to A-labels, those alone that a registry may have. The error
// says what would be right.
func toASCII(name string) (string, error) {
	a, err := idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(false)).ToASCII(name)
	if err != nil {
		return "", errors.New("its U-labels do not convert; write the A-labels (xn--…)")
	}
	return a, checkRegistrable(name, a)
}
