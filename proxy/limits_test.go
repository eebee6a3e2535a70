package proxy_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// The deadline is for the whole head: a byte now and then does not move it.
func TestAHeadThatDoesNotComeEndsTheConnection(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{
		functions: []function{{name: "billing"}},
		limits:    proxy.Limits{HeaderTimeout: 200 * time.Millisecond},
	})
	head := connectAs("billing", "any.test:443")
	var wg sync.WaitGroup
	for _, row := range []struct {
		first string
		drip  bool
	}{{first: ""}, {first: "CONNECT any"}, {first: head[:len(head)-2]}, {first: "CONNECT any.test:443 HTTP/1.1\r\nX-Filler: ", drip: true}} {
		c, br := r.send(row.first)
		if row.drip {
			wg.Go(func() {
				for {
					if _, err := io.WriteString(c, "x"); err != nil {
						return
					}
					time.Sleep(20 * time.Millisecond)
				}
			})
		}
		wantEnd(t, br)
	}
	wg.Wait()
	if n := len(r.records.all(t)); n != 0 {
		t.Errorf("records of connections that asked nothing: %v", r.records.all(t))
	}
}

func TestATunnelBeyondTheLimitIsRefusedBeforeTheDial(t *testing.T) {
	o := newOrigin(t, echo)
	r := openRig(t, o, rigOptions{limits: proxy.Limits{Tunnels: 2}})
	good := connectAs("billing", o.at("any.test"))
	var open []*net.TCPConn
	for range 2 {
		c, br := r.send(good)
		wantEstablished(t, br)
		open = append(open, c)
	}
	for range 3 {
		got := r.ask(good)
		r.wantRefusal(got, 503, "limit_total", "connection_limit_reached")
		if got.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	if n := o.connections(t); n != 2 || r.lookups.Load() != 2 || r.server.Open() != 2 {
		t.Errorf("%d dialed, %d looked up, %d places taken", n, r.lookups.Load(), r.server.Open())
	}
	// A refusal gives back what it took, and a close makes room.
	r.ask(connectAs("billing", "evil.test:443"))
	open[0].Close()
	eventually(t, "a place", func() bool { return r.server.Open() == 1 })
	c, br := r.send(good)
	wantEstablished(t, br)
	c.Close()
	open[1].Close()
	eventually(t, "no place taken", func() bool { return r.server.Open() == 0 })
}

func TestAFunctionAtItsLimitDoesNotHinderAnother(t *testing.T) {
	o := newOrigin(t, echo)
	r := openRig(t, o, rigOptions{
		limits:    proxy.Limits{TunnelsPerFunction: 1},
		functions: []function{{name: "reports", rules: []rule{{host: "any.test", ports: []uint16{o.port}, any: true, addresses: loopback}}}},
	})
	first, br := r.send(connectAs("billing", o.at("any.test")))
	wantEstablished(t, br)
	r.wantRefusal(r.ask(connectAs("billing", o.at("any.test"))), 503, "limit_function", "connection_limit_reached")
	other, br := r.send(connectAs("reports", o.at("any.test")))
	wantEstablished(t, br)
	other.Close()
	first.Close()
	eventually(t, "no place taken", func() bool { return r.server.Open() == 0 })
}

// Whatever way a request ends, the place that it took is given back.
func TestEveryEndGivesThePlaceBack(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, echo)
	r := openRig(t, o, rigOptions{limits: proxy.Limits{HelloTimeout: 100 * time.Millisecond}})
	r.resolves("private.test", "10.0.0.1")
	r.setPolicy([]function{{name: "billing", rules: []rule{
		{host: "*.test", ports: []uint16{o.port, 1}, addresses: loopback},
		{host: "any.test", ports: []uint16{o.port}, any: true, addresses: loopback},
	}}})
	for _, raw := range []string{
		connectAs("billing", "evil.example:443"), connectAs("billing", o.at("nosuch.test")), connectAs("billing", o.at("private.test")),
		connectAs("billing", "tls.test:1"), connectAs("billing", o.at("tls.test")), connectAs("billing", o.at("tls.test")) + "SSH-2.0",
		connectAs("billing", o.at("tls.test")) + clientHello(names("evil.test")), connectAs("billing", "bad"),
	} {
		_, br := r.send(raw)
		_, _ = io.Copy(io.Discard, br)
		eventually(t, "the place given back after "+raw[:40], func() bool { return r.server.Open() == 0 })
	}
}

// Where those who have not shown who they are are as many as may be the oldest goes for
// the next; those who have do not count, from that moment on.
func TestConnectionsBeyondTheUnidentifiedTakeAPlaceAndIdentifiedOnesDoNotCount(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, echo)
	gate := make(chan struct{})
	r := openRig(t, o, rigOptions{limits: proxy.Limits{Unidentified: 2, HeaderTimeout: time.Hour}, options: func(opt *proxy.Options) {
		opt.Lookup = func(ctx context.Context, _ hostname.Name) (proxy.Resolved, error) {
			if ctx.Err() != nil {
				return proxy.Resolved{}, ctx.Err()
			}
			<-gate
			return resolvedTo("127.0.0.1"), nil
		}
	}})
	good := connectAs("billing", o.at("any.test"))
	for i := range int64(5) { // more than there are places are being set up
		r.send(good)
		eventually(t, "one more known client at the same time", func() bool { return r.server.Open() == i+1 })
	}
	close(gate)
	silent := []*net.TCPConn{r.dial(), r.dial()}
	eventually(t, "a place taken", func() bool { return r.server.Unidentified() > 0 })
	third, br := r.send(good)
	wantEstablished(t, br)
	wantEnd(t, silent[0])
	closes(t, append(silent, third))
}

func TestAClientThatLeavesWhileItIsSetUpLeavesNothingBehind(t *testing.T) {
	o := newOrigin(t, echo)
	gate := make(chan struct{})
	r := openRig(t, o, rigOptions{options: func(opt *proxy.Options) {
		opt.Lookup = func(ctx context.Context, _ hostname.Name) (proxy.Resolved, error) {
			if ctx.Err() != nil {
				return proxy.Resolved{}, ctx.Err()
			}
			<-gate
			return resolvedTo("127.0.0.1"), nil
		}
	}})
	for range 50 {
		c, _ := r.send(connectAs("billing", o.at("any.test")))
		c.Close()
	}
	eventually(t, "all on their way", func() bool { return r.server.Open() == 50 })
	close(gate)
	eventually(t, "no place taken", func() bool { return r.server.Open() == 0 })
	eventually(t, "a last record of each", func() bool { return len(r.of("closed")) == len(r.of("opened")) })
}

// The lookup and the dial have one time together, and a lookup that outlasts it
// is told so.
func TestALookupEndsWithTheDialTimeout(t *testing.T) {
	o := newOrigin(t, echo)
	r := openRig(t, o, rigOptions{
		limits: proxy.Limits{DialTimeout: 100 * time.Millisecond},
		options: func(opt *proxy.Options) {
			opt.Lookup = func(ctx context.Context, _ hostname.Name) (proxy.Resolved, error) {
				<-ctx.Done()
				return proxy.Resolved{}, ctx.Err()
			}
		},
	})
	r.wantRefusal(r.ask(connectAs("billing", o.at("any.test"))), 504, "dns_timeout", "dns_timeout")
}

// A lookup has a part of the time for lookup and dial, by each driver and by plain HTTP:
// a host that is found late is still to be dialed.
func TestALookupLeavesTheDialItsTime(t *testing.T) {
	const all = 10 * time.Hour
	o := newOrigin(t, echo)
	r := openRig(t, o, rigOptions{
		limits: proxy.Limits{DialTimeout: all},
		options: func(opt *proxy.Options) {
			opt.Lookup = func(ctx context.Context, _ hostname.Name) (proxy.Resolved, error) {
				if ctx.Err() != nil {
					return proxy.Resolved{}, ctx.Err() // who does not wait
				}
				if end, bounded := ctx.Deadline(); !bounded || time.Until(end) > all/5*3 || time.Until(end) < all/2 {
					t.Errorf("a lookup has until %v, %t", end, bounded)
				}
				return resolvedTo("127.0.0.1"), nil
			}
		},
	})
	_, br := r.send(connectAs("billing", o.at("any.test")))
	wantEstablished(t, br)
}

func TestAHeadOverTheLimitIsRefused(t *testing.T) {
	r := newRig(t, rigOptions{functions: []function{{name: "billing"}}, limits: proxy.Limits{HeaderBytes: 4 << 10}})
	raw := strings.Replace(connectAs("billing", "any.test:443"), "\r\n\r\n", "\r\nX-Forwarded-For: "+strings.Repeat("1.2.3.4, ", 1<<17)+"\r\n\r\n", 1)
	c, br := r.send(raw[:64<<10])
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("got %v, %v", resp, err)
	}
	c.Close()
}

// Places are taken and given back by many at once, at the limit, and never
// come out below zero or above the limit.
func TestTheCountOfPlacesHoldsUnderContention(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, echo)
	r := openRig(t, o, rigOptions{limits: proxy.Limits{Tunnels: 3}})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 25 {
				c, err := net.Dial("tcp", r.addr)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.WriteString(c, connectAs("billing", o.at("any.test")))
				_, _ = c.Read(make([]byte, 12))
				c.Close()
			}
		})
	}
	wg.Wait()
	eventually(t, "no place taken", func() bool { return r.server.Open() == 0 })
	for _, m := range r.of("refused") {
		if m["reason"] != "limit_total" {
			t.Errorf("record: %v", m)
		}
	}
}

func TestPanicCostsOneConnectionAndNothingElse(t *testing.T) {
	_, port := tlsOrigin(t)
	r := newRig(t, rigOptions{
		functions: []function{{name: "billing", rules: []rule{{host: "*.allowed.test", ports: []uint16{port}, addresses: loopback}}}},
		options: func(o *proxy.Options) {
			lookup := o.Lookup
			o.Lookup = func(ctx context.Context, n hostname.Name) (proxy.Resolved, error) {
				if n.String() == "bug.allowed.test" {
					panic("a bug")
				}
				return lookup(ctx, n)
			}
		},
	})
	r.resolves("well.allowed.test", "127.0.0.1")
	_, br := r.send(connectAs("billing", fmt.Sprintf("bug.allowed.test:%d", port)))
	if b, err := io.ReadAll(br); err != nil || len(b) != 0 {
		t.Errorf("the connection that hit the bug got %q, %v", b, err)
	}
	_, br = r.send(connectAs("billing", fmt.Sprintf("well.allowed.test:%d", port)))
	if resp, err := http.ReadResponse(br, nil); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("the next connection got %v, %v", resp, err)
	}
	r.eachSeries("egress_panics_total", func(_ map[string]string, n float64) {
		if n != 1 {
			t.Errorf("egress_panics_total = %v, want 1", n)
		}
	})
}
