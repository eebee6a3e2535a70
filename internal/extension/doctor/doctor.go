// Package doctor says in words what a function lacks to reach the proxy with a token.
//
// What it does: it walks the way of a request, from the settings to the proxy's answer,
// and stops at nothing: each step has a line, and what is wrong has a line with what to
// do. AWS answers many mistakes alike; then all of them are named.
//
// What it does not do: it changes nothing, and shows no token.
//
//	healthy := doctor.Examine(ctx, doctor.Options{…}, os.Stdout)
package doctor

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/extension/token"
)

// Target is what the doctor asks the proxy for: a name that nobody can have (RFC 6761,
// section 6.4), so that the refusal says that the token holds, and nothing is reached.
const Target = "egress-extension-doctor.invalid:443"

// Options says what to look at.
type Options struct {
	// Setting is what is wrong with the settings; nil: nothing is. With it only the
	// environment is looked at.
	Setting error
	// Getenv reads the function's variables; required.
	Getenv func(string) string
	// Listen is where the extension listens, and Local dials it; required.
	Listen string
	Local  func(ctx context.Context) error
	// Fetch gets a token; required.
	Fetch func(ctx context.Context) (token.Token, error)
	// Dial opens a connection to the proxy, and Try sends it a CONNECT to Target with a
	// token and returns status and phrase of the answer; both required.
	Dial func(ctx context.Context) error
	Try  func(ctx context.Context, token string) (status int, phrase string, err error)
	// Now is the wall clock; nil: that of the machine.
	Now func() time.Time
}

// report writes lines, and remembers whether something is wrong.
type report struct {
	to    io.Writer
	wrong bool
}

// ok writes what holds. A reader that has gone is not the doctor's concern, here and
// below.
func (r *report) ok(text string) { fmt.Fprintln(r.to, "ok:    "+text) }

// bad writes what does not hold, and what to do, a line each.
func (r *report) bad(text string, remedies ...string) {
	r.wrong = true
	fmt.Fprintln(r.to, "wrong: "+text)
	for _, remedy := range remedies {
		fmt.Fprintln(r.to, "       - "+remedy)
	}
}

// Examine writes what it finds and reports whether everything holds.
func Examine(ctx context.Context, o Options, to io.Writer) bool {
	if o.Now == nil {
		o.Now = time.Now
	}
	r := &report{to: to}
	o.environment(ctx, r)
	if o.Setting != nil {
		r.bad(o.Setting.Error(), "Set the variable of the function; deploy/lambda/README.md has all of them.")
		return false
	}
	r.ok("the settings of the extension")
	proxyErr := o.Dial(ctx)
	if proxyErr != nil {
		r.bad("the proxy cannot be reached: "+proxyErr.Error(), proxyRemedies(proxyErr)...)
	} else {
		r.ok("the proxy answers by TLS, with a certificate that holds")
	}
	t, err := o.Fetch(ctx)
	if err != nil {
		r.bad("STS gives no token: "+token.CodeOf(err), tokenRemedies(token.CodeOf(err))...)
		fmt.Fprintln(to, "       "+strings.ReplaceAll(err.Error(), "\n", " "))
		return false
	}
	r.ok(fmt.Sprintf("STS gives a token of %v", t.Life.Round(time.Second)))
	o.clock(r, t.Value)
	if proxyErr == nil {
		o.answer(ctx, r, t.Value)
	}
	return !r.wrong
}

// environment looks at what the function's clients are told.
func (o Options) environment(ctx context.Context, r *report) {
	if err := o.Local(ctx); err != nil {
		r.bad("nobody listens at "+o.Listen+", or not the extension", "The layer is not in the function, or another program has the port: see the log of the extension, and EGRESS_LISTEN.")
	} else {
		r.ok("something listens at " + o.Listen)
	}
	for _, name := range []string{"HTTPS_PROXY", "https_proxy"} {
		if value := o.Getenv(name); strings.TrimSuffix(strings.TrimPrefix(value, "http://"), "/") != o.Listen {
			r.bad(name+" does not lead to the extension", "Set AWS_LAMBDA_EXEC_WRAPPER=/opt/egress/wrapper, or the variables of the function by hand: http://"+o.Listen+".",
				"On an OS-only runtime (provided.*) the wrapper does nothing: set them by hand.")
			return
		}
	}
	api, _, _ := strings.Cut(o.Getenv("AWS_LAMBDA_RUNTIME_API"), ":")
	if !strings.Contains(o.Getenv("NO_PROXY"), api) {
		r.bad("NO_PROXY does not have the Runtime API's address, "+api, "Some runtimes would send its requests to the proxy: the wrapper adds it.")
		return
	}
	r.ok("the proxy variables lead to the extension")
}

// clock compares the machine's clock with the time at which the token was made. Its
// signature is the proxy's to verify; here the time is all that is read.
func (o Options) clock(r *report, value string) {
	var payload struct {
		Issued int64 `json:"iat"`
	}
	parts := strings.Split(value, ".")
	if len(parts) != 3 {
		return
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(text, &payload) != nil || payload.Issued == 0 {
		return
	}
	off := o.Now().Sub(time.Unix(payload.Issued, 0))
	if off.Abs() > time.Minute {
		r.bad(fmt.Sprintf("the machine's clock is %v away from that of AWS", off.Round(time.Second)), "Tokens end by the clock: nothing of the function can mend it; a new environment may.")
		return
	}
	r.ok("the clock agrees with that of AWS")
}

// answer asks the proxy whether it takes the token.
func (o Options) answer(ctx context.Context, r *report, value string) {
	status, phrase, err := o.Try(ctx, value)
	switch line := fmt.Sprintf("%d %s", status, phrase); {
	case err != nil:
		r.bad("the proxy does not answer: "+err.Error(), "See the log of the proxy.")
	case status == 407:
		r.bad("the proxy refuses the token: "+line,
			"The policy has no function with this ARN under identify.aws, or not for this account.",
			"EGRESS_AUDIENCE is not the audience that the proxy expects.",
			"The function has sources in the policy, and calls from elsewhere. The proxy's log says which it is.")
	case status == 403:
		r.ok("the proxy takes the token, and refuses a name that nobody has: " + line)
	default:
		r.bad("the proxy answers: "+line, "The table of reasons in docs/decision.md says what it means.")
	}
}
