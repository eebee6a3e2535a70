package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
)

// world is everything around the program: names, origins and a CA, all of them
// on loopback.
type world struct {
	t     testing.TB
	names *zone
	tls   *httptest.Server // the origin that real clients talk to
	roots *x509.CertPool
	ca    string // path of the CA's certificate

	stderr *os.File // of the programs; nil: a file
	shell  string   // commands that set limits of the programs before they begin

	vars      map[string]string // variables of a policy
	functions map[string]bool   // those that a policy has named by ${token_…}
}

// hostnames are the names of the origin's certificate.
var hostnames = []string{"allowed.test", "other.test", "a.wild.test"}

// newWorld makes a world where every name of hostnames leads to 127.0.0.1.
func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, names: newZone(t), functions: map[string]bool{}}
	ca := egresstest.NewAuthority(t)
	w.roots, w.ca = ca.Pool(), filepath.Join(t.TempDir(), "ca.pem")
	w.must(os.WriteFile(w.ca, ca.PEM(), 0o600))
	w.tls = httptest.NewUnstartedServer(origin())
	w.tls.TLS = &tls.Config{Certificates: []tls.Certificate{ca.Issue(hostnames...)}}
	w.tls.Config.ErrorLog = discardLog
	w.tls.StartTLS()
	t.Cleanup(w.tls.Close)
	for _, name := range hostnames {
		w.names.set(name, "127.0.0.1")
	}
	w.vars = map[string]string{"dns": w.names.addr, "port": port(w.tls.Listener)}
	return w
}

// must ends the test on an error of its own doing.
func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// write puts a policy into a file at once, by a rename. ${token_NAME} is the
// line of the function's token; other variables are of w.vars.
func (w *world) write(path, policy string) {
	w.t.Helper()
	w.must(os.WriteFile(path+".new", []byte(w.fill(policy)), 0o600))
	w.must(os.Rename(path+".new", path))
}

// fill fills the variables of a policy in.
func (w *world) fill(policy string) string {
	return os.Expand(policy, func(name string) string {
		if function, ok := strings.CutPrefix(name, "token_"); ok {
			w.functions[function] = true
			return fmt.Sprintf(`tokens: ["sha256:%x"]`, sha256.Sum256([]byte(secretPrefix+function)))
		}
		value, ok := w.vars[name]
		if !ok {
			w.t.Fatalf("the policy has ${%s}, which is nothing", name)
		}
		return value
	})
}

// head begins the policies of the tests: the kernel picks the ports.
const head = `version: 1
listen: {proxy: "127.0.0.1:0", admin: "127.0.0.1:0"}
dns: {upstreams: ["${dns}"], families: ip4}
`

// origin answers POST with what it gets and GET with what was PUT before.
func origin() http.Handler {
	var stored sync.Map
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		switch r.Method {
		case http.MethodPut:
			stored.Store(r.URL.Path, body)
		case http.MethodPost:
			_, _ = w.Write(body)
		default:
			if b, ok := stored.Load(r.URL.Path); ok {
				_, _ = w.Write(b.([]byte))
			}
		}
	})
}

// trust is the TLS configuration of a client that trusts the CA.
func (w *world) trust() *tls.Config { return &tls.Config{RootCAs: w.roots} }

// listener is an origin of bare TCP that counts who comes.
type listener struct {
	net.Listener
	accepted atomic.Int64
}

// listen starts an origin on loopback that runs serve on each connection.
func (w *world) listen(serve func(net.Conn)) *listener {
	w.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	l := &listener{Listener: ln}
	egresstest.Serve(w.t, ln, func(c net.Conn) {
		l.accepted.Add(1)
		serve(c)
	})
	return l
}

// echo sends back what it reads.
func echo(c net.Conn) { _, _ = io.Copy(c, c) }

// port returns the port that a listener has.
func port(l net.Listener) string {
	return fmt.Sprint(netip.MustParseAddrPort(l.Addr().String()).Port())
}

// payload returns bytes of every value in an order that nothing produces by
// mistake.
func payload(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

// reply is what the program answered to one request.
type reply struct {
	*http.Response
	body string
	conn net.Conn // of a CONNECT that was answered 200: the tunnel
	from string   // the client's address, as records have it

	spoke time.Duration // from the begin of the dial until all was written
}

// reason is the reason that a refusal names.
func (r reply) reason() string { return r.Header.Get("X-Egress-Reason") }

// connect asks for a tunnel as a function; "" shows no credential. What is
// opened is closed with the test.
func (p *running) connect(function, target string) reply {
	p.t.Helper()
	r, err := p.tryConnect(function, target)
	if err != nil {
		p.t.Fatalf("CONNECT %s: %v", target, err)
	}
	if r.conn != nil {
		p.t.Cleanup(func() { _ = r.conn.Close() })
	}
	return r
}

// tryConnect is connect for goroutines: it does not end the test.
func (p *running) tryConnect(function, target string) (reply, error) {
	return p.ask("CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n" + authorization(function) + "\r\n")
}

// authorization returns the field line of a function's credential.
func authorization(function string) string {
	if function == "" {
		return ""
	}
	return "Proxy-Authorization: Basic " + credential(function) + "\r\n"
}

// ask sends one raw request and reads the answer. The connection is closed
// unless the answer opened a tunnel.
func (p *running) ask(request string) (reply, error) { return p.askFrom("127.0.0.1", request) }

// askFrom is ask from an address of loopback.
func (p *running) askFrom(source, request string) (reply, error) {
	began := time.Now()
	c, err := dialerAt(source, "tcp").Dial("tcp", p.proxy)
	if err != nil {
		return reply{}, err
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	r := reply{from: c.LocalAddr().String()}
	if _, err := io.WriteString(c, request); err != nil {
		_ = c.Close()
		return r, err
	}
	r.spoke = time.Since(began)
	method, _, _ := strings.Cut(request, " ")
	br := bufio.NewReader(c)
	r.Response, err = http.ReadResponse(br, &http.Request{Method: method})
	if err != nil {
		_ = c.Close()
		return r, err
	}
	if method == http.MethodConnect && r.StatusCode == http.StatusOK {
		r.conn = &readAhead{c, br}
		return r, nil
	}
	defer c.Close()
	b, err := io.ReadAll(r.Body)
	r.body = string(b)
	return r, err
}

// readAhead is a connection with what was read behind the answer.
type readAhead struct {
	net.Conn
	br *bufio.Reader
}

func (c *readAhead) Read(p []byte) (int, error) { return c.br.Read(p) }

func (c *readAhead) CloseWrite() error { return c.Conn.(*net.TCPConn).CloseWrite() }

// carries checks that a tunnel to an echoing origin is alive.
func (r reply) carries(t testing.TB) {
	t.Helper()
	want := payload(64)
	if _, err := r.conn.Write(want); err != nil {
		t.Fatalf("writing into the tunnel: %v", err)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r.conn, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("the tunnel does not carry what it is given: %v", err)
	}
}

// ends waits for the other side to close a tunnel.
func (r reply) ends(t testing.TB) {
	t.Helper()
	if n, err := io.Copy(io.Discard, r.conn); n > 0 || isTimeout(err) {
		t.Fatalf("the tunnel goes on: %d bytes, %v", n, err)
	}
}

func isTimeout(err error) bool {
	timeout, ok := err.(net.Error)
	return ok && timeout.Timeout()
}
