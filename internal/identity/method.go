package identity

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"slices"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/attest"
)

// Method is what identified a caller. What is particular to one of them stands in this
// file; the maps that find a caller stand in table.go.
type Method uint8

const (
	// MethodNone identified nobody. It is the zero value.
	MethodNone Method = iota
	// MethodCertificate is a verified client certificate, with a token or without.
	MethodCertificate
	// MethodToken is a token in Proxy-Authorization.
	MethodToken
	// MethodAWS is a token of AWS in Proxy-Authorization.
	MethodAWS
	// MethodSource is the caller's address alone.
	MethodSource
	methodCount
)

// methods are the words for each method.
var methods = [methodCount]struct {
	word       string // in records and reports
	key        string // of identify in the policy file
	credential bool   // the caller shows it; else it is where the request comes from
}{
	MethodCertificate: {"certificate", "certificates", true},
	MethodToken:       {"token", "tokens", true},
	MethodAWS:         {"aws", "aws", true},
	MethodSource:      {"source", "sources", false},
}

// Methods returns every method, in the order in which they are tried, without MethodNone.
func Methods() []Method {
	var all []Method
	for m := MethodNone + 1; m < methodCount; m++ {
		all = append(all, m)
	}
	return all
}

// String returns the word that records use: certificate, token, aws or source. It
// is "" for MethodNone and for every unknown value.
func (m Method) String() string {
	if m >= methodCount {
		return ""
	}
	return methods[m].word
}

// Key returns the key of a function's identify in the policy file that lists what
// identifies it; "" for MethodNone and for every unknown value.
func (m Method) Key() string {
	if m >= methodCount {
		return ""
	}
	return methods[m].key
}

// IsCredential reports whether the caller shows what identifies it. A source is not
// shown: it is where the request comes from.
func (m Method) IsCredential() bool { return m < methodCount && methods[m].credential }

// Entry says how one function is identified.
type Entry struct {
	Function     string         // its name, one that ValidFunction accepts
	Tokens       []Token        // any of them; empty: not by token
	Certificates []string       // any of the names; empty: not by certificate
	AWS          []string       // ARNs of functions and roles, of which the name may end in a star; empty: not by AWS
	Sources      []netip.Prefix // beside credentials: where they hold; alone: what identifies; empty: anywhere
}

// Caller is what is known of a connection or request. The zero Caller shows
// nothing and comes from nowhere: it is nobody.
type Caller struct {
	// Credential is the one that was shown; zero: none was.
	Credential Credential
	// BadCredential tells that a Proxy-Authorization was shown that did not
	// parse, or that there was more than one. It is always rejected.
	BadCredential bool
	// Certificate holds the names of the verified client certificate, as
	// CertificateNames returns them. Nil: no certificate was shown. Not nil
	// and empty: one was that has no name, which is rejected.
	Certificate []string
	// Chain is what the names of Certificate are of. Identify does not ask whether it
	// holds: that may change while a connection is open. Nil: there is nothing to ask.
	Chain *Chain
	// Principal is whom the token of AWS names that Credential stands for. Nil: none was
	// shown, or it does not hold. A token that has ended may have held: who asks for
	// something new has to verify it again.
	Principal *attest.Principal
	// Source is the address the caller comes from, of the PROXY header where
	// there is one. An IPv4-mapped address is unwrapped. Zero: unknown, which
	// lies in no range.
	Source netip.Addr
}

// Identify tells which function calls: by its certificate, else by its token or that of
// AWS, else by its source, the longest prefix first. A function that lists
// credentials and sources is found by the credential alone, and only from
// those sources. It returns ErrRequired or ErrRejected, on a nil Table always,
// and does not allocate.
func (t *Table) Identify(c Caller) (Identity, error) {
	source := c.Source.Unmap().WithZone("")
	if c.Certificate == nil && !c.BadCredential && !c.Credential.IsSet() {
		return t.bySource(source)
	}
	if t == nil || c.BadCredential {
		return Identity{}, ErrRejected
	}
	f, by := t.byCredentials(&c)
	if f == nil || !f.mayCallFrom(source) {
		return Identity{}, ErrRejected
	}
	return Identity{Function: f.name, Method: by}, nil
}

// byCredentials finds the one function that everything shown stands for; nil where
// something does not hold or stands for another.
func (t *Table) byCredentials(c *Caller) (f *function, by Method) {
	if c.Credential.IsSet() {
		if f, by = t.byShown(c); f == nil {
			return nil, MethodNone
		}
	}
	if c.Certificate != nil {
		named := t.byCertificate(c.Certificate)
		if named == nil || f != nil && f != named {
			return nil, MethodNone
		}
		f, by = named, MethodCertificate
	}
	return f, by
}

// byShown finds the function by the one credential of the header.
func (t *Table) byShown(c *Caller) (*function, Method) {
	if !c.Credential.attested {
		f, _ := t.byToken(&c.Credential)
		return f, MethodToken
	}
	f := t.attested.find(c.Principal)
	if f == nil || c.Credential.size != 0 && f.name != c.Credential.String() {
		return nil, MethodNone
	}
	return f, MethodAWS
}

// add adds one entry.
func (b *builder) add(e Entry) error {
	f := &function{name: e.Function, tokens: slices.Clone(e.Tokens)}
	register(b, b.functions, f, MethodNone, 0, e.Function, e.Function)
	b.compares = max(b.compares, len(f.tokens))
	for i, t := range e.Tokens {
		register(b, b.tokens, f, MethodToken, i, t, "sha256:"+hex.EncodeToString(t[:4])+"…")
	}
	for i, name := range e.Certificates {
		register(b, b.certificates, f, MethodCertificate, i, canonicalName(name), name)
	}
	for i, arn := range e.AWS {
		b.registerPrincipal(f, i, arn)
	}
	sourceOnly := len(e.Tokens)+len(e.Certificates)+len(e.AWS) == 0
	for i, p := range e.Sources {
		if !p.IsValid() {
			return errors.New("a source is not a range")
		}
		p = canonicalPrefix(p)
		f.sources = append(f.sources, p)
		if sourceOnly {
			b.registerSource(f, i, p)
		}
	}
	return nil
}
