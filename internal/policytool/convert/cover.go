package convert

import (
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
)

// Covers reports whether the pattern a has every name that b has.
func Covers(a, b hostname.Pattern) bool {
	switch {
	case a.IsZero() || b.IsZero():
		return false
	case isBelow(b.Name(), a.Name()):
		return a.Wildcard() // all that b has lies below a's name
	case a.Name() != b.Name():
		return false
	default:
		return (!b.Exact() || a.Exact()) && (!b.Wildcard() || a.Wildcard())
	}
}

// Overlap reports whether some name is one of both patterns.
func Overlap(a, b hostname.Pattern) bool {
	switch {
	case a.IsZero() || b.IsZero():
		return false
	case isBelow(b.Name(), a.Name()):
		return a.Wildcard()
	case isBelow(a.Name(), b.Name()):
		return b.Wildcard()
	case a.Name() != b.Name():
		return false
	default:
		return a.Exact() && b.Exact() || a.Wildcard() && b.Wildcard()
	}
}

// isBelow reports whether a name has the other one behind one of its dots.
func isBelow(name, above hostname.Name) bool {
	return strings.HasSuffix(name.String(), "."+above.String())
}
