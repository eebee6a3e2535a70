package proxy_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// closing is an origin whose first connection answers one request, and is reset, or
// closed, when the first byte of the next one has come.
func closing(abort bool) (serve func(net.Conn), stale *atomic.Int64) {
	var n atomic.Int64
	stale = &atomic.Int64{}
	return func(c net.Conn) {
		br := bufio.NewReader(c)
		first := n.Add(1) == 1
		for {
			r, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				return
			}
			if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"); err != nil {
				return
			}
			if !first {
				continue
			}
			if _, err := br.ReadByte(); err == nil {
				stale.Add(1)
			}
			if tc := c.(*tapConn).Conn.(*net.TCPConn); abort {
				_ = tc.SetLinger(0)
			}
			return
		}
	}, stale
}

// An origin that ends a kept connection when the next request comes costs no client
// anything: what can be repeated is, and the rest had a connection of its own.
func TestRequestIsNotLostToAConnectionThatItsOriginIsClosing(t *testing.T) {
	for _, row := range []struct {
		method, fields, body string
		repeated             bool
	}{
		{"GET", "", "", true}, {"HEAD", "", "", true}, {"OPTIONS", "", "", true}, {"DELETE", "", "", true},
		{"PUT", "Content-Length: 5\r\n", "hello", true},
		{"PUT", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n", true},
		{"POST", "Content-Length: 0\r\n", "", false}, {"POST", "Content-Length: 5\r\n", "hello", false},
		{"POST", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n", false}, {"PATCH", "Content-Length: 5\r\n", "hello", false},
	} {
		for _, abort := range []bool{false, true} {
			t.Run(row.method+row.fields, func(t *testing.T) {
				t.Parallel()
				serve, stale := closing(abort)
				r := newPlainRig(t, serve)
				if got := r.ask(r.request("GET", "/", "Connection: close\r\n", "")); got.StatusCode != 200 {
					t.Fatalf("the first is answered %s", got.Status)
				}
				_, br := r.send(r.request(row.method, "/", row.fields, row.body))
				resp, _, err := readFinal(br, row.method)
				if err != nil || resp.StatusCode != 200 {
					t.Fatalf("answered %v, %v", resp, err)
				}
				if n := stale.Load(); (n == 1) != row.repeated {
					t.Errorf("%d requests met the close", n)
				}
				if n := r.origin.accepted.Load(); n != 2 {
					t.Errorf("%d connections to the origin, want 2", n)
				}
			})
		}
	}
}

// What the client has not sent whole cannot be sent again, so it is sent on no connection
// that may be stale.
func TestContentThatIsStillComingHasAConnectionOfItsOwn(t *testing.T) {
	serve, stale := closing(true)
	r := newPlainRig(t, serve)
	r.ask(r.request("GET", "/", "Connection: close\r\n", ""))
	c, br := r.send(r.request("PUT", "/", "Content-Length: 5\r\n", "he"))
	eventually(t, "the beginning at the origin", func() bool { return r.origin.accepted.Load() == 2 })
	if _, err := io.WriteString(c, "llo"); err != nil {
		t.Fatal(err)
	}
	if resp, body := readOne(t, br); resp.StatusCode != 200 || body != "ok" || stale.Load() != 0 {
		t.Errorf("answered %s %q; %d requests met the close", resp.Status, body, stale.Load())
	}
}

// A new connection that dies has no excuse: what it did with the request nobody knows.
func TestRequestIsNotRepeatedOnANewConnection(t *testing.T) {
	for _, method := range []string{"GET", "POST"} {
		r := newPlainRig(t, func(c net.Conn) { _, _ = http.ReadRequest(bufio.NewReader(c)) })
		got := r.ask(r.request(method, "/", "Content-Length: 0\r\n", ""))
		if got.StatusCode != 502 || got.reason() != "origin_failed" {
			t.Errorf("%s is answered %s", method, got.Status)
		}
		if n := r.origin.requests(); n != 1 {
			t.Errorf("%s: the origin got %d requests", method, n)
		}
	}
}

// An answer that has begun is not asked for again.
func TestRequestIsNotRepeatedBehindTheBeginningOfAnAnswer(t *testing.T) {
	var n atomic.Int64
	r := newPlainRig(t, func(c net.Conn) {
		br := bufio.NewReader(c)
		for n.Add(1) == 1 {
			if _, err := http.ReadRequest(br); err != nil {
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
		if _, err := http.ReadRequest(br); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 2")
		}
	})
	if got := r.ask(r.request("GET", "/", "Connection: close\r\n", "")); got.StatusCode != 200 {
		t.Fatalf("the first is answered %s", got.Status)
	}
	if got := r.ask(r.request("GET", "/", "", "")); got.StatusCode != 502 {
		t.Errorf("answered %s", got.Status)
	}
	if n := r.origin.requests(); n != 2 {
		t.Errorf("the origin got %d requests", n)
	}
}

// A connection whose origin has closed it is not chosen at all.
func TestConnectionThatItsOriginHasClosedIsNotUsed(t *testing.T) {
	ended := make(chan struct{}, 9)
	r := newPlainRigFor(t, newOrigin(t, func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
		_ = c.Close()
		ended <- struct{}{}
	}), proxy.Limits{})
	for range 3 {
		if got := r.ask(r.request("PUT", "/", "Connection: close\r\nContent-Length: 0\r\n", "")); got.StatusCode != 200 {
			t.Errorf("answered %s", got.Status)
		}
		<-ended
	}
	if n := r.origin.requests(); n != 3 {
		t.Errorf("the origin got %d requests", n)
	}
}
