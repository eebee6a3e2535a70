package identity

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/attest"
)

const (
	lambdas = "arn:aws:lambda:eu-west-1:111122223333:function:"
	roles   = "arn:aws:iam::111122223333:role/"
	issuer  = "https://ours.example"
)

// aws is what the tables of these tests trust.
var aws = &attest.Trust{Accounts: []attest.Account{{ID: "111122223333", Issuer: issuer}, {ID: "999988887777", Issuer: "https://theirs.example"}}}

// attestedTable is a table with entries of every form.
func attestedTable(t *testing.T, trust Trust) *Table {
	t.Helper()
	table, err := NewTable(trust, []Entry{
		{Function: "any", AWS: []string{lambdas + "*"}},
		{Function: "bill", AWS: []string{lambdas + "bill*"}},
		{Function: "billing", AWS: []string{lambdas + "billing"}, Tokens: []Token{token("old")}},
		{Function: "bound", AWS: []string{lambdas + "bound"}, Sources: ranges("10.1.0.0/16")},
		{Function: "task", AWS: []string{roles + "team/task*"}, Certificates: []string{"task.internal"}},
		{Function: "source", Sources: ranges("10.0.0.0/8")},
	})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// named is the principal of a verified token.
func named(arn string) *attest.Principal {
	return &attest.Principal{ARN: arn, Role: roles + "service/x", Account: "111122223333", Issuer: issuer, TokenID: "id-1", Expires: time.Unix(1, 0)}
}

// bearer is the credential of a token of AWS, with the name that is claimed by Basic.
func bearer(t *testing.T, claimed string) Credential {
	t.Helper()
	h := "Bearer x.y.z"
	if claimed != "" {
		h = header(claimed + ":" + strings.Repeat("j", 600))
	}
	a, ok := ParseAttested(h)
	if !ok || !a.Claimed.IsSet() {
		t.Fatalf("%.20s: no token", h)
	}
	return a.Claimed
}

func TestPrincipalOfATokenNamesItsFunction(t *testing.T) {
	table := attestedTable(t, Trust{AWS: aws})
	foreign, swapped := named(lambdas+"billing"), named(lambdas+"billing")
	foreign.Issuer = "https://stranger.example"
	swapped.Issuer = "https://theirs.example"
	for _, row := range []struct {
		sentence  string
		principal *attest.Principal
		claimed   string
		names     []string
		source    string
		want      Identity
	}{
		{"the entry itself", named(lambdas + "billing"), "", nil, "", Identity{"billing", MethodAWS}},
		{"else the longest with a star", named(lambdas + "billing-2"), "", nil, "", Identity{"bill", MethodAWS}},
		{"else a shorter one", named(lambdas + "mail"), "", nil, "", Identity{"any", MethodAWS}},
		{"another account", named("arn:aws:lambda:eu-west-1:222222222222:function:billing"), "", nil, "", Identity{}},
		{"another region", named("arn:aws:lambda:us-east-1:111122223333:function:billing"), "", nil, "", Identity{}},
		{"another partition", named("arn:aws-cn:lambda:eu-west-1:111122223333:function:billing"), "", nil, "", Identity{}},
		{"a role", named(roles + "team/task-7"), "", nil, "", Identity{"task", MethodAWS}},
		{"a star is no path", named(roles + "team/task/evil"), "", nil, "", Identity{}},
		{"another path", named(roles + "task"), "", nil, "", Identity{}},
		{"the name that is claimed", named(lambdas + "billing"), "billing", nil, "", Identity{"billing", MethodAWS}},
		{"another function's name", named(lambdas + "billing"), "bill", nil, "", Identity{}},
		{"no function's name", named(lambdas + "billing"), "nobody", nil, "", Identity{}},
		{"a token that was not verified", nil, "", nil, "", Identity{}},
		{"the same, from a good source", nil, "", nil, "10.0.0.1", Identity{}},
		{"the same, with a good certificate", nil, "", []string{"task.internal"}, "", Identity{}},
		{"the same, with a name", nil, "billing", nil, "", Identity{}},
		{"an issuer that is not trusted", foreign, "", nil, "", Identity{}},
		{"an issuer of another account", swapped, "", nil, "", Identity{}},
		{"from one of its sources", named(lambdas + "bound"), "", nil, "10.1.2.3", Identity{"bound", MethodAWS}},
		{"from elsewhere", named(lambdas + "bound"), "", nil, "10.2.2.3", Identity{}},
		{"with the function's certificate", named(roles + "team/task"), "", []string{"task.internal"}, "", Identity{"task", MethodCertificate}},
		{"with another function's", named(lambdas + "billing"), "", []string{"task.internal"}, "", Identity{}},
	} {
		c := Caller{Credential: bearer(t, row.claimed), Principal: row.principal, Certificate: row.names}
		if row.source != "" {
			c.Source = netip.MustParseAddr(row.source)
		}
		got, err := table.Identify(c)
		if got != row.want || (err == nil) != (row.want != Identity{}) || err != nil && !errors.Is(err, ErrRejected) {
			t.Errorf("%s: %+v, %v; want %+v", row.sentence, got, err, row.want)
		}
	}
	if id, err := table.Identify(Caller{Credential: shown(t, "billing:old"), Principal: named(lambdas + "mail")}); err != nil || id != (Identity{"billing", MethodToken}) {
		t.Errorf("its token, while it moves: %+v, %v", id, err)
	}
	if id, err := table.Identify(Caller{Source: netip.MustParseAddr("10.1.2.3")}); err != nil || id.Function != "source" {
		t.Errorf("nothing, from the sources of a function that shows tokens: %+v, %v", id, err)
	}
}

// What is denied, or trusted no more, identifies nobody: by a new load too, which is how
// what is open ends.
func TestDeniedPrincipalsAndTokensIdentifyNobody(t *testing.T) {
	caller := Caller{Credential: bearer(t, ""), Principal: named(lambdas + "billing")}
	for _, row := range []struct {
		why   string
		trust Trust
		want  bool
	}{
		{"nothing denied", Trust{AWS: aws}, true},
		{"others denied", Trust{AWS: aws, DenyPrincipals: []string{lambdas + "bill", lambdas + "other*"}, DenyTokens: []string{"id-2", "id"}}, true},
		{"its token", Trust{AWS: aws, DenyTokens: []string{"id-2", "id-1"}}, false},
		{"its function", Trust{AWS: aws, DenyPrincipals: []string{lambdas + "billing"}}, false},
		{"all that begin so", Trust{AWS: aws, DenyPrincipals: []string{lambdas + "bil*"}}, false},
		{"its account", Trust{AWS: aws, DenyPrincipals: []string{"arn:aws:lambda:eu-west-1:111122223333:*"}}, false},
		{"its role", Trust{AWS: aws, DenyPrincipals: []string{roles + "service/*"}}, false},
		{"no token of AWS trusted", Trust{}, false},
	} {
		if _, err := attestedTable(t, row.trust).Identify(caller); (err == nil) != row.want {
			t.Errorf("%s: %v", row.why, err)
		}
	}
}

func TestPrincipalOfTwoFunctionsIsAConflict(t *testing.T) {
	_, err := NewTable(Trust{AWS: aws}, []Entry{
		{Function: "a", AWS: []string{lambdas + "x", lambdas + "y*"}},
		{Function: "b", AWS: []string{lambdas + "z", lambdas + "y*", lambdas + "y"}},
		{Function: "c", AWS: []string{lambdas + "x"}},
	})
	var conflict *ConflictError
	if !errors.As(err, &conflict) {
		t.Fatal(err)
	}
	want := []Conflict{{MethodAWS, "a", "b", 1, lambdas + "y*"}, {MethodAWS, "a", "c", 0, lambdas + "x"}}
	if !slices.Equal(conflict.Conflicts, want) {
		t.Errorf("%+v, want %+v", conflict.Conflicts, want)
	}
}

// FuzzParseAttested finds no token but the one that stands in the header, behind the name
// that is claimed with it, and leaves nothing to others that is Bearer.
func FuzzParseAttested(f *testing.F) {
	for _, seed := range []string{"", "Bearer", "Bearer ", "bearer  a.b.c", header("billing:" + strings.Repeat("j", 600)), header(":" + strings.Repeat("j", 600)), "Basic " + strings.Repeat("=", 900), "Digest x", "Bearer " + strings.Repeat("j", 8193), header("a b:" + strings.Repeat("j", 600))} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, h string) {
		a, ok := ParseAttested(h)
		bearer := len(h) >= 7 && strings.EqualFold(h[:7], "bearer ")
		switch {
		case ok != a.Claimed.IsSet(), bearer && !ok, !ok && (a.Token != "" || a.Claimed.String() != ""):
			t.Fatalf("%q: %v, %q, %q", h, ok, a.Claimed.String(), a.Token)
		case len(a.Token) > attest.MaxToken, ok && a.Digest != sha256.Sum256([]byte(a.Token)):
			t.Fatalf("%q: a token of %d bytes, or another digest", h, len(a.Token))
		case a.Token == "":
			return
		}
		name := a.Claimed.String()
		if bearer && (name != "" || !strings.HasSuffix(h, a.Token)) {
			t.Fatalf("%q: Bearer of %q, %q", h, name, a.Token)
		}
		if !bearer && (!ValidFunction(name) || !strings.HasSuffix(h, base64.StdEncoding.EncodeToString([]byte(name+":"+a.Token)))) {
			t.Fatalf("%q: Basic of %q, %q", h, name, a.Token)
		}
	})
}

func TestTokenOfAWSIsFoundInItsHeader(t *testing.T) {
	jwt := strings.Repeat("j", 1400)
	for _, row := range []struct {
		sentence, header string
		found            bool
		claimed, token   string
	}{
		{"Bearer", "Bearer " + jwt, true, "", jwt},
		{"in any case, and with spaces", "bEARER   " + jwt, true, "", jwt},
		{"Bearer that is empty", "Bearer ", true, "", ""},
		{"Bearer of 8 KiB", "Bearer " + strings.Repeat("j", 8192), true, "", strings.Repeat("j", 8192)},
		{"and of a byte more", "Bearer " + strings.Repeat("j", 8193), true, "", ""},
		{"Basic", header("billing:" + jwt), true, "billing", jwt},
		{"Basic of 8 KiB, with the longest name", header(strings.Repeat("f", 64) + ":" + strings.Repeat("j", 8192)), true, strings.Repeat("f", 64), strings.Repeat("j", 8192)},
		{"Basic of a byte more", header("b:" + strings.Repeat("j", 8193)), true, "b", ""},
		{"Basic of a megabyte", header("b:" + strings.Repeat("j", 1<<20)), true, "", ""},
		{"Basic without a name", header(":" + jwt), true, "", ""},
		{"Basic of a name that is none", header("a b:" + jwt), true, "", ""},
		{"Basic without a colon", header(jwt), true, "", ""},
		{"Basic that is not padded", strings.TrimRight(header("ab:"+jwt), "="), true, "", ""},
		{"Basic with a line end", header("b:" + jwt)[:60] + "\r\n" + header("b:" + jwt)[60:], true, "", ""},
		{"a token of the file", header("billing:s3cret"), false, "", ""},
		{"the longest of them", header(strings.Repeat("f", 64) + ":" + strings.Repeat("s", 512)), false, "", ""},
		{"another scheme", "Digest " + jwt, false, "", ""},
		{"no scheme", jwt, false, "", ""},
		{"nothing", "", false, "", ""},
	} {
		a, ok := ParseAttested(row.header)
		if ok != row.found || a.Claimed.String() != row.claimed || a.Token != row.token || a.Claimed.IsSet() != row.found {
			t.Errorf("%s: %v, %q, token of %d bytes", row.sentence, ok, a.Claimed.String(), len(a.Token))
		}
	}
	if base64.StdEncoding.EncodedLen(64+1+attest.MaxToken) != maxAttested {
		t.Error("the longest credential is of another length")
	}
}
