package identity

import (
	"crypto/sha256"
	"crypto/x509"
	"slices"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/attest"
)

// Trust is what credentials hold by, beside the functions that list them. The zero Trust
// has no authorities, trusts no tokens of AWS, and denies nothing.
type Trust struct {
	Authorities *x509.CertPool // vouch for client certificates; nil: TLS has asked whoever there is
	AWS         *attest.Trust  // by what tokens of AWS hold; nil: none does
	// DenyPrincipals are ARNs that identify nobody any more, of functions or roles; a
	// star at the end stands for any rest.
	DenyPrincipals []string
	DenyTokens     []string // the jti of tokens that hold no more
}

// Attested is a token of AWS that a caller has shown, and nobody has verified.
type Attested struct {
	Claimed Credential    // the name that is claimed with it, if any; no secret
	Token   string        // the JWT
	Digest  attest.Digest // of the JWT
}

// maxAttested is the base64 of the longest function:JWT.
const maxAttested = (maxFunction + 1 + attest.MaxToken + 2) / 3 * 4

// ParseAttested finds a token of AWS in the value of a Proxy-Authorization header: behind
// the scheme Bearer (RFC 6750, section 2.1), or as a secret of the scheme Basic that is
// longer than any other secret may be; tokens of STS are. False: there is none, and
// ParseAuthorization has to say what it is. What is longer than a token may be is not
// decoded, and claims a token that nobody holds.
func ParseAttested(header string) (a Attested, ok bool) {
	if value, ok := schemeValue(header, "Bearer "); ok {
		a.Token = value
	} else if value, ok = schemeValue(header, "Basic "); !ok || len(value) <= maxEncoded {
		return Attested{}, false
	} else if len(value) <= maxAttested && !strings.ContainsAny(value, "\r\n") {
		plain, err := basic.DecodeString(value)
		name, secret, found := strings.Cut(string(plain), ":")
		if err == nil && found && ValidFunction(name) {
			a.Token = secret
			a.Claimed.size = uint8(copy(a.Claimed.function[:], name))
		}
	}
	a.Claimed.attested = true
	if len(a.Token) > attest.MaxToken {
		a.Token = ""
	}
	a.Digest = sha256.Sum256([]byte(a.Token))
	return a, true
}

// schemeValue returns what stands behind a scheme and its spaces; false: the scheme is
// another one.
func schemeValue(header, scheme string) (string, bool) {
	if len(header) < len(scheme) || !strings.EqualFold(header[:len(scheme)], scheme) {
		return "", false
	}
	return strings.TrimLeft(header[len(scheme):], " "), true
}

// AWS returns by what tokens of AWS hold; nil: none does.
func (t *Table) AWS() *attest.Trust {
	if t == nil {
		return nil
	}
	return t.attested.trust
}

// FunctionOf returns the function that a principal maps to, from wherever it may call;
// false: none has it, or it is denied.
func (t *Table) FunctionOf(p *attest.Principal) (name string, ok bool) {
	if t == nil {
		return "", false
	}
	f := t.attested.find(p)
	if f == nil {
		return "", false
	}
	return f.name, true
}

// attested finds functions by principals.
type attested struct {
	trust          *attest.Trust
	exact          map[string]*function
	prefixes       []prefix // the longest first
	denyPrincipals []string
	denyTokens     map[string]bool
}

// prefix is an ARN whose name has a star behind it.
type prefix struct {
	text string // all before the star
	of   *function
}

// newAttested returns what finds no function yet.
func newAttested(trust Trust) attested {
	a := attested{trust: trust.AWS, exact: map[string]*function{}, denyPrincipals: trust.DenyPrincipals, denyTokens: map[string]bool{}}
	for _, id := range trust.DenyTokens {
		a.denyTokens[id] = true
	}
	return a
}

// find returns the function of a principal that a verified token names: of an entry that
// is the ARN itself, else of the longest one with a star. Nil: no function has it, or its
// issuer is not trusted any more, or it is denied.
func (a *attested) find(p *attest.Principal) *function {
	if p == nil || !a.trust.Issues(p.Issuer, p.Account) || a.denies(p) {
		return nil
	}
	if f := a.exact[p.ARN]; f != nil {
		return f
	}
	for _, pre := range a.prefixes {
		if rest, ok := strings.CutPrefix(p.ARN, pre.text); ok && isName(rest) {
			return pre.of
		}
	}
	return nil
}

// isName reports whether it is the rest of a name: a star stands for no path.
func isName(rest string) bool { return strings.IndexByte(rest, '/') < 0 }

// denies reports whether the token, its function or its role is denied.
func (a *attested) denies(p *attest.Principal) bool {
	return a.denyTokens[p.TokenID] || slices.ContainsFunc(a.denyPrincipals, func(pattern string) bool {
		return matches(pattern, p.ARN) || matches(pattern, p.Role)
	})
}

// matches reports whether a text is the pattern, or begins as it does up to its star.
func matches(pattern, text string) bool {
	if start, starred := strings.CutSuffix(pattern, "*"); starred {
		return strings.HasPrefix(text, start)
	}
	return pattern == text
}

// registerPrincipal gives an ARN, or one with a star, to a function.
func (b *builder) registerPrincipal(f *function, index int, pattern string) {
	register(b, b.principals, f, MethodAWS, index, pattern, pattern)
	start, starred := strings.CutSuffix(pattern, "*")
	if !starred {
		b.attested.exact[pattern] = f
		return
	}
	b.attested.prefixes = append(b.attested.prefixes, prefix{start, f})
}

// sortPrefixes puts the longest first.
func (a *attested) sortPrefixes() {
	slices.SortStableFunc(a.prefixes, func(x, y prefix) int { return len(y.text) - len(x.text) })
}
