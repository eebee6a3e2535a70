package stsclient_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest/awslocal"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/extension/stsclient"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/extension/token"
)

// start makes a stand-in for STS and an environment that names it.
func start(t *testing.T) *awslocal.STS {
	t.Helper()
	s := awslocal.NewSTS(t)
	for _, v := range s.Env() {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
	// What the function has for its own clients, which would lead the extension to itself.
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	return s
}

func TestTokenIsOfTheAudienceAndAQuarterOfAnHour(t *testing.T) {
	s := start(t)
	got, err := stsclient.New("https://egress.example.internal").Fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(got.Expires); got.Value != awslocal.Token(1) || left < 14*time.Minute || left > 15*time.Minute {
		t.Errorf("got %+v", got)
	}
	form := s.Requests()[0]
	for name, want := range map[string]string{
		"Audience.member.1": "https://egress.example.internal", "SigningAlgorithm": "RS256", "DurationSeconds": "900",
	} {
		if form.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, form.Get(name), want)
		}
	}
}

// The function's variables name the extension itself, which would wait for its own token.
// Loopback is past every proxy, so that STS is called by the address that is not.
func TestProxyOfTheEnvironmentIsNotFollowed(t *testing.T) {
	s := start(t)
	t.Setenv("AWS_ENDPOINT_URL_STS", strings.Replace(s.URL, "127.0.0.1", "0.0.0.0", 1))
	if got, err := stsclient.New("a").Fetch(t.Context()); err != nil || got.Value != awslocal.Token(1) {
		t.Errorf("got %q and %v", got.Value, err)
	}
}

func TestShorterSessionGetsATokenOfAMinute(t *testing.T) {
	s := start(t)
	s.Answer(func(w http.ResponseWriter, form url.Values) bool {
		if form.Get("DurationSeconds") == "60" {
			return false
		}
		awslocal.Fail(w, http.StatusBadRequest, "SessionDurationEscalationException")
		return true
	})
	got, err := stsclient.New("a").Fetch(t.Context())
	if err != nil || got.Life > time.Minute || got.Life < 50*time.Second {
		t.Errorf("got %+v and %v, want a life of a minute", got, err)
	}
}

func TestWhatIsWrongWithSTSHasItsCode(t *testing.T) {
	fail := func(status int, code string) func(http.ResponseWriter, url.Values) bool {
		return func(w http.ResponseWriter, _ url.Values) bool { awslocal.Fail(w, status, code); return true }
	}
	give := func(value string, expires time.Time) func(http.ResponseWriter, url.Values) bool {
		return func(w http.ResponseWriter, _ url.Values) bool { awslocal.Give(w, value, expires); return true }
	}
	for _, tt := range []struct {
		name, code string
		answer     func(http.ResponseWriter, url.Values) bool
	}{
		{"refused", "AccessDenied", fail(403, "AccessDenied")},
		{"federation disabled", "OutboundWebIdentityFederationDisabledException", fail(403, "OutboundWebIdentityFederationDisabledException")},
		{"escalation", "SessionDurationEscalationException", fail(400, "SessionDurationEscalationException")},
		{"throttled", "Throttling", fail(400, "Throttling")},
		{"a page", token.CodeBadAnswer, func(w http.ResponseWriter, _ url.Values) bool {
			_, _ = w.Write([]byte("<html><body>Sign in to the network</body></html>"))
			return true
		}},
		{"a page with 403", token.CodeBadAnswer, func(w http.ResponseWriter, _ url.Values) bool {
			w.WriteHeader(403)
			_, _ = w.Write([]byte("<html><body>blocked</body></html>"))
			return true
		}},
		{"no answer", token.CodeTimeout, func(http.ResponseWriter, url.Values) bool { time.Sleep(500 * time.Millisecond); return true }},
		{"a field injected", token.CodeBadAnswer, give("a.b.c\r\nHost: x", time.Now().Add(time.Minute))},
		{"too long", token.CodeBadAnswer, give("a."+strings.Repeat("b", 8<<10)+".c", time.Now().Add(time.Minute))},
		{"empty", token.CodeBadAnswer, give("", time.Now().Add(time.Minute))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t)
			s.Answer(tt.answer)
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			if tt.code == token.CodeTimeout {
				cancel()
				ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
			}
			defer cancel()
			got, err := stsclient.New("a").Fetch(ctx)
			if token.CodeOf(err) != tt.code || got.Value != "" {
				t.Errorf("got token %q and %v, want code %s", got.Value, err, tt.code)
			}
		})
	}
}

// A machine's clock that is five minutes off: one that is behind has a token for the life
// that was asked for and no longer, and one that is ahead has it renewed the sooner.
func TestClockThatIsFiveMinutesOff(t *testing.T) {
	for name, tt := range map[string]struct{ off, life time.Duration }{
		"behind": {5 * time.Minute, 15 * time.Minute}, "ahead": {-5 * time.Minute, 10 * time.Minute}, "right": {0, 15 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			s.Answer(func(w http.ResponseWriter, _ url.Values) bool {
				awslocal.Give(w, awslocal.Token(1), time.Now().Add(15*time.Minute+tt.off))
				return true
			})
			got, err := stsclient.New("a").Fetch(t.Context())
			if left := time.Until(got.Expires); err != nil || got.Life > tt.life || got.Life < tt.life-time.Minute || left > got.Life {
				t.Errorf("a life of %v, of which %v is left, and %v, want %v", got.Life, left, err, tt.life)
			}
		})
	}
}

// A token that was over when it came is none; package token has the rest.
func TestTokenThatIsOverSaysSo(t *testing.T) {
	s := start(t)
	s.Answer(func(w http.ResponseWriter, _ url.Values) bool {
		awslocal.Give(w, awslocal.Token(1), time.Now().Add(-time.Minute))
		return true
	})
	source := token.New(token.Options{Fetch: stsclient.New("a").Fetch})
	if got, err := source.Get(t.Context()); token.CodeOf(err) != token.CodeTokenExpired {
		t.Errorf("got %q and %v", got, err)
	}
}

func TestWhatIsMissingInTheEnvironmentHasItsCode(t *testing.T) {
	for name, tt := range map[string]struct{ variable, value, code string }{
		"nobody listens": {"AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1", token.CodeUnreachable},
		"no credentials": {"AWS_ACCESS_KEY_ID", "", token.CodeNoCredentials},
		"no region":      {"AWS_REGION", "", token.CodeNoRegion},
	} {
		t.Run(name, func(t *testing.T) {
			start(t)
			t.Setenv("HOME", t.TempDir())
			t.Setenv("AWS_DEFAULT_REGION", "")
			t.Setenv(tt.variable, tt.value)
			if _, err := stsclient.New("a").Fetch(t.Context()); token.CodeOf(err) != tt.code {
				t.Errorf("got %v, want code %s", err, tt.code)
			}
		})
	}
}
