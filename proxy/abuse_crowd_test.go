package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// dialFrom opens a connection to the proxy from an address of loopback.
func (r *rig) dialFrom(source string) *net.TCPConn {
	r.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
	c, err := d.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	r.t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// isServed asks for a tunnel on a connection that is open and closes it.
func isServed(t testing.TB, c net.Conn, target string) {
	t.Helper()
	if _, err := io.WriteString(c, connectAs("billing", target)); err != nil {
		t.Fatal(err)
	}
	wantEstablished(t, bufio.NewReader(c))
	_ = c.Close()
}

// The limit is a hundred; a source has a quarter of it. What is beyond is closed,
// the oldest first, and so neither another source nor one more client of the
// same, as behind a load balancer that hides them all, has to wait.
func TestOneSourceOfSilentConnectionsKeepsNobodyOut(t *testing.T) {
	o := newOrigin(t, echo)
	var log recordBuffer
	r := openRig(t, o, rigOptions{
		limits:  proxy.Limits{Unidentified: 100, HeaderTimeout: time.Minute},
		options: func(opt *proxy.Options) { opt.Logger = slog.New(slog.NewJSONHandler(&log, nil)) },
	})
	before := hold()
	tunnel, br := r.send(connectAs("billing", o.at("any.test")))
	wantEstablished(t, br)
	var silent []*net.TCPConn
	const share = 25
	if r.server.Share() != share {
		t.Fatalf("a source has a share of %d, want %d", r.server.Share(), share)
	}
	// Who comes at nearly the same time may be counted in another order.
	for _, more := range []int{200, 100} {
		for range more {
			silent = append(silent, r.dialFrom("127.0.0.1"))
		}
		eventually(t, "all but the share put out", func() bool {
			return r.value("egress_unidentified_closed_total") == float64(len(silent)-share) && r.server.Unidentified() == share
		})
	}
	for _, c := range silent[:200] {
		wantEnd(t, c)
	}
	newest := r.dialFrom("127.0.0.1")
	eventually(t, "one more put out for it", func() bool { return r.value("egress_unidentified_closed_total") == 301-share })
	isServed(t, r.dialFrom("127.0.0.2"), o.at("any.test"))
	isServed(t, r.dialFrom("127.0.0.1"), o.at("any.test"))
	isServed(t, newest, o.at("any.test"))
	if _, err := io.WriteString(tunnel, "still here"); err != nil {
		t.Fatal(err)
	}
	wantExactly(t, br, "still here")
	if m := r.of("refused"); len(m) != 0 {
		t.Errorf("records of connections that asked nothing: %v", m)
	}
	eventually(t, "the log says which source", func() bool {
		log.mu.Lock()
		defer log.mu.Unlock()
		return strings.Contains(log.buf.String(), `"share":"unidentified","times":`) && strings.Contains(log.buf.String(), `"source":"127.0.0.1"`)
	})
	_ = tunnel.Close()
	closes(t, silent)
	r.unharmed(before, o.at("any.test"))
}

// serveByGoroutines makes another listener the rig's, at which no event loop stands, until
// the caller closes it.
func (r *rig) serveByGoroutines() (closeListener func()) {
	r.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- r.server.Serve(struct{ net.Listener }{ln}, nil) }()
	before := r.addr
	r.addr = ln.Addr().String()
	return func() {
		r.addr = before
		_ = ln.Close()
		if err := <-done; err != nil {
			r.t.Errorf("Serve returned %v", err)
		}
	}
}

// Each of many sources holds as many silent connections as it may, and as many again
// come as fast as they can; together they have more than all places. Another source is
// served as if they were not there, at the listener of a loop and at one of goroutines.
func TestManySourcesOfSilentConnectionsKeepNobodyOut(t *testing.T) {
	for _, listener := range []string{"loop", "goroutines"} {
		t.Run(listener, func(t *testing.T) {
			o := newOrigin(t, echo)
			var log recordBuffer
			options := rigOptions{
				limits:  proxy.Limits{Unidentified: 64, HeaderTimeout: time.Hour},
				options: func(opt *proxy.Options) { opt.Logger = slog.New(slog.NewJSONHandler(&log, nil)) },
			}
			r := openRig(t, o, options)
			before, closeListener := hold(), func() {}
			if listener == "goroutines" {
				closeListener = r.serveByGoroutines()
			}
			var silent []*net.TCPConn
			for i := range 10 * 64 {
				silent = append(silent, r.dialFrom(fmt.Sprintf("127.0.1.%d", 1+i%10)))
				if i%10 == 9 {
					isServed(t, r.dialFrom("127.0.0.2"), o.at("any.test"))
				}
			}
			if n := r.value("egress_over_share_total"); n == 0 {
				t.Error("nobody is counted as over its share")
			}
			eventually(t, "the log names one of them", func() bool {
				log.mu.Lock()
				defer log.mu.Unlock()
				return strings.Contains(log.buf.String(), `"source":"127.0.1.`) && !strings.Contains(log.buf.String(), `"source":"127.0.0.2"`)
			})
			closes(t, silent)
			closeListener()
			r.unharmed(before, o.at("any.test"))
		})
	}
}

// Whoever speaks at the moment at which a newer one takes its place is answered,
// or is closed and has asked nothing: there is no record without its answer.
func TestWhoIsPutOutWhileItSpeaksHasAskedNothing(t *testing.T) {
	o := newOrigin(t, echo)
	r := openRig(t, o, rigOptions{limits: proxy.Limits{Unidentified: 64, HeaderTimeout: time.Minute}})
	before := hold()
	answered := 0
	for range 30 {
		var old, newer []*net.TCPConn
		for range r.server.Share() {
			old = append(old, r.dialFrom("127.0.0.1"))
		}
		answers := make(chan bool, len(old))
		for _, c := range old {
			go func() {
				_, _ = io.WriteString(c, connectAs("billing", "127.1:443"))
				line, _ := bufio.NewReader(c).ReadString('\n')
				answers <- line != ""
			}()
			newer = append(newer, r.dialFrom("127.0.0.1"))
		}
		for range old {
			if <-answers {
				answered++
			}
		}
		closes(t, append(old, newer...))
	}
	if n := len(r.of("refused")); n != answered || n == 0 {
		t.Errorf("%d refusals are recorded, %d clients were answered", n, answered)
	}
	r.unharmed(before, o.at("any.test"))
}

// Behind a load balancer that says who calls, the budget is the caller's, and
// the callers of one IPv6 /64 have it together.
func TestSourceOfSilentConnectionsIsTheOneThatTheBalancerNames(t *testing.T) {
	o := newOrigin(t, echo)
	r := openRig(t, o, rigOptions{limits: proxy.Limits{Unidentified: 200, HeaderTimeout: time.Minute}, options: func(opt *proxy.Options) {
		opt.ProxyProtocolFrom = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	}})
	before := hold()
	share := r.server.Share()
	var silent []*net.TCPConn
	silence := func(format string, n int) {
		for i := range n {
			c, _ := r.send(fmt.Sprintf("PROXY TCP6 "+format+" 2001:4860::1 4000 3128\r\n", i))
			silent = append(silent, c)
		}
	}
	silence("2001:4860:0:%x::7", 2*share) // as many networks as connections
	eventually(t, "all of them in", func() bool { return r.server.Unidentified() == 2*share })
	if n := r.value("egress_unidentified_closed_total"); n != 0 {
		t.Errorf("%v closed though every source has one", n)
	}
	silence("2001:4860:1:1::%x", share+10) // one network
	eventually(t, "those beyond the share put out", func() bool {
		return r.value("egress_unidentified_closed_total") == 10 && r.server.Unidentified() == 3*share
	})
	closes(t, silent)
	eventually(t, "all gone", func() bool { return r.server.Unidentified() == 0 })
	eventually(t, "as many descriptors as before", func() bool { return hold().files <= before.files+slack })
}

// Connections of a load balancer that say nothing, not even whose they are, take all places.
// Whoever comes next is served, through the balancer or not, and a client that the
// balancer has named keeps its place, though it says nothing else.
func TestBalancerThatNamesNobodyKeepsNobodyOut(t *testing.T) {
	for _, door := range []string{"loop", "goroutines"} {
		for _, part := range []string{"", "\r\n\r\n\x00\r\nQ"} { // the beginning of version 2
			t.Run(fmt.Sprintf("%s, %q", door, part), func(t *testing.T) {
				o := newOrigin(t, echo)
				r := openRig(t, o, rigOptions{limits: proxy.Limits{Unidentified: 64, HeaderTimeout: time.Hour}, options: func(opt *proxy.Options) {
					opt.ProxyProtocolFrom = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
				}})
				before, closeDoor := hold(), func() {}
				if door == "goroutines" {
					closeDoor = r.serveByGoroutines()
				}
				const header = "PROXY TCP4 192.0.2.7 192.0.2.8 4000 3128\r\n"
				silent := []*net.TCPConn{r.dialFrom("127.0.0.1")}
				named := r.dialFrom("127.0.0.1")
				_, _ = io.WriteString(named, header)
				eventually(t, "its source known beside that of the silent one", func() bool { return r.server.Sources() == 2 })
				for i := range 10 * 64 {
					c := r.dialFrom("127.0.0.1")
					_, _ = io.WriteString(c, part)
					silent = append(silent, c)
					if i%10 == 9 {
						isServed(t, r.dialFrom("127.0.0.2"), o.at("any.test"))
						c := r.dialFrom("127.0.0.1")
						_, _ = io.WriteString(c, header)
						isServed(t, c, o.at("any.test"))
					}
				}
				isServed(t, named, o.at("any.test"))
				eventually(t, "as many closed as came beyond the places", func() bool {
					n := r.value("egress_unidentified_closed_total")
					return n >= 10*64-64 && n <= 10*64-32
				})
				if m := r.of("refused"); len(m) != 0 {
					t.Errorf("records of connections that asked nothing: %v", m)
				}
				closes(t, silent)
				closeDoor()
				eventually(t, "nothing left", func() bool {
					now := hold()
					return r.server.Unidentified() == 0 && r.server.Sources() == 0 && now.files <= before.files+slack
				})
			})
		}
	}
}

// A connection that has shown who it is, or has been put out, is in no list any
// more, in whatever order they come and go.
func TestCrowdForgetsWhoLeaves(t *testing.T) {
	o := newOrigin(t, echo)
	r := openRig(t, o, rigOptions{limits: proxy.Limits{Unidentified: 64, HeaderTimeout: time.Minute}})
	before := hold()
	for round := range 6 {
		var some []*net.TCPConn
		for i := range 3 * r.server.Share() {
			c := r.dialFrom(fmt.Sprintf("127.0.0.%d", 1+i%3))
			if i%5 == round {
				_ = c.Close()
				continue
			}
			some = append(some, c)
		}
		for i, c := range some {
			switch (i + round) % 3 {
			case 0:
				_ = c.SetLinger(0)
				_ = c.Close()
			case 1:
				_, _ = io.WriteString(c, connectAs("billing", o.at("any.test")))
			}
		}
		closes(t, some)
	}
	r.unharmed(before, o.at("any.test"))
	if n := r.server.Sources(); n != 0 {
		t.Errorf("%d sources are remembered", n)
	}
}
