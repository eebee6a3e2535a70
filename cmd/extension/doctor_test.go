package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest/awslocal"
)

// issuedAt is a token that was made at a time.
func issuedAt(at time.Time) string {
	return "e30." + base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"iat":%d}`, at.Unix())) + ".c2ln"
}

func TestDoctorSaysInWordsWhatIsMissing(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0") // where the extension would be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	good := append(refusing(t), "EGRESS_LISTEN="+ln.Addr().String(), "HTTPS_PROXY=http://"+ln.Addr().String(), "https_proxy=http://"+ln.Addr().String(),
		"AWS_LAMBDA_RUNTIME_API=169.254.100.1:9001", "NO_PROXY=127.0.0.1,169.254.100.1")
	fail := func(code string) func(http.ResponseWriter, url.Values) bool {
		return func(w http.ResponseWriter, _ url.Values) bool { awslocal.Fail(w, 403, code); return true }
	}
	for _, tt := range []struct {
		name, env string
		sts       func(http.ResponseWriter, url.Values) bool
		want      []string
		wrong     bool
	}{
		{"nothing", "A=b", nil, []string{"ok:    the proxy takes the token, and refuses a name that nobody has: 403 Shown Bearer"}, false},
		{"a setting", "EGRESS_AUDIENCE=", nil, []string{"wrong: EGRESS_AUDIENCE: it is not set"}, true},
		{"the wrapper", "HTTPS_PROXY=", nil, []string{"wrong: HTTPS_PROXY does not lead to the extension", "/opt/egress/wrapper"}, true},
		{"the runtime's address", "NO_PROXY=127.0.0.1", nil, []string{"wrong: NO_PROXY does not have the Runtime API's address, 169.254.100.1"}, true},
		{"the extension", "EGRESS_LISTEN=127.0.0.1:1", nil, []string{"wrong: nobody listens at 127.0.0.1:1"}, true},
		{"the proxy", "EGRESS_PROXY=https://127.0.0.1:1", nil, []string{"wrong: the proxy cannot be reached", "security groups"}, true},
		{"the proxy's name", "EGRESS_PROXY=https://127.0.0.1:" + portOf(good), nil, []string{"wrong: the proxy cannot be reached", "EGRESS_CA"}, true},
		{"the statement", "A=b", fail("AccessDenied"), []string{"wrong: STS gives no token: AccessDenied", "ForAllValues:StringEquals", "EnableOutboundWebIdentityFederation"}, true},
		{"federation", "A=b", fail("OutboundWebIdentityFederationDisabledException"), []string{"iam:EnableOutboundWebIdentityFederation"}, true},
		{"the clock, by STS", "A=b", fail("SignatureDoesNotMatch"), []string{"clock may be off"}, true},
		{"the endpoint", "AWS_ENDPOINT_URL_STS=http://127.0.0.1:1", nil, []string{"wrong: STS gives no token: Unreachable", "com.amazonaws.REGION.sts"}, true},
		{"the clock", "A=b", func(w http.ResponseWriter, _ url.Values) bool {
			awslocal.Give(w, issuedAt(time.Now().Add(-5*time.Minute)), time.Now().Add(15*time.Minute))
			return true
		}, []string{"wrong: the machine's clock is 5m"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			sts := awslocal.NewSTS(t)
			sts.Answer(tt.sts)
			cmd := exec.Command("egress", "doctor")
			cmd.Env = append(append(append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, good...), sts.Env()...), tt.env)
			out, err := cmd.Output()
			var exit *exec.ExitError
			if tt.wrong != errors.As(err, &exit) || tt.wrong && exit.ExitCode() != exitFailed {
				t.Errorf("ended with %v", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(string(out), want) {
					t.Errorf("says\n%s\nwant %q", out, want)
				}
			}
			if tt.name == "federation" && strings.Contains(string(out), "ForAllValues") {
				t.Errorf("says more than what is known:\n%s", out)
			}
			if !tt.wrong && strings.Contains(string(out), "wrong:") {
				t.Errorf("finds something:\n%s", out)
			}
		})
	}
}

// portOf returns the port of EGRESS_PROXY.
func portOf(env []string) string {
	_, port, _ := strings.Cut(strings.TrimPrefix(env[0], "EGRESS_PROXY=https://"), ":")
	return port
}
