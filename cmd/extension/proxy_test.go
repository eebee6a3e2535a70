package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/extension/dial"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/extension/relay"
)

// The static secret of function "demo" of the gate under test, which stands for a token.
const secret = "extension-test-0123456789"

// gate is the real proxy as a process, with an origin that its policy allows.
type gate struct {
	address, tls string // where it listens, in the clear and by TLS
	log, records egresstest.Buffer
	authority    *egresstest.Authority
	origin       *httptest.Server // by TLS, at localhost
	plain        *httptest.Server // in the clear, at localhost
}

// localhost returns a URL of a server of the machine with the name that the policy has.
func localhost(s *httptest.Server) string { return strings.Replace(s.URL, "127.0.0.1", "localhost", 1) }

// newGate builds and starts the proxy, with a function that has a static secret.
func newGate(t testing.TB) *gate {
	t.Helper()
	return startGate(t, func(g *gate) string {
		return fmt.Sprintf(`functions:
  demo:
    identify: {tokens: ["sha256:%x"]}
    allow:
      - {host: localhost, ports: [%s], addresses: [127.0.0.0/8, "::1/128"]}
      - {host: localhost, ports: [%s], addresses: [127.0.0.0/8, "::1/128"], tls: any}
`, sha256.Sum256([]byte(secret)), port(g.origin), port(g.plain))
	})
}

// startGate builds and starts the proxy with what its policy has beside the listeners.
func startGate(t testing.TB, rest func(*gate) string) *gate {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, "proxy"), "../proxy").CombinedOutput(); err != nil {
		t.Fatalf("building the proxy: %v: %s", err, out)
	}
	g := &gate{authority: egresstest.NewAuthority(t)}
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %d", r.Method, len(body))
	})
	g.origin, g.plain = httptest.NewUnstartedServer(hello), httptest.NewServer(hello)
	g.origin.TLS = &tls.Config{Certificates: []tls.Certificate{g.authority.Issue("localhost")}}
	g.origin.StartTLS()
	t.Cleanup(g.origin.Close)
	t.Cleanup(g.plain.Close)
	certificate, key := egresstest.PEM(t, g.authority.Issue("proxy.test", "localhost"))
	const listen = `version: 1
listen: {proxy: "127.0.0.1:0", admin: "127.0.0.1:0", tls: {address: "127.0.0.1:0", certificate: tls.crt, key: tls.key}}
`
	for name, text := range map[string]string{"tls.crt": string(certificate), "tls.key": string(key), "egress.yaml": listen + rest(g)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	g.run(t, dir)
	return g
}

// port returns the port of a server.
func port(s *httptest.Server) string {
	_, p, _ := net.SplitHostPort(s.Listener.Addr().String())
	return p
}

// run starts the proxy of a folder and waits until it is ready, with the keys of its issuers.
// It ends with the test.
func (g *gate) run(t testing.TB, dir string) {
	t.Helper()
	cmd := exec.Command(filepath.Join(dir, "proxy"), "run", "--config", filepath.Join(dir, "egress.yaml"))
	cmd.Stdout, cmd.Stderr = &g.records, &g.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Process.Signal(syscall.SIGINT)
		_ = cmd.Wait()
	})
	egresstest.Eventually(t, "the proxy is ready", func() bool {
		at := serving(&g.log)
		g.address, _ = at["proxy"].(string)
		g.tls, _ = at["tls"].(string)
		answer, err := http.Get(fmt.Sprintf("http://%v/readyz", at["admin"]))
		if err != nil {
			return false
		}
		answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
}

// serving returns the attributes of the line that says where the proxy listens.
func serving(log *egresstest.Buffer) map[string]any {
	for line := range strings.Lines(log.String()) {
		var m map[string]any
		if json.Unmarshal([]byte(line), &m) == nil && m["msg"] == "serving" {
			return m
		}
	}
	return nil
}

// basic is the credential of the static secret.
func basic(name, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+secret))
}

// relayTo serves a relay to the gate in this process, with a credential, and returns its
// address.
func (g *gate) relayTo(t testing.TB, credential string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	get := func(context.Context) (string, error) { return credential, nil }
	r := relay.New(relay.Options{
		Dial: dial.Proxy{Address: g.tls, TLS: &tls.Config{
			ServerName: "proxy.test", RootCAs: g.authority.Pool(), ClientSessionCache: tls.NewLRUClientSessionCache(1),
		}}.Dial,
		Credential: get, Replace: func(context.Context, string) (string, error) { return credential, nil },
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.Serve(ctx, ln) }()
	t.Cleanup(func() { cancel(); <-done })
	return ln.Addr().String()
}

// client returns an HTTP client that uses a proxy, which is at http://address without a
// credential for the extension.
func (g *gate) client(t testing.TB, proxy string) *http.Client {
	t.Helper()
	u, err := url.Parse(proxy)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{Proxy: http.ProxyURL(u), TLSClientConfig: &tls.Config{RootCAs: g.authority.Pool()}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: egresstest.Timeout}
}

// The proxy is built and started once.
func TestExtensionBeforeTheProxyItself(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	t.Run("reaches what it allows", g.reachesWhatIsAllowed)
	t.Run("its refusals are its own", g.refusalsAreItsOwn)
	t.Run("and keep a plain connection", g.refusalsKeepTheConnection)
	t.Run("the origin sees nothing", g.originSeesNothing)
}

func (g *gate) reachesWhatIsAllowed(t *testing.T) {
	client := g.client(t, "http://"+g.relayTo(t, basic("demo", secret)))
	for _, tt := range []struct{ method, url, content, want string }{
		{"GET", localhost(g.origin), "", "GET 0"},
		{"POST", localhost(g.origin), strings.Repeat("x", 1<<20), "POST 1048576"},
		{"GET", localhost(g.plain), "", "GET 0"},
		{"POST", localhost(g.plain), "short", "POST 5"},
		{"POST", localhost(g.plain), strings.Repeat("x", 1<<20), "POST 1048576"},
	} {
		r, err := http.NewRequest(tt.method, tt.url, strings.NewReader(tt.content))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := client.Do(r)
		if err != nil {
			t.Errorf("%s %s: %v", tt.method, tt.url, err)
			continue
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if string(body) != tt.want || err != nil {
			t.Errorf("%s %s: got %q and %v, want %q", tt.method, tt.url, body, err, tt.want)
		}
	}
	if _, err := client.Get("https://evil.example/"); err == nil || !strings.Contains(err.Error(), "Egress refused: host_not_allowed evil.example for demo") {
		t.Errorf("a refused host: %v", err)
	}
}

// refusals are requests that no policy here allows, without the end of their heads.
var refusals = []string{
	"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n", "CONNECT 169.254.169.254:80 HTTP/1.1\r\n",
	"CONNECT localhost:1 HTTP/1.1\r\nHost: localhost:1\r\n", "GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n",
	"POST http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\nContent-Length: 0\r\n",
	"CONNECT not_a_target HTTP/1.1\r\n", "GET https://evil.example/ HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n",
}

// number is the number of a request.
var number = regexp.MustCompile(`\b[0-9a-f]{16}-[0-9a-f]+\b`)

// say sends a request and returns all that comes, without its number.
func say(t *testing.T, address, request string) string {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(egresstest.Timeout))
	fmt.Fprint(c, request)
	answer, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(number.ReplaceAll(answer, []byte("N")))
}

// sayKept sends plain requests over one connection, each when the answer to the one before
// is read, and returns all that comes, without their numbers. The last of them closes.
func sayKept(t *testing.T, address string, requests ...string) string {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(egresstest.Timeout))
	var all bytes.Buffer
	in := bufio.NewReader(io.TeeReader(c, &all))
	for i, request := range requests {
		fmt.Fprint(c, request)
		answer, err := http.ReadResponse(in, nil)
		if err == nil {
			_, err = io.Copy(io.Discard, answer.Body)
		}
		if err != nil {
			t.Fatalf("request %d: %v behind %q", i, err, all.String())
		}
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		t.Fatal(err)
	}
	return string(number.ReplaceAll(all.Bytes(), []byte("N")))
}

// Refusals of plain requests on one connection, which stays for the next one: as without the
// extension too.
func (g *gate) refusalsKeepTheConnection(t *testing.T) {
	requests := func(credential string) (all []string) {
		for _, field := range []string{"", "", "Connection: close\r\n"} {
			all = append(all, "GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n"+field+credential+"\r\n")
		}
		return all
	}
	want := sayKept(t, g.address, requests("Proxy-Authorization: "+basic("demo", secret)+"\r\n")...)
	got := sayKept(t, g.relayTo(t, basic("demo", secret)), requests("")...)
	if got != want || strings.Count(got, "X-Egress-Reason: host_not_allowed") != 3 {
		t.Errorf("got\n%s\nwithout the extension\n%s", got, want)
	}
}

// A refusal reads as without the extension, byte for byte but for its number.
func (g *gate) refusalsAreItsOwn(t *testing.T) {
	through, rejected := g.relayTo(t, basic("demo", secret)), g.relayTo(t, basic("demo", "wrong"))
	attested := g.relayTo(t, "Bearer "+strings.Repeat("a", 40)+".b.c")
	for _, line := range refusals {
		for _, tt := range []struct{ address, credential string }{
			{through, basic("demo", secret)}, {rejected, basic("demo", "wrong")}, {attested, "Bearer " + strings.Repeat("a", 40) + ".b.c"},
		} {
			want := say(t, g.address, line+"Proxy-Authorization: "+tt.credential+"\r\n\r\n")
			if got := say(t, tt.address, line+"\r\n"); got != want || !strings.Contains(got, "X-Egress-Reason: ") {
				t.Errorf("%q got\n%s\nwithout the extension\n%s", line, got, want)
			}
		}
	}
}

// What the extension adds is for the proxy alone.
func (g *gate) originSeesNothing(t *testing.T) {
	var heads bytes.Buffer
	seen := make(chan struct{}, 1)
	g.plain.Config.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_ = r.Header.Write(&heads)
		seen <- struct{}{}
	})
	answer, err := g.client(t, "http://"+g.relayTo(t, basic("demo", secret))).Get(localhost(g.plain))
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if <-seen; strings.Contains(heads.String(), "Authorization") || strings.Contains(heads.String(), basic("demo", secret)) {
		t.Errorf("the origin got %s", heads.String())
	}
}
