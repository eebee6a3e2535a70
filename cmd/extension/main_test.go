package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest/awslocal"
)

// TestMain makes the test binary the program under the name "egress".
func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"egress": main}) }

// running is the extension as a process.
type running struct {
	t       *testing.T
	cmd     *exec.Cmd
	address string // where it listens
	log     *egresstest.Buffer
	exited  chan struct{}
}

// freePort returns an address that nobody listens at.
func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// startExtension starts the program with an environment that has nothing else.
func startExtension(t *testing.T, env ...string) *running {
	t.Helper()
	e := &running{t: t, address: freePort(t), log: &egresstest.Buffer{}, exited: make(chan struct{})}
	e.cmd = exec.Command("egress")
	e.cmd.Stderr = e.log
	e.cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "EGRESS_LISTEN=" + e.address, "EGRESS_LOG=info",
		// What the wrapper sets for the function's clients, and the extension inherits.
		"HTTPS_PROXY=http://" + e.address, "HTTP_PROXY=http://" + e.address, "https_proxy=http://" + e.address, "http_proxy=http://" + e.address,
	}, env...)
	if err := e.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { defer close(e.exited); _ = e.cmd.Wait() }()
	t.Cleanup(func() {
		_ = e.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-e.exited:
		case <-time.After(egresstest.Timeout):
			_ = e.cmd.Process.Kill()
			t.Error("the extension does not end by SIGTERM")
		}
		if text := e.log.String(); strings.Contains(text, awslocal.Token(1)) || strings.Contains(text, "DATA RACE") || strings.Contains(text, "panic") {
			t.Errorf("the log: %s", text)
		}
	})
	return e
}

// alive fails the test where the extension has ended.
func (e *running) alive() {
	e.t.Helper()
	select {
	case <-e.exited:
		e.t.Fatalf("the extension has ended: %s", e.log)
	default:
	}
}

// connect sends a CONNECT and returns everything that comes, "" where nobody listens.
func (e *running) connect(target string) string {
	c, err := net.Dial("tcp", e.address)
	if err != nil {
		return ""
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(egresstest.Timeout))
	fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: %[1]s\r\n\r\n", target)
	answer, _ := io.ReadAll(c)
	return string(answer)
}

// refusing stands in for the proxy; it answers each request by its credential.
func refusing(t *testing.T) (env []string) {
	t.Helper()
	authority := egresstest.NewAuthority(t)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{authority.Issue("localhost")}})
	if err != nil {
		t.Fatal(err)
	}
	egresstest.Serve(t, ln, func(c net.Conn) {
		defer c.Close()
		buf := make([]byte, 16<<10)
		n, _ := c.Read(buf)
		m := regexp.MustCompile(`(?m)^Proxy-Authorization: (.*)\r$`).FindSubmatch(buf[:n])
		if m == nil {
			m = [][]byte{nil, []byte("nothing")}
		}
		fmt.Fprintf(c, "HTTP/1.1 403 Shown %s\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", m[1])
	})
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, authority.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	return []string{"EGRESS_PROXY=https://localhost:" + port, "EGRESS_AUDIENCE=https://egress.test", "EGRESS_CA=" + file}
}

// The function's first line may connect: Lambda starts the runtime when extensions have
// registered.
func TestExtensionListensBeforeItRegistersAndForShutdownAlone(t *testing.T) {
	t.Parallel()
	runtime, sts := awslocal.NewRuntime(t), awslocal.NewSTS(t)
	env := append(refusing(t), sts.Env()...)
	listening := make(chan error, 9)
	sts.Answer(func(http.ResponseWriter, url.Values) bool {
		time.Sleep(300 * time.Millisecond) // an extension that does not wait has time to say so
		if runtime.Pending() > 0 {
			t.Error("the extension may be frozen with its fetch half-way")
		}
		return false
	})
	var e *running
	ready := make(chan struct{})
	runtime.OnRegister(func() {
		<-ready
		c, err := net.Dial("tcp", e.address)
		if err == nil {
			c.Close()
		}
		listening <- err
	})
	e = startExtension(t, append(env, "AWS_LAMBDA_RUNTIME_API="+runtime.Address)...)
	close(ready)
	if err := <-listening; err != nil {
		t.Errorf("the extension registered and does not listen: %v", err)
	}
	egresstest.Eventually(t, "the extension waits for an event", func() bool { return runtime.Pending() == 1 })
	if got, want := runtime.Registered(), `egress {"events":["SHUTDOWN"]}`; len(got) != 1 || got[0] != want {
		t.Errorf("registered %q, want %q", got, want)
	}
	sts.Answer(nil)
	if n := len(sts.Requests()); n != 1 {
		t.Errorf("%d requests to STS before the first wait for an event, want 1", n)
	}
	if got, want := e.connect("a.example:443"), "HTTP/1.1 403 Shown Bearer "+awslocal.Token(1)+"\r\n"; !strings.HasPrefix(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	e.alive()
	runtime.Shutdown()
	select {
	case <-e.exited:
	case <-time.After(egresstest.Timeout):
		t.Fatal("SHUTDOWN does not end the extension")
	}
	if code := e.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// An extension that exits ends the function's environment. Whatever is missing is told to
// the clients instead.
func TestExtensionDoesNotExitWhateverIsMissing(t *testing.T) {
	t.Parallel()
	sts := awslocal.NewSTS(t)
	good := append(refusing(t), sts.Env()...)
	garbage := filepath.Join(t.TempDir(), "garbage.pem")
	if err := os.WriteFile(garbage, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	denied, silent := awslocal.NewSTS(t), awslocal.NewSTS(t)
	denied.Answer(func(w http.ResponseWriter, _ url.Values) bool {
		awslocal.Fail(w, 403, "OutboundWebIdentityFederationDisabledException")
		return true
	})
	silent.Answer(func(_ http.ResponseWriter, _ url.Values) bool { time.Sleep(4 * time.Second); return true })
	// answering is an STS that answers all requests alike.
	answering := func(answer func(http.ResponseWriter)) string {
		s := awslocal.NewSTS(t)
		s.Answer(func(w http.ResponseWriter, _ url.Values) bool { answer(w); return true })
		return "AWS_ENDPOINT_URL_STS=" + s.URL
	}
	failing := func(status int, code string) string {
		return answering(func(w http.ResponseWriter) { awslocal.Fail(w, status, code) })
	}
	for _, tt := range []struct{ name, env, want string }{
		{"no proxy", "EGRESS_PROXY=", "503 Egress extension: not configured: EGRESS_PROXY"},
		{"proxy without TLS", "EGRESS_PROXY=http://localhost:3128", "503 Egress extension: not configured: EGRESS_PROXY"},
		{"proxy with a secret", "EGRESS_PROXY=https://f:secret@localhost:3129", "503 Egress extension: not configured: EGRESS_PROXY"},
		{"no audience", "EGRESS_AUDIENCE=", "503 Egress extension: not configured: EGRESS_AUDIENCE"},
		{"no such file", "EGRESS_CA=/nowhere/ca.pem", "503 Egress extension: not configured: EGRESS_CA"},
		{"no certificate in it", "EGRESS_CA=" + garbage, "503 Egress extension: not configured: EGRESS_CA"},
		{"a level that is none", "EGRESS_LOG=loud", "403 Shown Bearer "},
		{"federation disabled", "AWS_ENDPOINT_URL_STS=" + denied.URL, "503 Egress extension: no token: OutboundWebIdentityFederationDisabledException"},
		{"STS denies", failing(403, "AccessDenied"), "503 Egress extension: no token: AccessDenied"},
		{"the session is too short", failing(400, "SessionDurationEscalationException"), "503 Egress extension: no token: SessionDurationEscalationException"},
		{"STS throttles", failing(400, "Throttling"), "503 Egress extension: no token: Throttling"},
		{"a page in the place of STS", answering(func(w http.ResponseWriter) { _, _ = io.WriteString(w, "<html>Sign in</html>") }), "503 Egress extension: no token: BadAnswer"},
		{"a token that is over", answering(func(w http.ResponseWriter) { awslocal.Give(w, awslocal.Token(1), time.Now().Add(-5*time.Minute)) }), "503 Egress extension: no token: TokenExpired"},
		{"STS silent", "AWS_ENDPOINT_URL_STS=" + silent.URL, "503 Egress extension: no token: Timeout"},
		{"STS not there", "AWS_ENDPOINT_URL_STS=http://127.0.0.1:1", "503 Egress extension: no token: Unreachable"},
		{"no credentials", "AWS_SECRET_ACCESS_KEY=", "503 Egress extension: no token: NoCredentials"},
		{"Runtime API gone", "AWS_LAMBDA_RUNTIME_API=" + freePort(t), "403 Shown Bearer "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := startExtension(t, append(append([]string{}, good...), tt.env)...)
			got := ""
			egresstest.Eventually(t, "it listens", func() bool { got = e.connect("a.example:443"); return got != "" })
			if !strings.HasPrefix(got, "HTTP/1.1 "+tt.want) {
				t.Errorf("got %q, want %q; log %s", got, tt.want, e.log)
			}
			if strings.Contains(e.log.String(), "secret") {
				t.Errorf("a secret is in the log: %s", e.log)
			}
			e.alive()
		})
	}
}

// The API may go away in the middle, and another program may have the port first.
func TestExtensionOutlivesTheRuntimeAPIAndAPortThatIsTaken(t *testing.T) {
	t.Parallel()
	runtime, sts := awslocal.NewRuntime(t), awslocal.NewSTS(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	env := append(append(refusing(t), sts.Env()...), "AWS_LAMBDA_RUNTIME_API="+runtime.Address, "EGRESS_LISTEN="+taken.Addr().String())
	e := startExtension(t, env...)
	e.address = taken.Addr().String()
	egresstest.Eventually(t, "it waits for an event", func() bool { return runtime.Pending() == 1 })
	if !strings.Contains(e.log.String(), "cannot listen") {
		t.Errorf("the log says nothing of the port: %s", e.log)
	}
	runtime.Close()
	egresstest.Eventually(t, "the log says that the API is gone", func() bool { return strings.Contains(e.log.String(), "does not answer") })
	e.alive()
	taken.Close()
	egresstest.Eventually(t, "it has the port at last", func() bool { return strings.Contains(e.connect("a.example:443"), "403 Shown Bearer") })
}

func TestWrongCommandLineIsToldInOneLine(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(context.Background(), "egress", "serve")
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != exitUsage || strings.Count(string(out), "\n") != 1 {
		t.Errorf("%v, said %q", err, out)
	}
}
