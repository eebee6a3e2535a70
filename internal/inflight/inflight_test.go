package inflight_test

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/inflight"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/tunnel"
)

// client is a client's connection that says when it has gone.
type client struct {
	net.Conn
	gone atomic.Bool
}

func (c *client) Gone() bool { return c.gone.Load() }

// env is a set that runs, with one request in it.
type env struct {
	set    inflight.Set
	req    inflight.Request
	client *client
	origin net.Conn // what the request waits for
}

const (
	idle     = 10 * time.Second
	lifetime = time.Minute
)

// inSet runs f in a bubble with a request in a set that runs.
func inSet(t *testing.T, f func(t *testing.T, e *env)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		origin, host := net.Pipe()
		defer theirs.Close()
		defer host.Close()
		e := &env{client: &client{Conn: ours}, origin: origin}
		e.req.Client, e.req.Start = e.client, time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan struct{})
		go func() { e.set.Run(ctx, idle, lifetime, func(time.Time) {}); close(ran) }()
		if !e.set.Add(&e.req) {
			t.Fatal("it is not let in")
		}
		f(t, e)
		cancel()
		<-ran
	})
}

// wantEnd waits for the end of the request and fails unless it has the cause and comes
// within a second of the time.
func (e *env) wantEnd(t *testing.T, want tunnel.Cause, after time.Duration) {
	t.Helper()
	began := time.Now()
	_, _ = e.origin.Read(make([]byte, 1))
	if took := time.Since(began); took < after || took > after+time.Second {
		t.Errorf("it ended after %v, want %v", took, after)
	}
	if why, ended := e.req.Ended(); !ended || why != want {
		t.Errorf("ended %v as %v, want %v", ended, why, want)
	}
}

func TestRequestWhoseClientHasGoneEndsWithinASecond(t *testing.T) {
	inSet(t, func(t *testing.T, e *env) {
		e.req.WaitsFor(nil, e.origin)
		e.client.gone.Store(true)
		e.wantEnd(t, tunnel.Client, 0)
	})
}

func TestRequestThatIsIdleEnds(t *testing.T) {
	inSet(t, func(t *testing.T, e *env) {
		e.req.WaitsFor(nil, e.origin)
		for range 3 {
			time.Sleep(idle - time.Second)
			e.req.Up.Add(1)
		}
		e.wantEnd(t, tunnel.Idle, idle)
	})
}

func TestRequestThatLastsTooLongEnds(t *testing.T) {
	inSet(t, func(t *testing.T, e *env) {
		e.req.WaitsFor(nil, e.origin)
		go func() {
			for range int(lifetime/time.Second) + 2 {
				time.Sleep(time.Second)
				e.req.Down.Add(1)
			}
		}()
		e.wantEnd(t, tunnel.Lifetime, lifetime)
		time.Sleep(5 * time.Second)
	})
}

// Who reads the client's content sees its end, and says what it was.
func TestEndOfAClientWhoseContentIsReadIsTheReaders(t *testing.T) {
	inSet(t, func(t *testing.T, e *env) {
		e.req.WaitsFor(nil, e.origin)
		e.req.Uploading.Store(true)
		e.client.gone.Store(true)
		e.wantEnd(t, tunnel.Idle, idle)
		if !e.req.ClientWasIdle() {
			t.Error("that the client was idle is not known")
		}
	})
}

func TestEndBreaksOffWhateverIsWaitedFor(t *testing.T) {
	inSet(t, func(t *testing.T, e *env) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		e.req.WaitsFor(cancel, nil)
		if !e.req.End(tunnel.Revoked) || e.req.End(tunnel.Client) {
			t.Error("it was not ended once")
		}
		if ctx.Err() == nil {
			t.Error("the dial goes on")
		}
		if e.req.WaitsFor(nil, e.origin) {
			t.Error("it goes on behind its end")
		}
		if _, err := e.client.Read(make([]byte, 1)); err == nil {
			t.Error("the client is read")
		}
		if why, ended := e.req.Ended(); !ended || why != tunnel.Revoked {
			t.Errorf("ended as %v", why)
		}
	})
}

// Before its answer a request that is ended is still answered, but not to a client that
// has gone.
func TestEndLeavesTheWayToTheClientWhereItIsAnswered(t *testing.T) {
	for _, row := range []struct {
		why       tunnel.Cause
		answering bool
		writes    bool
	}{{tunnel.Idle, false, true}, {tunnel.Shutdown, false, true}, {tunnel.Idle, true, false}, {tunnel.Client, false, false}} {
		synctest.Test(t, func(t *testing.T) {
			ours, theirs := net.Pipe()
			defer theirs.Close()
			var set inflight.Set
			r := inflight.Request{Client: &client{Conn: ours}}
			set.Add(&r)
			if row.answering {
				r.Answering()
			}
			r.End(row.why)
			go func() { _, _ = theirs.Read(make([]byte, 1)) }()
			if _, err := ours.Write([]byte("x")); (err == nil) != row.writes {
				t.Errorf("%v, answering %v: %v", row.why, row.answering, err)
			}
		})
	}
}

// Behind Remove the connection is the next request's.
func TestRequestThatIsOverIsNotEnded(t *testing.T) {
	inSet(t, func(t *testing.T, e *env) {
		e.set.Remove(&e.req)
		e.set.Remove(&e.req)
		if e.req.End(tunnel.Revoked) {
			t.Error("it was ended")
		}
		e.client.gone.Store(true)
		time.Sleep(2 * idle)
		_ = e.client.SetReadDeadline(time.Now().Add(time.Second))
		began := time.Now()
		if _, err := e.client.Read(make([]byte, 1)); !errors.Is(err, context.DeadlineExceeded) && time.Since(began) != time.Second {
			t.Errorf("the client's connection was touched: %v", err)
		}
		e.set.Each(func(*inflight.Request) { t.Error("it is still there") })
	})
}

// Who looks at all requests has found them before: one that is over meanwhile must not become
// another's while it is looked at.
func TestRequestThatIsOverWhileAllAreLookedAtIsShared(t *testing.T) {
	inSet(t, func(t *testing.T, e *env) {
		e.set.Each(func(r *inflight.Request) {
			if e.set.Remove(r) {
				t.Error("nobody is said to have it while it is looked at")
			}
		})
		if !e.set.Remove(&e.req) {
			t.Error("somebody is said to have it though nobody looks")
		}
	})
}

func TestCloseEndsAllAndLetsNoneIn(t *testing.T) {
	inSet(t, func(t *testing.T, e *env) {
		e.req.WaitsFor(nil, e.origin)
		e.set.Close()
		e.wantEnd(t, tunnel.Shutdown, 0)
		if e.set.Add(&inflight.Request{}) {
			t.Error("another is let in")
		}
	})
}

// Nobody is asked about a request that is over, for its value is another's by then.
func TestRequestThatIsOverIsNotJudged(t *testing.T) {
	inSet(t, func(t *testing.T, e *env) {
		if e.req.EndUnless(tunnel.Revoked, func() bool { return true }) {
			t.Error("one that is allowed was ended")
		}
		e.set.Remove(&e.req)
		e.req.EndUnless(tunnel.Revoked, func() bool { t.Error("it is judged"); return false })
	})
}
