package tunnel_test

import (
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/tunnel"
)

// bubble is a tunnel between two in-memory connections under a fake clock.
type bubble struct {
	client, origin net.Conn
	tunnel         *tunnel.Tunnel
	result         chan tunnel.Result // holds the one that Done gets
}

// inBubble runs f in a bubble with one open tunnel of a group with 330 s idle and 1 h lifetime.
func inBubble(t *testing.T, f func(t *testing.T, b *bubble)) {
	synctest.Test(t, func(t *testing.T) {
		group := tunnel.New(tunnel.Options{Lifetime: time.Hour})
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			group.Run(ctx)
		}()
		client, front := net.Pipe()
		back, origin := net.Pipe()
		b := &bubble{client: client, origin: origin, result: make(chan tunnel.Result, 1)}
		b.tunnel = group.Start(tunnel.Params{Client: front, Origin: back, Done: func(r tunnel.Result) { b.result <- r }})
		f(t, b)
		cancel()
		<-stopped
		client.Close()
		origin.Close()
	})
}

// openAfter lets d pass and checks that the tunnel is still open.
func (b *bubble) openAfter(t *testing.T, d time.Duration) {
	t.Helper()
	time.Sleep(d)
	synctest.Wait()
	if len(b.result) != 0 {
		r := <-b.result
		t.Fatalf("ended by %v after %v", r.Ended, r.Duration)
	}
}

// endedAfter lets d pass and checks that the tunnel has ended by want.
func (b *bubble) endedAfter(t *testing.T, d time.Duration, want tunnel.Cause) tunnel.Result {
	t.Helper()
	time.Sleep(d)
	synctest.Wait()
	if len(b.result) == 0 {
		t.Fatalf("still open after %v, want an end by %v", d, want)
	}
	r := <-b.result
	if r.Ended != want {
		t.Fatalf("ended by %v, want %v", r.Ended, want)
	}
	return r
}

func TestSilentTunnelEndsAtTheIdleLimit(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		b.openAfter(t, 329*time.Second)
		b.endedAfter(t, 2*time.Second, tunnel.Idle)
		if _, err := b.client.Read(make([]byte, 1)); err != io.EOF {
			t.Fatalf("client read %v, want EOF", err)
		}
	})
}

func TestAByteThatWasDeliveredStartsTheIdleLimitAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		b.openAfter(t, 300*time.Second)
		roundTrip(t, b.client, b.origin, make([]byte, 1))
		b.openAfter(t, 328*time.Second)
		b.endedAfter(t, 3*time.Second, tunnel.Idle)
	})
}

func TestBytesThatTheOtherSideDoesNotTakeAreNotActivity(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		stopped := flood(b.client)
		b.openAfter(t, 329*time.Second)
		r := b.endedAfter(t, 2*time.Second, tunnel.Idle)
		<-stopped
		if r.Up != 0 {
			t.Fatalf("%d bytes up, but the origin took none", r.Up)
		}
	})
}

func TestTrickleStaysOpenUntilTheLifetimeEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		for range 59 {
			_, err := b.client.Write([]byte{1})
			must(t, err)
			_, err = b.origin.Read(make([]byte, 1))
			must(t, err)
			b.openAfter(t, time.Minute)
		}
		b.openAfter(t, 59*time.Second)
		if r := b.endedAfter(t, 2*time.Second, tunnel.Lifetime); r.Up != 59 {
			t.Fatalf("%d bytes up, want 59", r.Up)
		}
	})
}

func TestLimitReplacesAnOrderlyCloseThatTheOtherSideDoesNotFollow(t *testing.T) {
	r := newRig(t, newGroup(t, tunnel.Options{Idle: 50 * time.Millisecond, Sweep: 5 * time.Millisecond}), nil)
	must(t, r.client.CloseWrite())
	if got := readAll(t, r.origin); len(got) != 0 {
		t.Fatalf("origin read %q", got)
	}
	r.ended(t, tunnel.Idle)
}
