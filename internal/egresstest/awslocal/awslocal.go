// Package awslocal stands in for what AWS gives a Lambda function: STS and the Runtime
// and Extensions API, on loopback, for tests.
//
// What it does: it answers as AWS's SDKs expect it, and as the test says.
//
// What it does not do: its tokens are not signed, and it checks no signature.
//
//	sts := awslocal.NewSTS(t)
//	env := sts.Env()
package awslocal

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"
)

// STS is a stand-in for STS that gives out tokens.
type STS struct {
	// URL is where it listens.
	URL string

	mu       sync.Mutex
	answer   func(w http.ResponseWriter, form url.Values) bool
	requests []url.Values
}

// NewSTS starts one that gives out a token to everybody. It ends with the test.
func NewSTS(t testing.TB) *STS {
	s := &STS{}
	server := httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

// Env returns the variables with which an SDK asks it.
func (s *STS) Env() []string {
	return []string{
		"AWS_ENDPOINT_URL_STS=" + s.URL, "AWS_REGION=eu-west-1",
		"AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY=example", "AWS_SESSION_TOKEN=example",
	}
}

// Answer says how requests are answered from now on; nil, or false: by a token.
func (s *STS) Answer(f func(w http.ResponseWriter, form url.Values) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = f
}

// Requests returns the parameters of the requests until now.
func (s *STS) Requests() []url.Values {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]url.Values(nil), s.requests...)
}

// serve answers one request.
func (s *STS) serve(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm() // a form that is none has no parameters
	s.mu.Lock()
	s.requests = append(s.requests, r.PostForm)
	n, answer := len(s.requests), s.answer
	s.mu.Unlock()
	if answer != nil && answer(w, r.PostForm) {
		return
	}
	seconds, err := time.ParseDuration(r.PostForm.Get("DurationSeconds") + "s")
	if err != nil || r.PostForm.Get("Action") != "GetWebIdentityToken" {
		Fail(w, http.StatusBadRequest, "InvalidAction")
		return
	}
	Give(w, Token(n), time.Now().Add(seconds))
}

// Token returns the n-th token. It is of the form of a JWT.
func Token(n int) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"RS256"}`)) + "." + encode(fmt.Appendf(nil, `{"jti":"%d"}`, n)) + "." + encode([]byte("not signed"))
}

// Give answers with a token.
func Give(w http.ResponseWriter, token string, expires time.Time) {
	w.Header().Set("Content-Type", "text/xml")
	fmt.Fprintf(w, `<GetWebIdentityTokenResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetWebIdentityTokenResult>`+
		`<WebIdentityToken>%s</WebIdentityToken><Expiration>%s</Expiration></GetWebIdentityTokenResult>`+
		`<ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></GetWebIdentityTokenResponse>`, token, expires.UTC().Format(time.RFC3339))
}

// Fail answers with an error of AWS.
func Fail(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>`+
		`<Code>%s</Code><Message>not for you</Message></Error><RequestId>1</RequestId></ErrorResponse>`, code)
}
