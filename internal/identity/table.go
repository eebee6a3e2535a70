package identity

import (
	"crypto/subtle"
	"crypto/x509"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/gaissmai/bart"
)

// Table tells callers apart. It is immutable and safe for concurrent use. A
// nil *Table identifies nobody.
type Table struct {
	functions    map[string]*function
	certificates map[string]*function
	sources      bart.Table[*function] // of those that nothing else identifies
	compares     int                   // tokens compared for each credential: the most that a function has
	attested     attested              // by tokens of AWS
	authorities  *x509.CertPool        // vouch for client certificates; nil: TLS has asked whoever there is
}

// function is one compiled Entry.
type function struct {
	name    string
	tokens  []Token
	sources []netip.Prefix // empty: anywhere
}

// Conflict is one caller that two functions claim.
type Conflict struct {
	Method Method // what both claim; MethodNone: the name of the function itself
	First  string // the function that has it
	Second string // the function that claims it again
	Index  int    // which of Second's tokens, certificates or sources it is
	Value  string // the certificate's name, the range, or the beginning of the token's hash
}

// String says it in one line.
func (c Conflict) String() string {
	if c.Method == MethodNone {
		return fmt.Sprintf("the function %s is there twice", c.Second)
	}
	return fmt.Sprintf("the %s %s identifies both %s and %s", c.Method, c.Value, c.First, c.Second)
}

// ConflictError is the error of New where two functions could claim the same
// caller.
type ConflictError struct {
	Conflicts []Conflict // at least one, in the order of the entries
}

// Error lists the conflicts.
func (e *ConflictError) Error() string {
	lines := make([]string, len(e.Conflicts))
	for i, c := range e.Conflicts {
		lines[i] = c.String()
	}
	return strings.Join(lines, "; ")
}

// New compiles a Table. It fails with a *ConflictError where two functions
// share a token, a certificate's name or, being identified by source alone, a
// range; one range within another is not a conflict, the longer prefix wins.
func New(entries []Entry) (*Table, error) { return NewTrusting(nil, entries) }

// NewTrusting is New with the authorities that vouch for client certificates, which a
// [Chain] asks again. Nil: nobody is asked again.
func NewTrusting(authorities *x509.CertPool, entries []Entry) (*Table, error) {
	return NewTable(Trust{Authorities: authorities}, entries)
}

// NewTable is New with all that credentials hold by. Of two functions that list the same
// ARN, or the same one with a star, the second is a conflict too.
func NewTable(trust Trust, entries []Entry) (*Table, error) {
	b := builder{
		Table: Table{
			functions:    make(map[string]*function, len(entries)),
			certificates: map[string]*function{},
			compares:     1,
			attested:     newAttested(trust),
			authorities:  trust.Authorities,
		},
		tokens:     map[Token]*function{},
		principals: map[string]*function{},
	}
	for _, e := range entries {
		if err := b.add(e); err != nil {
			return nil, fmt.Errorf("identifying %s: %w", e.Function, err)
		}
	}
	if len(b.conflicts) > 0 {
		return nil, &ConflictError{Conflicts: b.conflicts}
	}
	b.attested.sortPrefixes()
	return &b.Table, nil
}

// builder gathers a Table and the conflicts in it.
type builder struct {
	Table
	tokens     map[Token]*function
	principals map[string]*function // with their stars
	conflicts  []Conflict
}

// register gives key to f in m, or notes that another function has it. A function
// may claim the same thing twice.
func register[K comparable](b *builder, m map[K]*function, f *function, by Method, index int, key K, text string) {
	if first := m[key]; first == nil {
		m[key] = f
	} else {
		b.conflict(first, f, by, index, text)
	}
}

// registerSource is register for a range.
func (b *builder) registerSource(f *function, index int, p netip.Prefix) {
	if first, taken := b.sources.Get(p); !taken {
		b.sources.Insert(p, f)
	} else {
		b.conflict(first, f, MethodSource, index, p.String())
	}
}

// conflict notes that first has what f claims, unless they are one.
func (b *builder) conflict(first, f *function, by Method, index int, text string) {
	if first != f {
		b.conflicts = append(b.conflicts, Conflict{Method: by, First: first.name, Second: f.name, Index: index, Value: text})
	}
}

// canonicalPrefix unwraps an IPv4-mapped prefix, as callers' addresses are
// unwrapped, and clears the host bits.
func canonicalPrefix(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

// byToken returns the function that the credential claims if its token is one
// of that function's. It makes the same number of compares, which it returns,
// for every credential: of a function that has fewer tokens, or that there is
// not, the rest are made against a token that nobody has.
func (t *Table) byToken(c *Credential) (f *function, compares int) {
	var nothing Token
	var tokens []Token
	if f = t.functions[string(c.function[:c.size])]; f != nil {
		tokens = f.tokens
	}
	matches := 0
	for ; compares < t.compares; compares++ {
		token, real := &nothing, 0
		if compares < len(tokens) {
			token, real = &tokens[compares], 1
		}
		matches |= real & subtle.ConstantTimeCompare(token[:], c.token[:])
	}
	if matches == 0 {
		return nil, compares
	}
	return f, compares
}

// byCertificate returns the function that the names of a certificate
// identify, or nil where they identify none or more than one.
func (t *Table) byCertificate(names []string) *function {
	var found *function
	for _, name := range names {
		switch f := t.certificates[name]; {
		case f == nil || f == found:
		case found != nil:
			return nil
		default:
			found = f
		}
	}
	return found
}

// bySource returns the function of the longest range that has the address.
func (t *Table) bySource(a netip.Addr) (Identity, error) {
	if t == nil || !a.IsValid() {
		return Identity{}, ErrRequired
	}
	if f, ok := t.sources.Lookup(a); ok {
		return Identity{Function: f.name, Method: MethodSource}, nil
	}
	return Identity{}, ErrRequired
}

// mayCallFrom reports whether the function's credentials hold from that address.
func (f *function) mayCallFrom(a netip.Addr) bool {
	return len(f.sources) == 0 || slices.ContainsFunc(f.sources, func(p netip.Prefix) bool { return p.Contains(a) })
}
