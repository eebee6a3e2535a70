package hostname

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/net/idna"
)

// ErrBadPattern is wrapped by every error of ParsePattern.
var ErrBadPattern = errors.New("not a pattern")

// Pattern covers one name, every name below one, or both. The zero Pattern covers
// nothing.
type Pattern struct {
	name     Name
	wildcard bool
	apex     bool // of a wildcard: it covers name too
}

// IsZero reports whether the pattern covers nothing.
func (p Pattern) IsZero() bool { return p.name.IsZero() }

// Wildcard reports whether the pattern covers the names below Name.
func (p Pattern) Wildcard() bool { return p.wildcard }

// Exact reports whether the pattern covers Name itself.
func (p Pattern) Exact() bool { return !p.IsZero() && (!p.wildcard || p.apex) }

// Parts returns patterns that cover, together, what this one does, and of which each covers
// a name or what is below it, not both: ".example.org" is "example.org" and
// "*.example.org", others are themselves. The zero Pattern has none.
func (p Pattern) Parts() []Pattern {
	switch {
	case p.IsZero():
		return nil
	case p.apex:
		return []Pattern{{name: p.name}, {name: p.name, wildcard: true}}
	default:
		return []Pattern{p}
	}
}

// Name returns the name without the "*." or "." in front of it.
func (p Pattern) Name() Name { return p.name }

// String returns the canonical text: A-labels, lower case, "*." in front of a
// wildcard, "." in front of one that covers the name too.
func (p Pattern) String() string {
	switch {
	case p.apex:
		return "." + p.name.s
	case p.wildcard:
		return "*." + p.name.s
	default:
		return p.name.s
	}
}

// ParsePattern parses a name, "*." and a name, or "." and a name. "*.example.org" covers one
// or more labels below example.org, never example.org itself; ".example.org" covers both. A wildcard
// stands only as the whole first label. U-labels are converted to A-labels
// (UTS 46, non-transitional) where a registry may have them (RFC 5892). Whether a wildcard is too wide is asked of
// Suffixes. Errors wrap ErrBadPattern and end with what would be right.
func ParsePattern(s string) (Pattern, error) {
	rest, wildcard := strings.CutPrefix(s, "*.")
	apex := false
	if !wildcard {
		rest, apex = strings.CutPrefix(s, ".")
	}
	switch {
	case s == "":
		return Pattern{}, fmt.Errorf("%w: it is empty; write a hostname", ErrBadPattern)
	case s == "*" || s == "*." || s == ".":
		return Pattern{}, fmt.Errorf("%w: it would cover every host; write the hosts that are needed", ErrBadPattern)
	case strings.Contains(rest, "*"):
		return Pattern{}, fmt.Errorf(`%w: it has a wildcard that is not the whole first label; write "*." and a name`, ErrBadPattern)
	case strings.HasPrefix(rest, "."):
		return Pattern{}, fmt.Errorf(`%w: it has two dots in front; write ".%s" for the name and those below`, ErrBadPattern, strings.TrimLeft(rest, "."))
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
	return Pattern{name: n, wildcard: wildcard || apex, apex: apex}, nil
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
