package tunnel

import (
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
)

// streaming starts a tunnel whose origin floods a client that reads nothing, and returns when the direction holds a pipe.
func streaming(t *testing.T, g *Group) (client, origin net.Conn, tn *Tunnel, done chan Result) {
	t.Helper()
	client, front := pair(t)
	back, origin := pair(t)
	done = make(chan Result, 1)
	tn = g.Start(Params{Client: front, Origin: back, Done: func(r Result) { done <- r }})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for chunk := make([]byte, 1<<20); ; {
			if _, err := origin.Write(chunk); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		origin.Close()
		<-ended
	})
	egresstest.Eventually(t, "the stream is spliced", func() bool { return lent(g) == 1 })
	return client, origin, tn, done
}

func pair(t *testing.T) (dialed, accepted net.Conn) {
	t.Helper()
	near, far := egresstest.Pair(t)
	t.Cleanup(func() {
		near.Close()
		far.Close()
	})
	return near, far
}

func lent(g *Group) int {
	open, free := g.pipes.Len()
	return open - free
}

func TestStreamIsSplicedAndGivesItsPipeBackWhenTheSourceRunsDry(t *testing.T) {
	g := New(Options{})
	client, front := pair(t)
	back, origin := pair(t)
	done := make(chan Result, 1)
	g.Start(Params{Client: front, Origin: back, Done: func(r Result) { done <- r }})
	const total = 64 << 20
	go func() { _, _ = origin.Write(make([]byte, total)) }()
	egresstest.Eventually(t, "the stream is spliced", func() bool { return lent(g) == 1 })
	if n, err := io.CopyN(io.Discard, client, total); err != nil {
		t.Fatalf("client read %d bytes, %v", n, err)
	}
	egresstest.Eventually(t, "the pipe is given back by the open tunnel", func() bool { return lent(g) == 0 })
	g.sweep(time.Now())
	g.sweep(time.Now())
	if open, _ := g.pipes.Len(); open != 0 {
		t.Errorf("%d pipes open after two sweeps without need", open)
	}
	client.Close()
	origin.Close()
	<-done
}

// Whether there are bytes in a pipe when its tunnel ends is chance, until the client's window is full and nothing moves any more.
func TestPipeThatHoldsBytesIsNotLentAgain(t *testing.T) {
	egresstest.Eventually(t, "a pipe that was closed with its tunnel", func() bool {
		g := New(Options{})
		_, _, tn, done := streaming(t, g)
		for moved := int64(-1); ; time.Sleep(time.Millisecond) {
			_, down := tn.Bytes()
			if down == moved {
				break
			}
			moved = down
		}
		tn.End(Revoked)
		<-done
		open, free := g.pipes.Len()
		for range free {
			p := g.pipes.Acquire()
			defer g.pipes.Release(p, true)
			if n, err := unix.IoctlGetInt(p.R, unix.TIOCINQ); err != nil || n > 0 {
				t.Fatalf("%d bytes are in a pipe that is free (%v): they are another tunnel's", n, err)
			}
		}
		if open != free {
			t.Fatalf("%d pipes are open and %d of them free without a tunnel", open, free)
		}
		g.pipes.Close()
		return free == 0
	})
}

func TestNoMorePipesAreLentThanTheGroupMayHold(t *testing.T) {
	g := New(Options{Pipes: 1})
	_, _, first, firstDone := streaming(t, g)
	client, front := pair(t)
	back, origin := pair(t)
	done := make(chan Result, 1)
	g.Start(Params{Client: front, Origin: back, Done: func(r Result) { done <- r }})
	go func() {
		_, _ = origin.Write(make([]byte, 8<<20))
		origin.Close()
	}()
	if n, err := io.Copy(io.Discard, client); err != nil || n != 8<<20 {
		t.Fatalf("the stream without a pipe moved %d bytes, %v", n, err)
	}
	if open, _ := g.pipes.Len(); open != 1 {
		t.Errorf("%d pipes open, want 1", open)
	}
	client.Close()
	<-done
	first.End(Shutdown)
	<-firstDone
}
