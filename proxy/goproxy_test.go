package proxy

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/elazarl/goproxy"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/gate"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/httphead"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
)

// options are the least that a server needs.
func options() Options {
	return Options{
		Policy: func() (*policy.Policy, *identity.Table) { return nil, nil },
		Audit:  audit.New(io.Discard, audit.Options{}),
	}
}

// canaryServer counts the connections that it gets.
func canaryServer(t *testing.T) (addr string, count func() int64) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var n atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			n.Add(1)
			c.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln.Addr().String(), n.Load
}

// pipeWriter is a http.ResponseWriter whose connection can be hijacked.
type pipeWriter struct {
	conn   net.Conn
	header http.Header
}

func (w *pipeWriter) Header() http.Header         { return w.header }
func (w *pipeWriter) Write(b []byte) (int, error) { return len(b), nil }
func (w *pipeWriter) WriteHeader(int)             {}
func (w *pipeWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.conn, bufio.NewReadWriter(bufio.NewReader(w.conn), bufio.NewWriter(w.conn)), nil
}

// connectThrough sends a CONNECT through g and returns what the client gets.
func connectThrough(t *testing.T, g *goproxy.ProxyHttpServer, target string) string {
	t.Helper()
	ours, client := net.Pipe()
	defer client.Close()
	served := make(chan struct{})
	go func() {
		defer close(served)
		r := &http.Request{Method: http.MethodConnect, URL: &url.URL{Host: target}, Host: target, Header: http.Header{}}
		g.ServeHTTP(&pipeWriter{ours, http.Header{}}, r)
	}()
	_ = client.SetDeadline(time.Now().Add(30 * time.Second))
	line, _ := bufio.NewReader(client).ReadString('\n')
	client.Close()
	<-served
	return line
}

// With no handler, or one that has no opinion, goproxy opens the tunnel. Ours
// has nothing to open it with.
func TestConnectThatNoHandlerAnswersOpensNothing(t *testing.T) {
	addr, seen := canaryServer(t)
	// goproxy takes its own dial from these when it is made.
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"} {
		t.Setenv(name, "http://"+addr)
	}
	dialing := &http.Transport{DialContext: (&net.Dialer{}).DialContext}
	for _, row := range []struct {
		why    string
		change func(*goproxy.ProxyHttpServer)
	}{
		{"no handler", func(*goproxy.ProxyHttpServer) {}},
		{"a handler without an opinion", func(g *goproxy.ProxyHttpServer) {
			g.OnRequest().HandleConnectFunc(func(host string, _ *goproxy.ProxyCtx) (*goproxy.ConnectAction, string) { return nil, host })
		}},
		// Either of the two ways to dial is closed by itself.
		{"a transport that dials", func(g *goproxy.ProxyHttpServer) { g.Tr = dialing }},
		{"no dial for CONNECT", func(g *goproxy.ProxyHttpServer) { g.ConnectDial = nil }},
	} {
		for _, target := range []string{addr, "127.0.0.1:80", "/"} {
			g := closedGoproxy()
			row.change(g)
			if line := connectThrough(t, g, target); strings.Contains(line, " 200 ") {
				t.Errorf("with %s CONNECT %s is answered %q", row.why, target, line)
			}
		}
	}
	if n := seen(); n != 0 {
		t.Errorf("%d connections were opened", n)
	}
}

func TestGoproxyHasNoWayToDial(t *testing.T) {
	addr, seen := canaryServer(t)
	t.Setenv("HTTP_PROXY", "http://"+addr)
	t.Setenv("HTTPS_PROXY", "http://"+addr)
	s := New(Options{})
	g := s.goproxy
	if _, err := g.ConnectDial("tcp", addr); !errors.Is(err, errNoDial) {
		t.Errorf("ConnectDial returned %v", err)
	}
	if g.ConnectDialWithReq != nil {
		t.Error("there is a ConnectDialWithReq")
	}
	if _, err := g.Tr.DialContext(context.Background(), "tcp", addr); !errors.Is(err, errNoDial) {
		t.Errorf("Tr.DialContext returned %v", err)
	}
	for _, scheme := range []string{"http", "https"} {
		r := &http.Request{Method: "GET", URL: &url.URL{Scheme: scheme, Host: addr}, Header: http.Header{}}
		if _, err := g.Tr.RoundTrip(r); !errors.Is(err, errNoDial) {
			t.Errorf("a round trip of Tr returned %v", err)
		}
	}
	// A proxy variable is not followed on loopback, so what can be seen of it
	// is that nobody asks for one.
	if g.Tr.Proxy != nil {
		t.Error("its transport asks the environment for a proxy")
	}
	if g.Tr.TLSClientConfig != nil {
		t.Error("goproxy's transport has a TLS configuration of its own")
	}
	if n := seen(); n != 0 {
		t.Errorf("%d connections were opened", n)
	}
}

// goproxy reads what the client has sent from the reader that comes with a hijacked
// connection, and takes it that there is one.
func TestHijackedConnectionComesWithItsReaderAndWriter(t *testing.T) {
	ours, client := net.Pipe()
	defer client.Close()
	s := New(options())
	x := s.shared.Begin(s.shared.Conns.Add(ours), gate.Connect, &httphead.Head{})
	x.Conn.Unread([]byte("early"))
	c, rw, err := connectWriter{x}.Hijack()
	if h, ok := c.(*hijacked); err != nil || !ok || h.exchange != x || rw == nil || rw.Reader == nil || rw.Writer == nil {
		t.Fatalf("hijacked are %T, %v, %v", c, rw, err)
	}
	go func() { _, _ = io.WriteString(client, "late"); client.Close() }()
	if got, err := io.ReadAll(rw); string(got) != "earlylate" || err != nil {
		t.Errorf("its reader has %q, %v", got, err)
	}
}
