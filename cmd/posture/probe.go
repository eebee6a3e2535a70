package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/buildinfo"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/emf"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/probe"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/probe/attempt"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/probe/result"
)

// probeFlags are those of posture probe.
type probeFlags struct {
	proxy, gate, control string
	targets, intercepted []string
	timeout              time.Duration
	failOn               string
	formats              []string
	deployment           string
}

// The variables that probe reads: a command line is seen by everybody on the machine, and a
// URL of a proxy may have a credential.
const (
	proxyVariable = "HTTPS_PROXY"
	otherVariable = "PROBE_OTHER_CREDENTIAL"
)

// defaultOther is the credential that OtherCredential shows unless one is given: nobody's.
const defaultOther = "posture-probe:nobodys-credential"

// maxTimeout bounds the timeout of one try: a probe is not to hang for hours.
const maxTimeout = time.Minute

const probeHelp = `probe tries, from where it runs, what a function must not be able to do: it belongs
in the functions' subnets and security groups. First it tries what should work, the
control: an allowed name through the proxy. Then every way round the gate, one
harmless question each, and the control again.

The verdict is one of these. holds: no way that was tried is open. hole: the ways that
are, by name. unclear: none is shown to be open, but something takes connections or
answers in a target's stead; --intercepted says on which ways that is the fence
itself. unknown: the control failed, and nothing can be said.

The proxy's URL, with the function's credential, is in ` + proxyVariable + `, or --proxy.
` + otherVariable + `=USER:PASSWORD is a credential that must not open the control's
name: another function's, or the default, which is nobody's.

A flag that is not given is taken from a variable, such as PROBE_CONTROL or
PROBE_FAIL_ON; PROBE_TARGET has several with spaces between them. As a function of
Lambda, where the program is the file bootstrap, it probes at each invocation.

A target that is down cannot be told from a fence that holds: give each way several.

Exit codes: 0 ok, 1 failed, 2 called wrongly, 3 the verdict is as bad as --fail-on says.`

// newProbe returns the command that tries the ways round the gate.
func newProbe() *cobra.Command {
	var f probeFlags
	cmd := &cobra.Command{
		Use:   "probe --control HOST:PORT",
		Short: "Try every way round the gate from where it runs",
		Long:  probeHelp,
		Example: `  posture probe --control api.example.com:443 --fail-on hole
  posture probe --control api.example.com:443 --target ipv6= --target ntp=192.0.2.1:123
  posture probe --control api.example.com:443 --format json,emf --deployment blue`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := fromVariables(cmd); err != nil {
				return err
			}
			prober, tries, err := f.check()
			if err != nil {
				return err
			}
			if inLambda() {
				f.serve(cmd.Context(), prober, tries, cmd.OutOrStdout())
			}
			_, err = f.run(cmd.Context(), prober, tries, cmd.OutOrStdout())
			return err
		},
	}
	to := cmd.Flags()
	to.StringVar(&f.proxy, "proxy", "", "`URL` of the proxy, http or https (default: "+proxyVariable+")")
	to.StringVar(&f.gate, "gate", "", "`URL` of the gate itself, where --proxy is the extension beside a function, which adds a credential to all")
	to.StringVar(&f.control, "control", "", "`HOST:PORT` that the policy allows, and that speaks TLS")
	to.StringArrayVar(&f.targets, "target", nil, "`WAY=TARGET` to try instead of the defaults of that way; can be given several times; WAY= tries none")
	to.StringSliceVar(&f.intercepted, "intercepted", nil, "`WAYS` on which the fence itself answers, with commas between them")
	to.DurationVar(&f.timeout, "timeout", 5*time.Second, "how long one try may take")
	to.StringVar(&f.failOn, "fail-on", "", "exit with 3 on this `VERDICT` or a worse one: hole, unknown or unclear, the worst first")
	to.StringSliceVar(&f.formats, "format", []string{string(result.Text)}, "`FORMATS` to write, with commas between them: "+strings.Join(result.Formats(), ", "))
	to.StringVar(&f.deployment, "deployment", "", "`NAME` of the deployment, in metrics and events")
	return cmd
}

// fromVariables sets each flag that was not given from its variable, where there is one: a
// function of Lambda has no command line. The proxy has a variable of its own.
func fromVariables(cmd *cobra.Command) error {
	for _, flag := range []string{"gate", "control", "target", "intercepted", "timeout", "fail-on", "format", "deployment"} {
		name := "PROBE_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
		if cmd.Flags().Changed(flag) {
			continue
		}
		for _, value := range strings.Fields(os.Getenv(name)) {
			if err := cmd.Flags().Set(flag, value); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

// check reads the settings, and says what is wrong with them.
func (f *probeFlags) check() (*attempt.Prober, []probe.Try, error) {
	for _, format := range f.formats {
		if !slices.Contains(result.Formats(), format) {
			return nil, nil, fmt.Errorf("--format: %q is not known; write one of %s", format, strings.Join(result.Formats(), ", "))
		}
	}
	for _, way := range f.intercepted {
		if !slices.Contains(probe.Ways(), way) {
			return nil, nil, fmt.Errorf("--intercepted: %q is no way; write one of %s", way, strings.Join(probe.Ways(), ", "))
		}
	}
	if f.failOn != "" && failing(f.failOn) == nil {
		return nil, nil, fmt.Errorf("--fail-on: %q is not known; write hole, unknown or unclear", f.failOn)
	}
	if f.timeout <= 0 || f.timeout > maxTimeout {
		return nil, nil, fmt.Errorf("--timeout: write more than 0, and %v at most", maxTimeout)
	}
	if f.deployment != "" {
		if err := emf.CheckDeployment(f.deployment); err != nil {
			return nil, nil, fmt.Errorf("--deployment: %w", err)
		}
	}
	return f.plan()
}

// plan reads the proxy and what is tried.
func (f *probeFlags) plan() (*attempt.Prober, []probe.Try, error) {
	targets := probe.Targets{}
	for _, setting := range f.targets {
		if err := targets.Add(setting); err != nil {
			return nil, nil, fmt.Errorf("--target: %w", err)
		}
	}
	tries, err := probe.Plan(f.control, targets)
	if err != nil {
		return nil, nil, fmt.Errorf("--control: %w", err)
	}
	prober := &attempt.Prober{Timeout: f.timeout}
	text := f.proxy
	if text == "" {
		text = os.Getenv(proxyVariable)
	}
	if prober.Proxy, err = proxyURL(text); err != nil {
		return nil, nil, fmt.Errorf("--proxy, or %s: %w", proxyVariable, err)
	}
	if f.gate != "" {
		if prober.Gate, err = proxyURL(f.gate); err != nil || prober.Gate.User != nil {
			return nil, nil, fmt.Errorf("--gate: %w, without a credential", errProxyURL)
		}
	}
	other := os.Getenv(otherVariable)
	if other == "" {
		other = defaultOther
	}
	user, password, _ := strings.Cut(other, ":")
	prober.Other = url.UserPassword(user, password)
	return prober, tries, nil
}

// errProxyURL is of a URL that is none of a proxy. It does not have the text, in which there
// may be a credential.
var errProxyURL = errors.New("write http://HOST:PORT or https://HOST:PORT")

// proxyURL reads the URL of a proxy.
func proxyURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" {
		return nil, errProxyURL
	}
	return u, nil
}

// run probes, and writes what was found. The report is there with errFound too.
func (f *probeFlags) run(ctx context.Context, prober *attempt.Prober, tries []probe.Try, stdout io.Writer) (*probe.Report, error) {
	var intercepted []probe.Way
	for _, way := range f.intercepted {
		intercepted = append(intercepted, probe.Way(way))
	}
	report := prober.Probe(ctx, tries, intercepted)
	about := &result.About{Version: buildinfo.Read(version).Version, Deployment: f.deployment}
	for _, format := range f.formats {
		if err := result.Write(stdout, report, result.Format(format), about); err != nil {
			return nil, failed(err)
		}
	}
	if slices.Contains(failing(f.failOn), report.Verdict) {
		return report, errFound
	}
	return report, nil
}

// failing returns the verdicts that --fail-on fails on; nil: the word is not known.
func failing(word string) []probe.Verdict {
	switch probe.Verdict(word) {
	case probe.Hole:
		return []probe.Verdict{probe.Hole}
	case probe.Unknown:
		return []probe.Verdict{probe.Hole, probe.Unknown}
	case probe.Unclear:
		return []probe.Verdict{probe.Hole, probe.Unknown, probe.Unclear}
	default:
		return nil
	}
}
