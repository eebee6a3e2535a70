package aws_test

import (
	"errors"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config/aws"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/attest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/yamlread"
)

// read is what a document says, as far as tokens of AWS are concerned.
type read struct {
	trust                *attest.Trust
	principals           []string
	denied, deniedTokens []string
}

// parse reads a document that has the keys of this package and no others.
func parse(data []byte, keys []byte) (out read, err error) {
	r := yamlread.New("egress.yaml", func(path string) ([]byte, error) {
		if path != "jwks.json" {
			return nil, os.ErrNotExist
		}
		return keys, nil
	})
	root, ok := r.Document(data, yamlread.Hints{})
	if !ok {
		return out, r.Err()
	}
	r.Object(root,
		yamlread.Key("aws", func(n yamlread.Node) { out.trust = aws.Read(r, n) }),
		yamlread.Key("deny_principals", func(n yamlread.Node) { out.denied = aws.DenyPrincipals(r, n) }),
		yamlread.Key("deny_tokens", func(n yamlread.Node) { out.deniedTokens = aws.DenyTokens(r, n) }),
		yamlread.Key("identify", func(n yamlread.Node) {
			r.List(n, func(item yamlread.Node) {
				if arn, ok := aws.Principal(r, item, out.trust); ok {
					out.principals = append(out.principals, arn)
				}
			})
		}),
	)
	return out, r.Err()
}

// good is a document that is read without an error.
const good = `aws:
  audience: https://egress.example.internal
  algorithms: [RS256, ES384]
  max_lifetime: 15m
  accounts:
    "111122223333": {issuer: https://a.example, organization: o-abc, keys: jwks.json}
    "444455556666": {issuer: "http://127.0.0.1:8080"}
identify: ["arn:aws:lambda:eu-west-1:111122223333:function:b*", "arn:aws:iam::444455556666:role/team/task"]
deny_principals: ["arn:aws:iam::444455556666:*"]
deny_tokens: [abc]
`

// FuzzRead takes nothing that would trust more than is written: what is read without an error
// has an audience, an algorithm of ours, a life within that of STS, accounts by their numbers
// with an issuer each, by https but on this machine, and ARNs of those accounts. What is wrong
// with a token is told without it.
func FuzzRead(f *testing.F) {
	keys, err := os.ReadFile("../testdata/good/jwks.json")
	if err != nil {
		f.Fatal(err)
	}
	if _, err := parse([]byte(good), keys); err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(good), keys)
	for _, change := range [][2]string{
		{"15m", "61m"}, {"15m", "-1m"}, {"[RS256, ES384]", "[]"}, {"RS256", "none"}, {"https://a.example", "http://a.example"}, {"http://127.0.0.1:8080", "https://a.example"},
		{`"111122223333"`, "111122223333"}, {"b*", "*b"}, {"[abc]", "[eyJhbGciOiJub25lIn0.eyJhIjoxfQ.x]"}, {"audience: https://egress.example.internal", `audience: ""`}, {"o-abc", "abc"}, {"444455556666:role/team/task", "777788889999:role/team/task"},
	} {
		f.Add([]byte(strings.Replace(good, change[0], change[1], 1)), keys)
	}
	f.Add([]byte(good), []byte("<html>"))
	f.Fuzz(func(t *testing.T, data, keys []byte) {
		out, err := parse(data, keys)
		var problems *yamlread.Error
		switch {
		case err != nil && !errors.As(err, &problems):
			t.Fatalf("%v", err)
		case err != nil && strings.Contains(err.Error(), "eyJhbGciOiJub25lIn0.eyJhIjoxfQ.x"):
			t.Fatalf("a token is repeated: %v", err)
		case err != nil:
			return
		}
		for _, id := range out.deniedTokens {
			if id == "" || attest.LooksLikeToken(id) {
				t.Fatalf("%q is denied as the id of a token", id)
			}
		}
		if out.trust != nil {
			trusts(t, out.trust)
		}
		for _, arn := range out.principals {
			a, _, ok := attest.ParsePattern(arn)
			if !ok || out.trust == nil || !slices.ContainsFunc(out.trust.Accounts, func(of attest.Account) bool { return of.ID == a.Account }) {
				t.Fatalf("%q identifies somebody", arn)
			}
		}
	})
}

// trusts checks what is trusted by a document without an error.
func trusts(t *testing.T, trust *attest.Trust) {
	t.Helper()
	issuers := map[string]bool{}
	if trust.Audience == "" || trust.MaxLifetime < time.Minute || trust.MaxLifetime > time.Hour || len(trust.Algorithms) == 0 || len(trust.Accounts) == 0 {
		t.Fatalf("%+v", trust)
	}
	for _, algorithm := range trust.Algorithms {
		if algorithm != attest.RS256 && algorithm != attest.ES384 {
			t.Fatalf("algorithm %q", algorithm)
		}
	}
	for _, a := range trust.Accounts {
		u, err := url.Parse(a.Issuer)
		if err != nil || u.Scheme != "https" && !(u.Scheme == "http" && (strings.HasPrefix(u.Host, "127.") || strings.HasPrefix(u.Host, "["))) || !attest.ValidAccount(a.ID) || issuers[a.Issuer] {
			t.Fatalf("%+v", a)
		}
		issuers[a.Issuer] = true
	}
}
