package proxy_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// drains calls Drain and returns once new requests are refused.
func (r *rig) drains(ctx context.Context) (result chan error) {
	result = make(chan error, 1)
	go func() { result <- r.server.Drain(ctx) }()
	eventually(r.t, "draining", func() bool {
		c, br := r.send(connectAs("billing", "probe.test:443"))
		defer c.Close()
		return readReply(r.t, br).reason() == "draining"
	})
	return result
}

func TestWhileItDrainsNewTunnelsAreRefusedAndOpenOnesGoOn(t *testing.T) {
	o := newOrigin(t, echo)
	r := openRig(t, o, rigOptions{})
	c, br := r.send(connectAs("billing", o.at("any.test")))
	wantEstablished(t, br)
	result := r.drains(context.Background())
	got := r.ask(connectAs("billing", o.at("any.test")))
	r.wantRefusal(got, 503, "draining", "proxy_internal_response")
	if got.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	_, _ = io.WriteString(c, "still here")
	wantExactly(t, br, "still here")
	select {
	case err := <-result:
		t.Fatalf("Drain returned %v with a tunnel open", err)
	default:
	}
	c.Close()
	if err := <-result; err != nil {
		t.Errorf("Drain returned %v", err)
	}
	if m := r.one("closed"); m["ended"] != "client" {
		t.Errorf("record: %v", m)
	}
}

func TestWhatIsStillOpenEndsAsShutdownWithARecord(t *testing.T) {
	o := newOrigin(t, echo)
	r := openRig(t, o, rigOptions{})
	for range 10 {
		_, br := r.send(connectAs("billing", o.at("any.test")) + "x")
		wantEstablished(t, br)
		wantExactly(t, br, "x")
	}
	ctx, cancel := context.WithCancel(context.Background())
	result := r.drains(ctx)
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("Drain returned %v", err)
	}
	r.server.Close()
	if n := r.server.Tunnels(); n != 10 {
		t.Errorf("%d tunnels are open after Close, want 10", n)
	}
	r.cancel()
	<-r.ran
	_ = r.log.Close() // what it was given is written
	closed := r.of("closed")
	if len(closed) != 10 {
		t.Fatalf("%d records closed when Run has returned, want 10", len(closed))
	}
	for _, m := range closed {
		if m["ended"] != "shutdown" || m["bytes_up"] != 1.0 {
			t.Errorf("record: %v", m)
		}
	}
}

// A request that was let in before the drain began is waited for.
func TestDrainWaitsForWhatIsBeingSetUp(t *testing.T) {
	o := newOrigin(t, echo)
	looking, gate := make(chan struct{}), make(chan struct{})
	r := openRig(t, o, rigOptions{options: func(opt *proxy.Options) {
		opt.Lookup = func(ctx context.Context, _ hostname.Name) (proxy.Resolved, error) {
			if ctx.Err() != nil {
				return proxy.Resolved{}, ctx.Err() // a loop may not wait
			}
			looking <- struct{}{}
			<-gate
			return resolvedTo("127.0.0.1"), nil
		}
	}})
	c, br := r.send(connectAs("billing", o.at("any.test")))
	<-looking
	result := r.drains(context.Background())
	select {
	case err := <-result:
		t.Errorf("Drain returned %v while a request was being set up", err)
	default:
	}
	close(gate)
	wantEstablished(t, br)
	c.Close()
	if err := <-result; err != nil {
		t.Errorf("Drain returned %v", err)
	}
}

// A lookup and an origin's answer that Close cuts short have not failed, and are
// not recorded as if somebody else were to blame.
func TestWhatCloseCutsShortIsRefusedAsDraining(t *testing.T) {
	waiting := make(chan struct{}, 2)
	o := newOrigin(t, func(c net.Conn) {
		_, _ = bufio.NewReader(c).ReadString('\n')
		waiting <- struct{}{}
		_, _ = io.Copy(io.Discard, c)
	})
	r := openRig(t, o, rigOptions{options: func(opt *proxy.Options) {
		found := opt.Lookup
		opt.Lookup = func(ctx context.Context, n hostname.Name) (proxy.Resolved, error) {
			if n.String() != "tls.test" {
				return found(ctx, n)
			}
			if ctx.Err() == nil { // else it is a loop that may not wait
				waiting <- struct{}{}
				<-ctx.Done()
			}
			return proxy.Resolved{}, ctx.Err()
		}
	}})
	looking, _ := r.send(connectAs("billing", o.at("tls.test")))
	defer looking.Close()
	asking, _ := r.send("GET http://" + o.at("any.test") + "/ HTTP/1.1\r\nHost: any.test\r\n" + auth("billing") + "\r\n")
	defer asking.Close()
	<-waiting
	<-waiting
	r.server.Close()
	refused := r.of("refused")
	if len(refused) != 2 || refused[0]["reason"] != "draining" || refused[1]["reason"] != "draining" {
		t.Errorf("records of what was cut short: %v", refused)
	}
}

// Connections come, idle, ask and open while the server is closed under them,
// in both orders of Close and the end of Run. Everything that was opened has
// its last record when both have returned.
func TestCloseAtAnyMomentLosesNoRecord(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, echo)
	for round := range 20 {
		r := openRig(t, o, rigOptions{})
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for range 5 {
					c, err := net.Dial("tcp", r.addr)
					if err != nil {
						return
					}
					if i > 0 { // the first one stays silent
						_, _ = io.WriteString(c, connectAs("billing", o.at("any.test")))
						_, _ = bufio.NewReader(c).ReadString('\n')
					}
					c.Close()
				}
			})
		}
		eventually(t, "the first tunnel", func() bool { return len(r.of("opened")) > 0 })
		if round%2 == 0 {
			r.server.Close()
			r.cancel()
			<-r.ran
		} else {
			r.cancel()
			<-r.ran
			r.server.Close()
		}
		_ = r.log.Close() // what it was given is written
		if opened, closed := len(r.of("opened")), len(r.of("closed")); opened != closed {
			t.Errorf("round %d: %d opened, %d closed", round, opened, closed)
		}
		wg.Wait()
	}
}

// Nobody but Close would end this connection within the hour.
func TestCloseEndsConnectionsThatSayNothing(t *testing.T) {
	r := newRig(t, rigOptions{limits: proxy.Limits{HeaderTimeout: time.Hour}})
	c, br := r.send("CONNECT any")
	eventually(t, "the connection", func() bool { return r.server.Unidentified() > 0 })
	r.server.Close()
	wantEnd(t, br)
	c.Close()
}

func TestServeAfterCloseReturnsAtOnce(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.server.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.server.Serve(ln, nil); err != nil {
		t.Errorf("Serve returned %v", err)
	}
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener is left open: %v", err)
	}
}
