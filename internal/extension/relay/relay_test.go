package relay_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/extension/dial"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/extension/relay"
)

// upstream stands in for the proxy: it takes connections by TLS and does with each as the
// test says.
type upstream struct {
	address string
	dials   atomic.Int64
	mu      sync.Mutex
	heads   []string
}

// newUpstream starts one. Each connection has its head read, then serve has it.
func newUpstream(t *testing.T, certificate tls.Certificate, serve func(n int64, head string, c *tls.Conn, in *bufio.Reader)) *upstream {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}})
	if err != nil {
		t.Fatal(err)
	}
	u := &upstream{address: ln.Addr().String()}
	var conns sync.WaitGroup
	t.Cleanup(conns.Wait)
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			n := u.dials.Add(1)
			conns.Go(func() {
				defer c.Close()
				in := bufio.NewReader(c)
				head := ""
				for !strings.HasSuffix(head, "\r\n\r\n") {
					line, err := in.ReadString('\n')
					if head += line; err != nil {
						return
					}
				}
				u.mu.Lock()
				u.heads = append(u.heads, head)
				u.mu.Unlock()
				serve(n, head, c.(*tls.Conn), in)
			})
		}
	}()
	return u
}

// seen returns the heads that have come.
func (u *upstream) seen() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]string(nil), u.heads...)
}

// setup is a relay with its listener, and a clock that the test moves.
type setup struct {
	t       *testing.T
	address string
	log     bytes.Buffer
	jump    atomic.Int64 // nanoseconds
	replace func() (string, error)
	token   func() (string, error)
	closed  chan struct{}
}

// start serves a relay in front of an upstream. Its end is waited for.
func start(t *testing.T, authority *egresstest.Authority, address string, change func(*relay.Options)) *setup {
	t.Helper()
	s := &setup{t: t, closed: make(chan struct{})}
	s.token = func() (string, error) { return "Bearer first", nil }
	s.replace = func() (string, error) { return "Bearer second", nil }
	o := relay.Options{
		Dial:       dial.Proxy{Address: address, TLS: &tls.Config{ServerName: "proxy.test", RootCAs: authority.Pool()}}.Dial,
		Credential: func(context.Context) (string, error) { return s.token() },
		Replace:    func(context.Context, string) (string, error) { return s.replace() },
		Code:       func(error) string { return "AccessDenied" },
		Now:        func() time.Time { return time.Now().Add(time.Duration(s.jump.Load())) },
		Log:        slog.New(slog.NewTextHandler(&s.log, nil)),
	}
	if change != nil {
		change(&o)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	go func() { defer close(s.closed); relay.New(o).Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		<-s.closed
		if log := s.log.String(); strings.Contains(log, "first") || strings.Contains(log, "second") {
			t.Errorf("a token is in the log: %s", log)
		}
	})
	return s
}

// dial opens a client's connection.
func (s *setup) dial() *net.TCPConn {
	s.t.Helper()
	c, err := net.Dial("tcp", s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c.(*net.TCPConn)
}

// say sends text and returns everything that comes until the end.
func (s *setup) say(text string) string {
	s.t.Helper()
	c := s.dial()
	if _, err := io.WriteString(c, text); err != nil {
		s.t.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if err != nil {
		s.t.Fatalf("reading the answer: %v", err)
	}
	return string(answer)
}

// authority and certificate of a proxy.
func identity(t *testing.T) (*egresstest.Authority, tls.Certificate) {
	a := egresstest.NewAuthority(t)
	return a, a.Issue("proxy.test")
}

const refusal = "HTTP/1.1 403 Egress refused: host_not_allowed evil.example for f\r\nproxy-STATUS: egress; error=http_request_denied\r\n" +
	"X-Egress-Reason: host_not_allowed\r\nx-egress-reason: twice\r\nConnection: close\r\nContent-Length: 5\r\n\r\nsorry"

func TestRefusalOfTheProxyReachesTheClientUnchanged(t *testing.T) {
	t.Parallel()
	authority, certificate := identity(t)
	u := newUpstream(t, certificate, func(_ int64, _ string, c *tls.Conn, _ *bufio.Reader) { io.WriteString(c, refusal) })
	s := start(t, authority, u.address, nil)
	for _, request := range []string{"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n", "GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n"} {
		if got := s.say(request); got != refusal {
			t.Errorf("%q got\n%s\nwant\n%s", request, got, refusal)
		}
	}
}

func TestCredentialOfTheClientIsDroppedAndTheTokenAdded(t *testing.T) {
	t.Parallel()
	authority, certificate := identity(t)
	u := newUpstream(t, certificate, func(_ int64, _ string, c *tls.Conn, _ *bufio.Reader) { io.WriteString(c, refusal) })
	s := start(t, authority, u.address, nil)
	s.say("CONNECT a.example:443 HTTP/1.0\r\nproxy-authorization: Basic bW9yZQ==\r\nX-Of-Mine: 1\r\nProxy-Authorization: Bearer stolen\r\n\r\n")
	want := "CONNECT a.example:443 HTTP/1.0\r\nX-Of-Mine: 1\r\nProxy-Authorization: Bearer first\r\n\r\n"
	if got := u.seen(); len(got) != 1 || got[0] != want {
		t.Errorf("the proxy got %q, want %q", got, want)
	}
}

// echo accepts each CONNECT and gives back what comes, until an end.
func echo(_ int64, _ string, c *tls.Conn, in *bufio.Reader) {
	io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
	io.Copy(c, in)
	c.CloseWrite()
}

// tunnel opens one.
func (s *setup) tunnel() (*net.TCPConn, *bufio.Reader) {
	s.t.Helper()
	c := s.dial()
	io.WriteString(c, "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n")
	in := bufio.NewReader(c)
	answer, err := http.ReadResponse(in, &http.Request{Method: "CONNECT"})
	if err != nil || answer.StatusCode != 200 {
		s.t.Fatalf("got %v and %v", answer, err)
	}
	return c, in
}

func TestTunnelCarriesBytesAndEndsByDirection(t *testing.T) {
	t.Parallel()
	authority, certificate := identity(t)
	u := newUpstream(t, certificate, echo)
	s := start(t, authority, u.address, nil)
	c, in := s.tunnel()
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	go func() { c.Write(sent); c.CloseWrite() }()
	got, err := io.ReadAll(in)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d of %d bytes came back, %v", len(got), len(sent), err)
	}
}

// Each CONNECT has a connection of its own: none is kept that a freeze may have killed.
func TestEachConnectHasAConnectionOfItsOwn(t *testing.T) {
	t.Parallel()
	authority, certificate := identity(t)
	u := newUpstream(t, certificate, echo)
	s := start(t, authority, u.address, nil)
	for range 3 {
		c, in := s.tunnel()
		c.CloseWrite()
		io.ReadAll(in)
	}
	if n := u.dials.Load(); n != 3 {
		t.Errorf("%d connections for 3 tunnels", n)
	}
}

func TestTokenThatIsRefusedIsReplacedOnce(t *testing.T) {
	t.Parallel()
	const challenge = "HTTP/1.1 407 Egress refused: identity_rejected\r\nProxy-Authenticate: Basic realm=\"egress\"\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
	for _, tt := range []struct {
		name, request string
		refused       int64 // connections that get a 407
		replace       error
		want          string // what the answer begins with
		dials         int64
	}{
		{"a new one holds", "CONNECT a.example:443 HTTP/1.1\r\n\r\n", 1, nil, "HTTP/1.1 403", 2},
		{"a new one does not hold either", "CONNECT a.example:443 HTTP/1.1\r\n\r\n", 9, nil, challenge, 2},
		{"there is no new one", "CONNECT a.example:443 HTTP/1.1\r\n\r\n", 9, errors.New("none"), challenge, 1},
		{"content goes again", "POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\n\r\nbody", 1, nil, "HTTP/1.1 403", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			authority, certificate := identity(t)
			u := newUpstream(t, certificate, func(n int64, head string, c *tls.Conn, in *bufio.Reader) {
				if strings.HasPrefix(head, "POST") {
					if body := make([]byte, 4); true {
						if _, err := io.ReadFull(in, body); err != nil || string(body) != "body" {
							t.Errorf("the content is %q, %v", body, err)
						}
					}
				}
				if n <= tt.refused {
					io.WriteString(c, challenge)
					return
				}
				io.WriteString(c, refusal)
			})
			s := start(t, authority, u.address, nil)
			s.replace = func() (string, error) { return "Bearer second", tt.replace }
			if got := s.say(tt.request); !strings.HasPrefix(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if n := u.dials.Load(); n != tt.dials {
				t.Errorf("%d connections, want %d", n, tt.dials)
			}
			for i, head := range u.seen() {
				if want := []string{"Bearer first\r\n", "Bearer second\r\n"}[i]; !strings.Contains(head, want) {
					t.Errorf("request %d has no %q: %q", i, want, head)
				}
			}
		})
	}
}

func TestWhatTheExtensionRefusesItselfSaysWhy(t *testing.T) {
	t.Parallel()
	authority, certificate := identity(t)
	u := newUpstream(t, certificate, echo)
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	silent := newUpstream(t, certificate, func(int64, string, *tls.Conn, *bufio.Reader) {})
	odd := newUpstream(t, certificate, func(_ int64, _ string, c *tls.Conn, _ *bufio.Reader) { io.WriteString(c, "SSH-2.0-other\n\n") })
	const connect = "CONNECT a.example:443 HTTP/1.1\r\n\r\n"
	for _, tt := range []struct {
		name, address, request, want string
		change                       func(*relay.Options)
	}{
		{"no token", u.address, connect, "HTTP/1.1 503 Egress extension: no token: AccessDenied\r\nProxy-Status: egress-extension; error=proxy_internal_error\r\n", func(o *relay.Options) {
			o.Credential = func(context.Context) (string, error) { return "", errors.New("none") }
		}},
		{"not configured", u.address, connect, "HTTP/1.1 503 Egress extension: not configured: EGRESS_PROXY\r\n", func(o *relay.Options) {
			*o = relay.Options{Unusable: "EGRESS_PROXY"}
		}},
		{"proxy down", dead.Addr().String(), connect, "HTTP/1.1 502 Egress extension: no proxy: connection_refused\r\n", nil},
		{"proxy closes", silent.address, connect, "HTTP/1.1 502 Egress extension: no proxy: connection_terminated\r\n", nil},
		{"no proxy", odd.address, connect, "HTTP/1.1 502 Egress extension: no proxy: ", nil},
		{"malformed", u.address, "GET / HTTP/1.1\nHost: a\n\n", "HTTP/1.1 400 Egress extension: malformed request\r\n", nil},
		{"another protocol", u.address, "\x16\x03\x01\x00\x10\n\n", "HTTP/1.1 400 Egress extension: malformed request\r\n", nil},
		{"head without an end", u.address, "GET http://a/ HTTP/1.1\r\nA: " + strings.Repeat("a", 65<<10), "HTTP/1.1 400 Egress extension: malformed request\r\n", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, authority, tt.address, tt.change)
			if got := s.say(tt.request); !strings.HasPrefix(got, tt.want) || !strings.Contains(got, "Connection: close\r\n") {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// Who answers at the proxy's address with a certificate of somebody else gets no token.
func TestTokenIsNotSentToWhoIsNotTheProxy(t *testing.T) {
	t.Parallel()
	authority := egresstest.NewAuthority(t)
	for name, certificate := range map[string]tls.Certificate{
		"another authority": egresstest.NewAuthority(t).Issue("proxy.test"),
		"another name":      authority.Issue("other.test"),
		"self-signed":       egresstest.SelfSigned(t, "proxy.test"),
		"expired":           egresstest.Expired(t, "proxy.test"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newUpstream(t, certificate, echo)
			s := start(t, authority, u.address, nil)
			got := s.say("CONNECT a.example:443 HTTP/1.1\r\n\r\n")
			if !strings.HasPrefix(got, "HTTP/1.1 502 Egress extension: no proxy: tls_certificate_error\r\n") {
				t.Errorf("got %q", got)
			}
			if heads := u.seen(); len(heads) != 0 {
				t.Errorf("the impostor got %q", heads)
			}
		})
	}
}

// A proxy that ends between accept and answer costs nothing where nothing can have been
// done twice.
func TestRequestThatGotNoAnswerIsSentAgainWhereItCanBe(t *testing.T) {
	t.Parallel()
	for method, dials := range map[string]int64{"CONNECT": 2, "GET": 2, "POST": 1} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			authority, certificate := identity(t)
			u := newUpstream(t, certificate, func(n int64, _ string, c *tls.Conn, _ *bufio.Reader) {
				if n > 1 {
					io.WriteString(c, refusal)
				}
			})
			s := start(t, authority, u.address, nil)
			target := "http://a.example/"
			if method == "CONNECT" {
				target = "a.example:443"
			}
			got := s.say(method + " " + target + " HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
			if again := strings.HasPrefix(got, "HTTP/1.1 403"); again != (dials == 2) || u.dials.Load() != dials {
				t.Errorf("%d connections, want %d; got %q", u.dials.Load(), dials, got)
			}
		})
	}
}

// A tunnel that the proxy has reset while everything stood still ends for its client at
// the thaw, and the next CONNECT, which has a connection of its own, goes through. A proxy
// that resets that one too before it answers is asked again.
func TestProxyThatResetsBehindAThaw(t *testing.T) {
	t.Parallel()
	authority, certificate := identity(t)
	reset := func(c *tls.Conn) { _ = c.NetConn().(*net.TCPConn).SetLinger(0) }
	thawed := make(chan struct{})
	u := newUpstream(t, certificate, func(n int64, head string, c *tls.Conn, in *bufio.Reader) {
		switch n {
		case 1: // the tunnel of before
			io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
			<-thawed
			reset(c)
		case 2: // behind the thaw: reset without an answer
			reset(c)
		default:
			echo(n, head, c, in)
		}
	})
	s := start(t, authority, u.address, nil)
	_, old := s.tunnel()
	s.jump.Add(int64(3 * time.Second)) // too short for the relay to end it
	close(thawed)
	if b, err := old.ReadByte(); err == nil {
		t.Errorf("the tunnel that was reset gives %q", b)
	}
	c, in := s.tunnel()
	io.WriteString(c, "again\n")
	if line, err := in.ReadString('\n'); line != "again\n" || u.dials.Load() != 3 {
		t.Errorf("behind the thaw: %q, %v, %d connections, want 3", line, err, u.dials.Load())
	}
}

// origin answers plain requests with what they contain.
func origin(t *testing.T) func(int64, string, *tls.Conn, *bufio.Reader) {
	return func(_ int64, head string, c *tls.Conn, in *bufio.Reader) {
		r, err := http.ReadRequest(bufio.NewReader(io.MultiReader(strings.NewReader(head), in)))
		if err != nil {
			t.Errorf("the proxy got a request that it cannot read: %v", err)
			return
		}
		if r.Header.Get("Expect") != "" {
			io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("reading the content: %v", err)
		}
		switch r.URL.Path {
		case "/chunked":
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Sum\r\n\r\n%x\r\n%s\r\n0\r\nSum: 1\r\n\r\n", len(body), body)
		case "/end":
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\n\r\n%s", body)
			return
		default:
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(body))
			if r.Method != http.MethodHead {
				c.Write(body)
			}
		}
		in.ReadByte() // until the other side closes
	}
}

func TestPlainRequestsKeepTheirContentAndTheClientsConnection(t *testing.T) {
	t.Parallel()
	authority, certificate := identity(t)
	u := newUpstream(t, certificate, origin(t))
	s := start(t, authority, u.address, nil)
	opened := 0
	transport := &http.Transport{
		Proxy: nil, ExpectContinueTimeout: time.Minute,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			opened++
			return (&net.Dialer{}).DialContext(ctx, "tcp", s.address)
		},
	}
	defer transport.CloseIdleConnections()
	big := strings.Repeat("content ", 1<<16)
	for _, tt := range []struct {
		method, path, content string
		fields                string
		chunked               bool
	}{
		{"GET", "/", "", "", false},
		{"POST", "/", "short", "", false},
		{"POST", "/", "short", "100-continue", false},
		{"POST", "/chunked", big, "", false},
		{"POST", "/chunked", big, "", true},
		{"HEAD", "/", "", "", false},
		{"PUT", "/", big, "100-continue", true},
		{"POST", "/end", "until the end", "", false},
	} {
		r, err := http.NewRequestWithContext(t.Context(), tt.method, "http://a.example"+tt.path, strings.NewReader(tt.content))
		if err != nil {
			t.Fatal(err)
		}
		r.URL.Opaque = "//a.example" + tt.path
		if tt.fields != "" {
			r.Header.Set("Expect", tt.fields)
		}
		if tt.chunked {
			r.ContentLength = -1
		}
		answer, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatalf("%+v: %v", tt.path, err)
		}
		got, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || string(got) != tt.content {
			t.Errorf("%s %s: got %d bytes and %v, want %d", tt.method, tt.path, len(got), err, len(tt.content))
		}
		if tt.path == "/chunked" && answer.Trailer.Get("Sum") != "1" {
			t.Errorf("%s %s: no trailer field", tt.method, tt.path)
		}
	}
	if opened != 1 {
		t.Errorf("the client opened %d connections for 8 requests, want 1", opened)
	}
	for _, head := range u.seen() {
		if strings.Count(head, "Proxy-Authorization: Bearer first\r\n") != 1 {
			t.Errorf("a request has no token: %q", head)
		}
	}
}

// An answer that breaks off must not look whole.
func TestContentThatBreaksOffIsAReset(t *testing.T) {
	t.Parallel()
	authority, certificate := identity(t)
	u := newUpstream(t, certificate, func(_ int64, _ string, c *tls.Conn, _ *bufio.Reader) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf of it")
	})
	s := start(t, authority, u.address, nil)
	c := s.dial()
	io.WriteString(c, "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n")
	if got, err := io.ReadAll(c); err == nil {
		t.Errorf("got %q and an end", got)
	}
}

// A client that sends much gets the answer of a proxy that does not want it.
func TestAnswerBeforeTheContentIsReadReachesTheClient(t *testing.T) {
	t.Parallel()
	authority, certificate := identity(t)
	u := newUpstream(t, certificate, func(_ int64, _ string, c *tls.Conn, _ *bufio.Reader) {
		io.WriteString(c, refusal)
		c.CloseWrite()
		time.Sleep(50 * time.Millisecond)
	})
	s := start(t, authority, u.address, nil)
	c := s.dial()
	io.WriteString(c, "POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nContent-Length: 10000000\r\n\r\nand then")
	got, err := io.ReadAll(c)
	if err != nil || string(got) != refusal {
		t.Errorf("got %q and %v", got, err)
	}
}

// A pool finds the tunnel closed before it writes, and the one that waits for an answer
// gets it.
func TestFreezeEndsTheTunnelsThatWaitForNothing(t *testing.T) {
	t.Parallel()
	for _, frozen := range []time.Duration{time.Second, 4 * time.Second, 5 * time.Second, 8 * time.Second, 20 * time.Minute} {
		t.Run(frozen.String(), func(t *testing.T) {
			t.Parallel()
			authority, certificate := identity(t)
			release := make(chan struct{})
			ended := make(chan struct{}, 9)
			u := newUpstream(t, certificate, func(_ int64, _ string, c *tls.Conn, in *bufio.Reader) {
				io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
				for {
					line, err := in.ReadString('\n')
					if err != nil {
						ended <- struct{}{}
						return
					}
					if line == "slow\n" {
						<-release
					}
					io.WriteString(c, line)
				}
			})
			s := start(t, authority, u.address, nil)
			idle, idleIn := s.tunnel()
			io.WriteString(idle, "quick\n")
			idleIn.ReadString('\n')
			fresh, freshIn := s.tunnel() // nothing has gone through it yet
			waiting, waitingIn := s.tunnel()
			io.WriteString(waiting, "slow\n")
			time.Sleep(20 * time.Millisecond) // the relay has it
			s.jump.Add(int64(frozen))
			if closes := frozen >= 5*time.Second; closes {
				for name, in := range map[string]*bufio.Reader{"idle": idleIn, "fresh": freshIn} {
					if b, err := in.ReadByte(); err != io.EOF {
						t.Errorf("%s: got %q and %v, want an end", name, b, err)
					}
				}
				<-ended // on the proxy's side too
				<-ended
			} else {
				time.Sleep(250 * time.Millisecond) // the clock has been looked at
				for name, c := range map[string]net.Conn{"idle": idle, "fresh": fresh} {
					if _, err := io.WriteString(c, "more\n"); err != nil {
						t.Errorf("%s: %v", name, err)
					}
				}
				for name, in := range map[string]*bufio.Reader{"idle": idleIn, "fresh": freshIn} {
					if line, err := in.ReadString('\n'); line != "more\n" {
						t.Errorf("%s: got %q and %v", name, line, err)
					}
				}
			}
			close(release)
			if line, err := waitingIn.ReadString('\n'); line != "slow\n" {
				t.Errorf("what waits got %q and %v", line, err)
			}
		})
	}
}

func TestServeEndsWithItsContextAndTakesItsTunnelsAlong(t *testing.T) {
	t.Parallel()
	authority, certificate := identity(t)
	u := newUpstream(t, certificate, echo)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := relay.New(relay.Options{
		Dial:       dial.Proxy{Address: u.address, TLS: &tls.Config{ServerName: "proxy.test", RootCAs: authority.Pool()}}.Dial,
		Credential: func(context.Context) (string, error) { return "Bearer first", nil },
	})
	done := make(chan struct{})
	go func() { defer close(done); r.Serve(ctx, ln) }()
	s := &setup{t: t, address: ln.Addr().String()}
	_, in := s.tunnel()
	cancel()
	<-done
	if _, err := in.ReadByte(); err == nil {
		t.Error("the tunnel goes on")
	}
}
