package attest

import (
	stdjson "encoding/json"
	"slices"
	"strconv"
	"time"

	"github.com/go-jose/go-jose/v4/json"
)

// maxTokenID bounds the claim jti, which every record carries.
const maxTokenID = 128

// claims are what is read of a token. What the caller itself has put in, its
// request_tags above all, is not.
type claims struct {
	Issuer   string             `json:"iss"`
	Subject  string             `json:"sub"`
	Audience stdjson.RawMessage `json:"aud"` // a string, or a list of them (RFC 7519, section 4.1.3)
	Expires  stdjson.RawMessage `json:"exp"`
	Issued   stdjson.RawMessage `json:"iat"`
	ID       string             `json:"jti"`
	AWS      awsClaims          `json:"https://sts.amazonaws.com/"`
}

// awsClaims are those that STS makes.
type awsClaims struct {
	Account      string             `json:"aws_account"`
	Organization string             `json:"org_id"`
	Function     stdjson.RawMessage `json:"lambda_source_function_arn"` // absent: the token is of no function
}

// judge says whether claims that the issuer of the account has signed hold.
func (c *claims) judge(t *Trust, a *Account, now time.Time) (Principal, Result) {
	if t.Audience == "" || !slices.Contains(c.audiences(), t.Audience) {
		return Principal{}, WrongAudience
	}
	expires, r := c.times(t, now)
	if r != Verified {
		return Principal{}, r
	}
	if c.ID == "" || len(c.ID) > maxTokenID || !printable(c.ID) {
		return Principal{}, Malformed // without one the token could not be denied
	}
	p := Principal{Issuer: a.Issuer, Account: a.ID, Role: c.Subject, TokenID: c.ID, Expires: expires}
	p.ARN, r = c.principal(a)
	switch {
	case r != Verified:
		return Principal{}, r
	case a.Organization != "" && c.AWS.Organization != a.Organization:
		return Principal{}, WrongOrganization
	}
	return p, Verified
}

// principal returns the ARN that the claims name: of the function, where there is one, else
// of the role. All that they say of an account has to be the one of the issuer.
func (c *claims) principal(a *Account) (arn string, r Result) {
	arn = c.Subject
	role, ok := ParseARN(c.Subject)
	principal := role
	switch {
	case !ok || role.Function:
		return "", NoPrincipal
	case len(c.AWS.Function) > 0:
		if json.Unmarshal(c.AWS.Function, &arn) != nil {
			return "", NoPrincipal
		}
		if principal, ok = ParseARN(arn); !ok || !principal.Function {
			return "", NoPrincipal
		}
	}
	if c.AWS.Account != a.ID || principal.Account != a.ID || role.Account != a.ID {
		return "", WrongAccount
	}
	return arn, Verified
}

// audiences returns whom the token is for.
func (c *claims) audiences() []string {
	var one string
	if json.Unmarshal(c.Audience, &one) == nil {
		return []string{one}
	}
	var list []string
	if json.Unmarshal(c.Audience, &list) != nil {
		return nil
	}
	return list
}

// times judges the times of a token and returns its end.
func (c *claims) times(t *Trust, now time.Time) (end time.Time, r Result) {
	exp, ok := seconds(c.Expires)
	iat, also := seconds(c.Issued)
	if !ok || !also {
		return end, Malformed
	}
	end, issued := time.Unix(exp, 0), time.Unix(iat, 0)
	switch {
	case !now.Before(end):
		return end, Expired
	case issued.After(now.Add(Leeway)):
		return end, NotYetIssued
	case exp <= iat, end.Sub(issued) > t.MaxLifetime:
		return end, TooLong
	}
	return end, Verified
}

// seconds reads a NumericDate (RFC 7519, section 2) as STS writes it: a whole number of
// seconds, without sign, fraction or exponent, and before the year 5000.
func seconds(raw []byte) (int64, bool) {
	if len(raw) == 0 || len(raw) > 11 || raw[0] == '0' {
		return 0, false
	}
	for _, b := range raw {
		if b < '0' || b > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	return n, err == nil
}

// printable reports whether a text is of ASCII that prints, without spaces.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
