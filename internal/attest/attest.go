// Package attest verifies the tokens by which AWS attests who calls: a JWT of
// sts:GetWebIdentityToken, signed by the issuer of an account.
//
// What it does: [Verify] takes the bytes of a token, what is trusted and the keys of its
// issuer, and returns the principal that the token names, or which check has failed. The
// order of the checks is that of Verify. A [Cache] remembers tokens that have held.
//
// What it does not do: it fetches no keys, reads no clock, knows no functions of the
// policy (package identity maps principals to them), and logs nothing. It is the one
// package that imports go-jose.
//
//	outcome := attest.Verify(token, trust, keys, time.Now())
//	if outcome.Result == attest.Verified { … outcome.Principal.ARN … }
package attest

import (
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// MaxToken is the length of the longest token that is looked at, in bytes.
const MaxToken = 8 << 10

// MaxLifetime is the longest life that STS gives a token; no Trust may ask for more.
const MaxLifetime = time.Hour

// Leeway is how far the issuer's clock may be ahead of ours when it has issued a token.
// The end of a token has none: a clock that is behind would make tokens live longer.
const Leeway = time.Minute

// The algorithms that STS signs with, as tokens name them (RFC 7518, section 3.1).
const (
	RS256 = "RS256" // RSA, PKCS #1 v1.5, SHA-256
	ES384 = "ES384" // ECDSA on P-384, SHA-384
)

// Trust is what a token has to agree with. It is not changed once it is in use. The zero
// Trust and a nil one trust nobody.
type Trust struct {
	Audience    string        // has to be among the token's
	Algorithms  []string      // that a token may be signed with: RS256, ES384; empty: none
	MaxLifetime time.Duration // of a token, from iat to exp; zero: none is short enough
	Accounts    []Account     // whose issuers are trusted; no two have the same ID or Issuer
}

// Account is an AWS account and the issuer of its tokens.
type Account struct {
	ID           string // twelve digits
	Issuer       string // the URL that the claim iss has, byte for byte
	Organization string // the claim org_id has to be this; "": any, or none
	Keys         *Keys  // of a file; nil: they are fetched from the issuer
}

// account returns the account of an issuer; nil: the issuer is not trusted.
func (t *Trust) account(issuer string) *Account {
	if t == nil || issuer == "" {
		return nil
	}
	i := slices.IndexFunc(t.Accounts, func(a Account) bool { return a.Issuer == issuer })
	if i < 0 {
		return nil
	}
	return &t.Accounts[i]
}

// Issues reports whether the issuer is trusted, and for that account.
func (t *Trust) Issues(issuer, account string) bool {
	a := t.account(issuer)
	return a != nil && a.ID == account
}

// same reports whether a token that has held by one holds by the other too, as far as
// keys have no say.
func (t *Trust) same(o *Trust) bool {
	if t == o {
		return true
	}
	return t != nil && o != nil && t.Audience == o.Audience && t.MaxLifetime == o.MaxLifetime &&
		slices.Equal(t.Algorithms, o.Algorithms) &&
		slices.EqualFunc(t.Accounts, o.Accounts, func(a, b Account) bool {
			return a.ID == b.ID && a.Issuer == b.Issuer && a.Organization == b.Organization
		})
}

// Principal is who a token that has held says calls. The zero Principal is nobody.
type Principal struct {
	ARN     string    // of the function, else of the role
	Role    string    // the ARN of the role whose credentials have asked for the token
	Account string    // twelve digits, the same in both and of the issuer
	Issuer  string    // the URL
	TokenID string    // the claim jti
	Expires time.Time // the first instant at which the token holds no more
}

// Outcome is what has become of a token. The zero Outcome refuses it.
type Outcome struct {
	Result Result
	// Principal is set where Result is Verified. Else it is zero but for Issuer, which
	// is that of a trusted issuer, or "".
	Principal Principal

	key *Key // by which it was verified
}

// failed returns an outcome that refuses, of a token of that issuer.
func failed(r Result, issuer string) Outcome {
	return Outcome{Result: r, Principal: Principal{Issuer: issuer}}
}

// Verify verifies a token, at a time. keys returns the keys of an issuer that the Trust
// has; nil: there are none. The order is: size and form; the header; the claims as JSON;
// the issuer; the key; the signature; audience and times; the account; the organization;
// the principal. Nothing behind the issuer costs anything for a token that names none of
// ours, and nothing of the claims but the issuer counts before the signature.
func Verify(raw string, t *Trust, keys func(issuer string) *Keys, now time.Time) Outcome {
	p, result := parse(raw)
	if result != Verified {
		return failed(result, "")
	}
	if t == nil || !slices.Contains(t.Algorithms, p.header.Algorithm) {
		return failed(BadAlgorithm, "")
	}
	account := t.account(p.claims.Issuer)
	if account == nil {
		return failed(UnknownIssuer, "")
	}
	set := keys(account.Issuer)
	if set == nil {
		return failed(NoKeys, account.Issuer)
	}
	key := set.Find(p.header.KeyID)
	switch {
	case key == nil:
		return failed(UnknownKey, account.Issuer)
	case key.algorithm != p.header.Algorithm:
		return failed(BadAlgorithm, account.Issuer)
	case !signed(raw, key):
		return failed(BadSignature, account.Issuer)
	}
	principal, result := p.claims.judge(t, account, now)
	if result != Verified {
		return failed(result, account.Issuer)
	}
	return Outcome{Result: Verified, Principal: principal, key: key}
}

// signed reports whether the key has signed the token. The algorithm is the key's, so
// that a header cannot choose how a key is used; whatever keys the header has or points
// at are not looked at.
func signed(raw string, key *Key) bool {
	s, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(key.algorithm)})
	if err != nil {
		return false
	}
	_, err = s.Verify(key.public)
	return err == nil
}
