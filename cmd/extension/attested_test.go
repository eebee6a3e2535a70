package main

import (
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/standin"
)

// The account, the function and the audience of the gate that AWS attests callers to.
const (
	account  = "111122223333"
	audience = "https://egress.test"
	arn      = "arn:aws:lambda:eu-west-1:" + account + ":function:demo"
)

// newIssuer serves an issuer and its STS, which takes each caller for one function. url is
// what its tokens say that it is; "": where it is served.
func newIssuer(t *testing.T, url, function string) (i *standin.Issuer, at string) {
	t.Helper()
	var handler http.Handler
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(server.Close)
	if url == "" {
		url = server.URL
	}
	i, err := standin.New(account, url)
	if err != nil {
		t.Fatal(err)
	}
	handler = i.Handler(standin.Caller{Region: "eu-west-1", Function: function})
	return i, server.URL
}

// newAttestedGate starts the proxy with one function that AWS attests, and nothing else that
// identifies anybody.
func newAttestedGate(t *testing.T, issuer string) *gate {
	t.Helper()
	return startGate(t, func(g *gate) string {
		return fmt.Sprintf(`aws:
  audience: %s
  accounts: {"%s": {issuer: "%s"}}
functions:
  demo:
    identify: {aws: ["%s"]}
    allow: [{host: localhost, ports: [%s], addresses: [127.0.0.0/8, "::1/128"]}]
`, audience, account, issuer, arn, port(g.origin))
	})
}

// before starts the extension with an STS and an audience before the gate.
func (g *gate) before(t *testing.T, sts, audience string) *running {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, g.authority.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	e := startExtension(t, "EGRESS_PROXY="+strings.Replace("https://"+g.tls, "127.0.0.1", "localhost", 1), "EGRESS_AUDIENCE="+audience, "EGRESS_CA="+file,
		"AWS_ENDPOINT_URL_STS="+sts, "AWS_REGION=eu-west-1", "AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY=example", "AWS_SESSION_TOKEN=example")
	egresstest.Eventually(t, "the extension listens", func() bool {
		c, err := net.Dial("tcp", e.address)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return e
}

// A function with no secret at all: its program asks STS for a token, the extension shows it
// to the proxy, and the proxy verifies it by the keys that it has fetched from the issuer.
func TestFunctionWithoutASecretReachesWhatItsTokenAllows(t *testing.T) {
	t.Parallel()
	issuer, sts := newIssuer(t, "", "demo")
	g := newAttestedGate(t, issuer.URL)
	e := g.before(t, sts, audience)
	answer, err := g.client(t, "http://"+e.address).Get(localhost(g.origin))
	if err != nil {
		t.Fatalf("an allowed host: %v; the extension: %s", err, e.log)
	}
	body, err := io.ReadAll(answer.Body)
	answer.Body.Close()
	if string(body) != "GET 0" || err != nil {
		t.Errorf("an allowed host answers %q, %v", body, err)
	}
	token := issuer.Token(issuer.Function("eu-west-1", "demo", audience, time.Now(), 5*time.Minute))
	for _, request := range refusals {
		want := say(t, g.address, request+"Proxy-Authorization: Bearer "+token+"\r\n\r\n")
		if got := say(t, e.address, request+"\r\n"); got != want || !strings.Contains(got, "X-Egress-Reason: ") || strings.Contains(got, "identity_rejected") {
			t.Errorf("%q got\n%s\nwithout the extension\n%s", request, got, want)
		}
	}
	type record struct {
		Event, Via, Principal, Function, Verdict, Reason string
		TokenID                                          string `json:"token_id"`
	}
	seen := map[string]bool{}
	for _, r := range egresstest.Records[record](t, g.records.Bytes()) {
		if r.Function == "" {
			continue
		}
		if seen[r.Event] = true; r.Via != "aws" || r.Principal != arn || r.TokenID == "" || r.Function != "demo" {
			t.Errorf("a record: %+v", r)
		}
	}
	if !seen["opened"] || !seen["refused"] {
		t.Errorf("records of %v, want of an opened and a refused request", seen)
	}
	// The token that the extension has shown names itself nowhere but by its jti.
	if strings.Contains(g.records.String()+g.log.String()+e.log.String(), "eyJ") {
		t.Error("a token is in an output")
	}
}

// What STS did not give for this audience and this function opens nothing, and reads like
// any other credential that does not hold.
func TestTokensThatAreNotForTheGateAreRefusedThroughTheExtension(t *testing.T) {
	t.Parallel()
	issuer, sts := newIssuer(t, "", "demo")
	g := newAttestedGate(t, issuer.URL)
	_, elsewhere := newIssuer(t, "https://other.example", "demo")
	_, forging := newIssuer(t, issuer.URL, "demo") // says that it is the issuer, and has another key
	_, another := newIssuer(t, issuer.URL, "mail")
	line := "CONNECT localhost:" + port(g.origin) + " HTTP/1.1\r\nHost: localhost\r\n"
	want := say(t, g.address, line+"Proxy-Authorization: Bearer "+base64.RawURLEncoding.EncodeToString([]byte("{}"))+".e30.e30\r\n\r\n")
	if !strings.HasPrefix(want, "HTTP/1.1 407 ") || !strings.Contains(want, "X-Egress-Reason: identity_rejected\r\n") {
		t.Fatalf("without the extension: %s", want)
	}
	for _, tt := range []struct{ what, sts, audience string }{
		{"for somebody else", sts, "https://other.test"},
		{"for the same with a slash", sts, audience + "/"},
		{"of an issuer that is not listed", elsewhere, audience},
		{"forged", forging, audience},
		{"of a function that is not listed", another, audience},
	} {
		e := g.before(t, tt.sts, tt.audience)
		if got := say(t, e.address, line+"\r\n"); got != want {
			t.Errorf("a token %s: got\n%s\nwant\n%s", tt.what, got, want)
		}
	}
	for _, r := range egresstest.Records[struct{ Event string }](t, g.records.Bytes()) {
		if r.Event == "opened" {
			t.Errorf("a tunnel was opened: %+v", r)
		}
	}
}
