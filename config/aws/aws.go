// Package aws reads what the policy file says of tokens by which AWS attests who calls:
// whose issuers are trusted, which ARNs a function has, and what is denied.
//
// What it does not do: it verifies no token (package attest does), fetches no keys, and
// does not know which function an ARN is of.
//
//	trust := aws.Read(r, n)
//	arn, ok := aws.Principal(r, item, trust)
package aws

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/attest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/yamlread"
)

// What holds where the file is silent about tokens of AWS.
const defaultMaxLifetime = 15 * time.Minute

// Bounds of texts about tokens of AWS.
const (
	maxAudience     = 1000 // as STS has it
	maxOrganization = 64
	maxTokenID      = 128
)

// reader reads the key aws.
type reader struct {
	*yamlread.Reader
	trust *attest.Trust
}

// Read reads by what tokens of AWS hold: the key aws. What is wrong is noted by the reader,
// and the Trust is then not to be used.
func Read(in *yamlread.Reader, n yamlread.Node) *attest.Trust {
	t := &attest.Trust{Algorithms: []string{attest.RS256}, MaxLifetime: defaultMaxLifetime}
	r := &reader{in, t}
	found := r.Object(n,
		yamlread.Key("audience", func(n yamlread.Node) { t.Audience = r.Text(n, maxAudience) }),
		yamlread.Key("algorithms", func(n yamlread.Node) { t.Algorithms = r.algorithms(n) }),
		yamlread.Key("max_lifetime", func(n yamlread.Node) { r.maxLifetime(n, &t.MaxLifetime) }),
		yamlread.Key("accounts", func(n yamlread.Node) {
			if r.Members(n, func(id string, n yamlread.Node) { r.account(id, n) }) && n.Len() == 0 {
				r.Fail(n, "there are none; write at least one account and its issuer")
			}
		}),
	)
	r.Require(n, found, "write both audience and accounts", "audience", "accounts")
	if at := found["audience"]; !at.IsZero() && t.Audience == "" {
		r.Fail(at, "it is empty; write what functions ask STS for, such as https://egress.example.internal")
	}
	return t
}

// algorithms reads the list of algorithms.
func (r *reader) algorithms(n yamlread.Node) (all []string) {
	r.List(n, func(item yamlread.Node) {
		word := []string{attest.RS256, attest.ES384}[max(r.Word(item, attest.RS256, attest.ES384), 0)]
		if !slices.Contains(all, word) {
			all = append(all, word)
		}
	})
	if n.Len() == 0 {
		r.Fail(n, "it is empty, and no token would hold; write [RS256]")
	}
	return all
}

// maxLifetime reads the longest life of a token.
func (r *reader) maxLifetime(n yamlread.Node, dst *time.Duration) {
	before := r.Problems()
	r.Duration(n, dst)
	if r.Problems() == before && (*dst < time.Minute || *dst > attest.MaxLifetime) {
		r.Fail(n, "%v is not a life of tokens; write 1m to 1h", *dst)
	}
}

// account reads an account that is trusted.
func (r *reader) account(id string, n yamlread.Node) {
	a := attest.Account{ID: id}
	if !attest.ValidAccount(id) {
		r.Fail(n, "%s is not the number of an account; write its twelve digits, in quotes", yamlread.Quote(id))
	}
	found := r.Object(n,
		yamlread.Key("issuer", func(n yamlread.Node) { a.Issuer = r.issuer(n) }),
		yamlread.Key("organization", func(n yamlread.Node) {
			if a.Organization = r.Text(n, maxOrganization); !strings.HasPrefix(a.Organization, "o-") {
				r.Fail(n, "%s is not the id of an organization; write one such as o-abc", yamlread.Quote(a.Organization))
			}
		}),
		yamlread.Key("keys", func(n yamlread.Node) { a.Keys = r.keys(n) }),
	)
	r.Require(n, found, "write the issuer, as IssuerIdentifier of the account has it", "issuer")
	r.trust.Accounts = append(r.trust.Accounts, a)
}

// issuer reads the URL of an issuer, as tokens have it. In the clear it may only be on
// this machine, where a stand-in for AWS is.
func (r *reader) issuer(n yamlread.Node) string {
	s := r.Text(n, maxAudience)
	switch {
	case !isIssuer(s):
		r.Fail(n, "%s is not an issuer; write one such as https://UUID.tokens.sts.global.api.aws, without a slash at its end", yamlread.Quote(s))
	case slices.ContainsFunc(r.trust.Accounts, func(a attest.Account) bool { return a.Issuer == s }):
		r.Fail(n, "another account has this issuer; write the one of this account")
	}
	return s
}

// isIssuer reports whether a text is the URL of an issuer: a scheme, a host and maybe a
// path, by https or on loopback.
func isIssuer(s string) bool {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || strings.ContainsAny(s, "?#") || strings.HasSuffix(s, "/") {
		return false
	}
	a, err := netip.ParseAddr(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && err == nil && a.IsLoopback()
}

// keys reads a file of keys.
func (r *reader) keys(n yamlread.Node) *attest.Keys {
	data, _, ok := r.File(n, attest.MaxKeys)
	if !ok {
		return nil
	}
	keys, err := attest.ParseKeys(data)
	if err != nil {
		r.Fail(n, "%v; write a file of the issuer's /.well-known/jwks.json", err)
	}
	return keys
}

// Principal reads the ARN of a Lambda function or a role that identifies a function.
// False: it is none, or of an account that is not trusted, which is noted.
func Principal(r *yamlread.Reader, n yamlread.Node, trust *attest.Trust) (string, bool) {
	s, ok := r.Scalar(n, "the ARN of a Lambda function or a role")
	if !ok {
		return "", false
	}
	a, _, ok := attest.ParsePattern(s)
	switch {
	case !ok:
		r.Fail(n, "%s is not the ARN of a Lambda function or a role; write one without version or alias, such as arn:aws:lambda:eu-west-1:111122223333:function:NAME; * stands only at the end of the name", yamlread.Quote(s))
	case trust == nil:
		r.Fail(n, "no token of AWS is trusted; write aws with its audience and accounts")
	case !slices.ContainsFunc(trust.Accounts, func(of attest.Account) bool { return of.ID == a.Account }):
		r.Fail(n, "its account %s is not under aws.accounts; write it there with its issuer", a.Account)
	default:
		return s, true
	}
	return "", false
}

// DenyPrincipals reads the ARNs that identify nobody any more.
func DenyPrincipals(r *yamlread.Reader, n yamlread.Node) (all []string) {
	r.List(n, func(item yamlread.Node) {
		s, ok := r.Scalar(item, "an ARN, which may end in *")
		if !ok {
			return
		}
		start := strings.TrimSuffix(s, "*")
		if !strings.HasPrefix(start, "arn:") || strings.ContainsAny(start, "* \t") || strings.HasSuffix(start, ":") && !strings.HasSuffix(s, "*") {
			r.Fail(item, "%s is not an ARN; write one such as arn:aws:lambda:eu-west-1:111122223333:function:NAME; * stands at its end alone", yamlread.Quote(s))
			return
		}
		all = append(all, s)
	})
	return all
}

// DenyTokens reads the ids of tokens that hold no more.
func DenyTokens(r *yamlread.Reader, n yamlread.Node) (all []string) {
	r.List(n, func(item yamlread.Node) {
		s, ok := r.Scalar(item, "the jti of a token")
		switch {
		case !ok:
		case s == "" || len(s) > maxTokenID || strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' }) || attest.LooksLikeToken(s):
			// It may be the token itself, which is not repeated.
			r.Fail(item, "it is not the jti of a token; write the token_id of a record")
		default:
			all = append(all, s)
		}
	})
	return all
}
