package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// client is a real HTTP client that runs as a program of its own. It POSTs a
// file to a URL through the proxy of its environment, writes the answer to
// another file, and fails with what its library says of a failure.
type client struct {
	command []string // what follows are URL, CA, PAYLOAD, OUT
	env     []string // beside the variables that name the proxy
	args    func(url, ca, payload, out string) []string
	// refused is what the program prints of a refusal: the status line where
	// the library shows it, else as much as it shows.
	refused string
	// asks says that the client shows its credential only after a 407.
	asks bool
}

// statusLine is what clients show who show the reason phrase.
const statusLine = "Egress refused: host_not_allowed evil.test for billing"

func TestCurlGoesThrough(t *testing.T) {
	needs(t, "curl")
	client{
		command: []string{"curl", "-sS"},
		args: func(url, ca, payload, out string) []string {
			return []string{"--cacert", ca, "--data-binary", "@" + payload, "-o", out, url}
		},
		refused: "response 403",
	}.goesThrough(t)
}

func TestCurlShowsTheReasonWhereItIsAskedToSpeak(t *testing.T) {
	needs(t, "curl")
	client{
		command: []string{"curl", "-sS", "-v"},
		args: func(url, ca, payload, out string) []string {
			return []string{"--cacert", ca, "--data-binary", "@" + payload, "-o", out, url}
		},
		refused: "HTTP/1.1 403 " + statusLine,
	}.goesThrough(t)
}

func TestPythonUrllibGoesThrough(t *testing.T) {
	needs(t, "python3")
	client{command: script("python3", "urllib.py"), refused: "403 " + statusLine}.goesThrough(t)
}

func TestPythonRequestsGoesThrough(t *testing.T) {
	needs(t, "python3", "-c", hasModule, "requests")
	client{command: script("python3", "with_requests.py"), refused: "403 " + statusLine}.goesThrough(t)
}

func TestPythonBoto3GoesThrough(t *testing.T) {
	needs(t, "python3", "-c", hasModule, "boto3")
	client{command: script("python3", "with_boto3.py"), refused: "Failed to connect to proxy URL"}.goesThrough(t)
}

func TestNodeWithAnAgentGoesThrough(t *testing.T) {
	needs(t, "node")
	client{command: script("node", "agent.js"), refused: "403 " + statusLine + " (host_not_allowed)"}.goesThrough(t)
}

func TestNodeWithTheProxyOfTheEnvironmentGoesThrough(t *testing.T) {
	needs(t, "node")
	out, err := exec.Command("node", "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	major, _, _ := strings.Cut(strings.TrimPrefix(string(out), "v"), ".")
	if n, err := strconv.Atoi(major); err != nil || n < 22 {
		t.Skipf("node is %s; NODE_USE_ENV_PROXY came with 22", strings.TrimSpace(string(out)))
	}
	client{command: script("node", "env.js"), env: []string{"NODE_USE_ENV_PROXY=1"}, refused: "fetch failed"}.goesThrough(t)
}

func TestJavaHttpClientGoesThrough(t *testing.T) {
	needs(t, "java", "-version")
	out, err := exec.Command("java", "-version").CombinedOutput()
	version := regexp.MustCompile(`version "(\d+)`).FindSubmatch(out)
	if err != nil || version == nil {
		t.Skipf("java does not say its version: %s", out)
	}
	if n, _ := strconv.Atoi(string(version[1])); n < 17 {
		t.Skipf("java is %d; the client is written for 17", n)
	}
	client{
		command: []string{
			"java", "-XX:TieredStopAtLevel=1", "-Djdk.http.auth.tunneling.disabledSchemes=",
			filepath.Join("testdata", "clients", "Client.java"),
		},
		refused: "Tunnel failed, got: 403",
		asks:    true,
	}.goesThrough(t)
}

func TestRubyNetHTTPGoesThrough(t *testing.T) {
	needs(t, "ruby", "-rnet/http", "-ropenssl", "-e", "")
	client{command: script("ruby", "net_http.rb"), refused: "403 \"" + statusLine}.goesThrough(t)
}

// hasModule is a Python program that fails where a module is not installed. It
// does not import the module, which takes seconds.
const hasModule = "import importlib.util, sys; sys.exit(not importlib.util.find_spec(sys.argv[1]))"

// script is the command of a client of testdata.
func script(interpreter, name string) []string {
	return []string{interpreter, filepath.Join("testdata", "clients", name)}
}

// needs skips the test where a command is not installed, or does not succeed
// with the arguments. Where it runs, it runs beside others.
func needs(t *testing.T, command string, args ...string) {
	t.Helper()
	t.Parallel()
	if _, err := exec.LookPath(command); err != nil {
		t.Skipf("%s is not installed", command)
	}
	if len(args) == 0 {
		return
	}
	if out, err := exec.Command(command, args...).CombinedOutput(); err != nil {
		t.Skipf("%s %s: %v: %s", command, args[len(args)-1], err, out)
	}
}

// goesThrough runs the client against the program and a TLS server: to an
// allowed name what comes back is what was sent, byte for byte; to a refused
// one the client fails and says what its library lets it say.
func (c client) goesThrough(t *testing.T) {
	t.Helper()
	w := newWorld(t)
	p := w.start(onePolicy)
	dir := t.TempDir()
	want := payload(300_000)
	w.must(os.WriteFile(filepath.Join(dir, "payload"), want, 0o600))

	if said, err := c.run(p, dir, "https://allowed.test:"+w.vars["port"]+"/bucket"); err != nil {
		t.Fatalf("to the allowed name: %v: %s", err, said)
	}
	got, err := os.ReadFile(filepath.Join(dir, "out"))
	w.must(err)
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes came back of %d, or others", len(got), len(want))
	}
	opened := p.of("opened")
	if len(opened) == 0 || opened[0].Function != "billing" || opened[0].Host != "allowed.test" || opened[0].Via != "token" {
		t.Errorf("records of the opening: %+v", opened)
	}
	if challenged := len(p.of("challenged")); (challenged > 0) != c.asks {
		t.Errorf("the client was asked for its credential %d times", challenged)
	}

	said, err := c.run(p, dir, "https://evil.test/bucket")
	if exitCode(err) <= 0 {
		t.Errorf("to the refused name: %v", err)
	}
	if !strings.Contains(said, c.refused) {
		t.Errorf("the client does not say %q: %s", c.refused, said)
	}
	refused := p.one("refused")
	if refused.Host != "evil.test" || refused.Reason != "host_not_allowed" || refused.Function != "billing" {
		t.Errorf("the record of the refusal: %+v", refused)
	}
	if n := w.names.queries("evil.test"); n != 0 {
		t.Errorf("%d packets at the name server for the refused name", n)
	}
}

// run runs the client once and returns what it printed.
func (c client) run(p *running, dir, target string) (string, error) {
	ctx, cancel := context.WithTimeout(p.t.Context(), 5*patience) // a JVM takes its time to start
	defer cancel()
	ca, payload, out := p.world.ca, filepath.Join(dir, "payload"), filepath.Join(dir, "out")
	args := []string{target, ca, payload, out}
	if c.args != nil {
		args = c.args(target, ca, payload, out)
	}
	cmd := exec.CommandContext(ctx, c.command[0], append(c.command[1:], args...)...)
	via := p.as("billing").String()
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "AWS_EC2_METADATA_DISABLED=true", "NODE_EXTRA_CA_CERTS=" + ca,
		"HTTPS_PROXY=" + via, "https_proxy=" + via, "HTTP_PROXY=" + via, "http_proxy=" + via,
	}, c.env...)
	said, err := cmd.CombinedOutput()
	return string(said), err
}

// as returns the proxy's URL with a function's credential, as HTTPS_PROXY has it.
func (p *running) as(function string) *url.URL {
	return &url.URL{Scheme: "http", User: url.UserPassword(function, secretPrefix+function), Host: p.proxy}
}

func TestGoNetHTTPGoesThrough(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.start(onePolicy)
	transport := &http.Transport{Proxy: http.ProxyURL(p.as("billing")), DisableKeepAlives: true}
	transport.TLSClientConfig = w.trust()
	c := &http.Client{Transport: transport, Timeout: patience}
	want := payload(1 << 20)
	resp, err := c.Post("https://allowed.test:"+w.vars["port"]+"/", "application/octet-stream", bytes.NewReader(want))
	w.must(err)
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	w.must(err)
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes came back of %d, or others", len(got), len(want))
	}
	_, err = c.Get("https://evil.test/")
	var failure *url.Error
	if !errors.As(err, &failure) || failure.Err.Error() != statusLine {
		t.Errorf("the error of a refusal is %v, want the reason phrase", err)
	}
}
