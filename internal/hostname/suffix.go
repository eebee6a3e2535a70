package hostname

import (
	"strings"

	// x/net/publicsuffix answers for one name but cannot list its rules, and
	// whether a name has shared suffixes below it needs the list.
	psl "github.com/weppos/publicsuffix-go/publicsuffix"
)

// WildcardScope says how wide a wildcard is, by the Public Suffix List.
type WildcardScope uint8

const (
	// ScopeRegistry is a wildcard directly over an ICANN public suffix
	// (*.com, *.co.uk), or over a name that has such suffixes below it (*.za):
	// it covers everyone's names. It is the zero value.
	ScopeRegistry WildcardScope = iota
	// ScopeShared is a wildcard over a suffix where anyone can rent a name
	// (*.github.io), over a name that has such suffixes below it
	// (*.amazonaws.com), or over a top-level label that the list does not have.
	ScopeShared
	// ScopeOne is a wildcard over names of one registrant, or no wildcard.
	ScopeOne
)

// Suffixes is the Public Suffix List in the form that WildcardScope needs. It is the
// one that is compiled in, with the library it comes from (go.mod); its date is
// in psl.ListVersion, and a test fails when it is older than a year. The program
// does not look at the date: a file is valid or it is not, on any day. A nil or zero
// Suffixes takes every wildcard for one over a registry.
type Suffixes struct {
	kind map[string]suffixKind
}

// suffixKind is a set of bits about a rule of the list.
type suffixKind uint8

const (
	suffixICANN    suffixKind = 1 << iota
	suffixPrivate             // the rule is of the private section
	suffixChildren            // "*.name": every child of the name is a suffix
	suffixChildrenPrivate
	suffixException    // "!name"
	suffixAbove        // has an ICANN suffix somewhere below
	suffixAbovePrivate // has a private suffix somewhere below
)

// Rule types of the list, as the library numbers them.
const (
	pslNormal    = 1
	pslWildcard  = 2
	pslException = 3
)

// NewSuffixes indexes the list that is compiled into the program. It takes a
// few milliseconds; a load of the file makes one.
func NewSuffixes() *Suffixes {
	s := &Suffixes{kind: map[string]suffixKind{}}
	rules := psl.DefaultRules()
	for i := range rules {
		s.add(&rules[i])
	}
	return s
}

// add indexes one rule and marks its ancestors.
func (s *Suffixes) add(r *psl.Rule) {
	name := strings.TrimPrefix(strings.TrimPrefix(r.Value, "!"), "*.")
	own, above := suffixICANN, suffixAbove
	switch {
	case r.Type == pslException:
		s.kind[name] |= suffixException
		return
	case r.Type == pslWildcard && r.Private:
		own, above = suffixChildrenPrivate, suffixAbovePrivate
	case r.Type == pslWildcard:
		own = suffixChildren
	case r.Private:
		own, above = suffixPrivate, suffixAbovePrivate
	}
	s.kind[name] |= own
	for _, parent, ok := strings.Cut(name, "."); ok; _, parent, ok = strings.Cut(parent, ".") {
		s.kind[parent] |= above
	}
}

// WildcardScope returns how wide the pattern is. A pattern without a wildcard is
// ScopeOne, the zero Pattern ScopeRegistry.
func (s *Suffixes) WildcardScope(p Pattern) WildcardScope {
	if p.IsZero() {
		return ScopeRegistry
	}
	if !p.wildcard {
		return ScopeOne
	}
	if s == nil || len(s.kind) == 0 {
		return ScopeRegistry
	}
	kind := s.kind[p.name.s]
	_, parent, hasParent := strings.Cut(p.name.s, ".")
	var above suffixKind // of the parent, whose children may all be suffixes
	if kind&suffixException == 0 {
		above = s.kind[parent]
	}
	switch {
	case kind&(suffixICANN|suffixChildren|suffixAbove) != 0, above&suffixChildren != 0:
		return ScopeRegistry
	case kind&(suffixPrivate|suffixChildrenPrivate|suffixAbovePrivate) != 0, above&suffixChildrenPrivate != 0, !hasParent:
		return ScopeShared
	default:
		return ScopeOne
	}
}
