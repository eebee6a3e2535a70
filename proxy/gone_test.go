package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// goneRig is a rig whose origin tells of the end of each connection.
type goneRig struct {
	*plainRig
	ended chan struct{}
}

// newGoneRig starts an origin that sends begin in answer to a head, and then waits for the
// end of the connection; it reads content only where reads says so.
func newGoneRig(t *testing.T, begin string, reads bool) *goneRig {
	t.Helper()
	g := &goneRig{ended: make(chan struct{}, 9)}
	o := newOrigin(t, func(c net.Conn) {
		br := bufio.NewReader(c)
		if _, err := http.ReadRequest(br); err != nil {
			return
		}
		_, _ = io.WriteString(c, begin)
		if reads {
			_, _ = io.Copy(io.Discard, br)
		} else {
			eventually(t, "the end of the connection", func() bool {
				_, err := io.WriteString(c, " ")
				return err != nil
			})
		}
		g.ended <- struct{}{}
	})
	g.plainRig = newPlainRigFor(t, o, proxy.Limits{})
	return g
}

// A client that goes away ends the origin's side, whatever is waited for: by default a
// silent one has 330 s.
func TestClientThatGoesAwayEndsTheOriginsSide(t *testing.T) {
	const stream = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n"
	for _, row := range []struct{ why, begin, sent string }{
		{"before the head", "", "GET"},
		{"behind an interim answer", "HTTP/1.1 103 Early\r\n\r\n", "GET"},
		{"behind the head", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "GET"},
		{"in the content", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", "GET"},
		{"in chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", "GET"},
		{"in a stream", stream, "GET"},
		{"behind its content", "", "POST"},
		{"behind its content, in a stream", stream, "POST"},
	} {
		for _, how := range []string{"FIN", "reset"} {
			t.Run(row.why+", "+how, func(t *testing.T) {
				t.Parallel()
				r := newGoneRig(t, row.begin, true)
				fields, body := "", ""
				if row.sent == "POST" {
					fields, body = "Content-Length: 5\r\n", "hello"
				}
				c, br := r.send(r.request(row.sent, "/", fields, body))
				if row.begin != "" {
					if _, err := br.ReadByte(); err != nil {
						t.Fatal(err)
					}
				}
				eventually(t, "the request at the origin", func() bool { return r.origin.requests() == 1 && strings.HasSuffix(r.origin.text(), body) })
				if how == "reset" {
					_ = c.SetLinger(0)
				}
				_ = c.Close()
				<-r.ended
				eventually(t, "the place given back", func() bool { return r.server.Open() == 0 })
				if got := r.one("closed")["ended"]; got != "client" {
					t.Errorf("the record says %v", got)
				}
			})
		}
	}
}

// An origin that takes nothing of the content holds nothing either.
func TestClientThatGoesAwayInItsContentEndsTheOriginsSide(t *testing.T) {
	r := newGoneRig(t, "", false)
	c, _ := r.send(r.request("POST", "/", "Content-Length: 1000000000\r\n", ""))
	go func() {
		for b := make([]byte, 64<<10); ; {
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	}()
	eventually(t, "the request at the origin", func() bool { return r.origin.requests() == 1 })
	_ = c.Close()
	<-r.ended
	eventually(t, "the place given back", func() bool { return r.server.Open() == 0 })
}

// While the origin is dialed there is no connection yet.
func TestClientThatGoesAwayEndsTheDial(t *testing.T) {
	port, _ := deafListener(t)
	r := newRig(t, rigOptions{
		functions: []function{{name: "billing", rules: []rule{{host: "allowed.test", ports: []uint16{port}, any: true, addresses: loopback}}}},
		limits:    proxy.Limits{DialTimeout: 4 * patience},
	})
	r.resolves("allowed.test", "127.0.0.1")
	c, _ := r.send(absoluteAs("billing", fmt.Sprintf("allowed.test:%d", port)))
	eventually(t, "a dial", func() bool { return r.value("egress_dials") == 1 })
	_ = c.Close()
	eventually(t, "the end of the dial", func() bool { return r.value("egress_dials") == 0 && r.server.Open() == 0 })
	if got := r.one("closed")["ended"]; got != "client" {
		t.Errorf("the record says %v", got)
	}
}

// The bytes that a request may hold go back with its place.
func TestClientThatGoesAwayGivesBackWhatItHolds(t *testing.T) {
	var held atomic.Uint64
	o := newOrigin(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	r := newRig(t, rigOptions{
		functions: []function{{name: "billing", rules: []rule{{host: "allowed.test", ports: []uint16{o.port}, any: true, addresses: loopback}}}},
		options: func(opt *proxy.Options) {
			opt.Memory = func(h uint64) (uint64, uint64) { held.Store(h); return 0, 1 << 30 }
		},
	})
	r.resolves("allowed.test", "127.0.0.1")
	c, _ := r.send(absoluteAs("billing", o.at("allowed.test")))
	eventually(t, "bytes that are held", func() bool { return held.Load() > 0 })
	_ = c.Close()
	eventually(t, "none that are held", func() bool { return held.Load() == 0 })
}

// Requests that follow on the connection are none of a client that has gone.
func TestRequestsBehindAClientThatHasGoneAreNotSent(t *testing.T) {
	r := newGoneRig(t, "", true)
	c, _ := r.send(strings.Repeat(r.request("GET", "/", "", ""), 3))
	eventually(t, "a request at the origin", func() bool { return r.origin.requests() == 1 })
	_ = c.Close()
	<-r.ended
	eventually(t, "no place taken", func() bool { return r.server.Open() == 0 && r.server.Seats() == 0 })
	if n := r.origin.requests(); n != 1 {
		t.Errorf("the origin got %d requests", n)
	}
}
