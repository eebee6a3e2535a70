package gate_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/attest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/gate"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/httphead"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

const billingARN = "arn:aws:lambda:eu-west-1:111122223333:function:billing"

// attestedBy returns a table in which billing is identified by AWS.
func attestedBy(t *testing.T, trust identity.Trust) *identity.Table {
	t.Helper()
	table, err := identity.NewTable(trust, []identity.Entry{{Function: "billing", AWS: []string{billingARN}}})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// trusted trusts one issuer.
var trusted = identity.Trust{AWS: &attest.Trust{Accounts: []attest.Account{{ID: "111122223333", Issuer: "https://issuer.example"}}}}

// principal is whom a token names that has held for five minutes.
func principal() *attest.Principal {
	return &attest.Principal{ARN: billingARN, Account: "111122223333", Issuer: "https://issuer.example", TokenID: "id-1", Expires: now.Add(5 * time.Minute)}
}

// shows begins a decision about a CONNECT that shows these credentials.
func shows(t *testing.T, table *identity.Table, values ...string) *gate.Decision {
	t.Helper()
	d := &gate.Decision{Identities: table}
	d.Policy, _ = sample(t)
	d.Begin(gate.Connect, &httphead.Head{Method: "CONNECT", Target: "any.test:443", Minor: 1, Authorization: values}, now)
	return d
}

// long is a credential by Basic with a secret that is longer than a token of the file.
func long(function string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(function+":"+strings.Repeat("j", 600)))
}

func TestTokenOfAWSIsVerifiedBeforeItIdentifies(t *testing.T) {
	t.Parallel()
	stranger := principal()
	stranger.ARN = "arn:aws:lambda:eu-west-1:111122223333:function:other"
	for _, row := range []struct {
		why    string
		values []string
		trust  identity.Trust
		given  *attest.Principal
		needs  string
		asked  bool
	}{
		{"Bearer", []string{"Bearer x.y.z"}, trusted, principal(), "slot", true},
		{"Basic with the function's name", []string{long("billing")}, trusted, principal(), "slot", true},
		{"Basic with another name", []string{long("nightly")}, trusted, principal(), "failure", true},
		{"a token that does not hold", []string{"Bearer x.y.z"}, trusted, nil, "failure", true},
		{"one that maps to nobody", []string{"Bearer x.y.z"}, trusted, stranger, "failure", true},
		{"two fields, with a good one", []string{"Bearer x.y.z", "Bearer x.y.z"}, trusted, principal(), "failure", false},
		{"one that is too long", []string{"Bearer " + strings.Repeat("j", 8193)}, trusted, principal(), "failure", false},
		{"Bearer where no token of AWS is trusted", []string{"Bearer x.y.z"}, identity.Trust{}, principal(), "failure", false},
	} {
		d := shows(t, attestedBy(t, row.trust), row.values...)
		need := d.Next()
		if (need == gate.Token) != row.asked {
			t.Errorf("%s: need %s", row.why, names[need])
		}
		if need == gate.Token {
			if d.Attested == nil || d.Attested.Token == "" {
				t.Errorf("%s: nothing to verify", row.why)
			}
			d.GivePrincipal(row.given)
			need = d.Next()
		}
		if names[need] != row.needs {
			t.Errorf("%s: need %s, want %s", row.why, names[need], row.needs)
		}
		if need == gate.Slot && (d.Event.Via != "aws" || d.Event.Principal != billingARN || d.Event.TokenID != "id-1" || d.Event.Function != "billing") {
			t.Errorf("%s: the record would have %+v", row.why, d.Event)
		}
	}
}

// A driver that brings nothing, or a reason, refuses.
func TestTokenThatIsNotVerifiedIsRefused(t *testing.T) {
	t.Parallel()
	for given, want := range map[verdict.Reason]verdict.Reason{
		verdict.ReasonNone: verdict.ReasonIdentityRejected, verdict.ReasonKeysUnavailable: verdict.ReasonKeysUnavailable,
	} {
		d := shows(t, attestedBy(t, trusted), "Bearer x.y.z")
		d.Next()
		if d.Give(given); d.Next() != gate.Refused || d.Reason != want {
			t.Errorf("given %q: reason %q", given, d.Reason)
		}
	}
	d := shows(t, attestedBy(t, trusted))
	if d.GivePrincipal(principal()); d.Next() != gate.Refused {
		t.Error("a principal that nobody has asked for goes on")
	}
}

// A reload maps what is open again, without its token: the end of that does not end it,
// and a table that no longer maps it does.
func TestWhatIsOpenByATokenIsMappedAgain(t *testing.T) {
	t.Parallel()
	d := shows(t, attestedBy(t, trusted), "Bearer x.y.z")
	d.Next()
	d.GivePrincipal(principal())
	if got := walk(d, nil, nil, gate.Refused); got[len(got)-1] != "tunnel" {
		t.Fatalf("%v", got)
	}
	d.Event.Dialed = netip.MustParseAddrPort("1.1.1.1:443")
	p, _ := sample(t)
	other, moved := trusted, trusted
	moved.AWS = &attest.Trust{Accounts: []attest.Account{{ID: "111122223333", Issuer: "https://other.example"}}}
	other.DenyTokens = []string{"id-2"}
	byToken, byARN := trusted, trusted
	byToken.DenyTokens, byARN.DenyPrincipals = []string{"id-1"}, []string{billingARN[:len(billingARN)-3] + "*"}
	for _, row := range []struct {
		why   string
		table *identity.Table
		want  bool
	}{
		{"the same", attestedBy(t, trusted), true},
		{"another token denied", attestedBy(t, other), true},
		{"its token denied", attestedBy(t, byToken), false},
		{"its ARN denied", attestedBy(t, byARN), false},
		{"another issuer of the account", attestedBy(t, moved), false},
		{"no token of AWS trusted", attestedBy(t, identity.Trust{}), false},
		{"nothing", nil, false},
	} {
		for _, at := range []time.Time{now, now.Add(time.Hour)} {
			if got := d.StillAllowed(p, row.table, at); got != row.want {
				t.Errorf("%s, at %v: %v", row.why, at.Sub(now), got)
			}
		}
	}
}

// What identifies by other means costs no allocation more where AWS attests others.
func TestTokenOfTheFileCostsNoAllocation(t *testing.T) {
	for why, trust := range map[string]identity.Trust{"without AWS": {}, "beside AWS": trusted} {
		own, err := identity.NewTable(trust, []identity.Entry{{Function: "billing", Tokens: []identity.Token{sha256.Sum256([]byte("s3cret"))}}})
		if err != nil {
			t.Fatal(err)
		}
		d := shows(t, own, "Basic "+base64.StdEncoding.EncodeToString([]byte("billing:s3cret")))
		head, policy, table := d.Head, d.Policy, d.Identities
		if n := testing.AllocsPerRun(100, func() {
			*d = gate.Decision{Policy: policy, Identities: table}
			d.Begin(gate.Connect, head, now)
			if d.Next() != gate.Slot {
				t.Fatal("the token does not hold")
			}
		}); n != baseline(d, head) {
			t.Errorf("%s: %v allocations, without a credential %v", why, n, baseline(d, head))
		}
	}
}

// baseline is what a decision costs whose head shows nothing.
func baseline(d *gate.Decision, head *httphead.Head) float64 {
	bare, policy, table := *head, d.Policy, d.Identities
	bare.Authorization = nil
	return testing.AllocsPerRun(100, func() {
		*d = gate.Decision{Policy: policy, Identities: table}
		d.Begin(gate.Connect, &bare, now)
		d.Next()
	})
}
