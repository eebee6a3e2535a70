package tunnel_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/tunnel"
)

func TestHalfCloseAfterTheRequestStillGetsTheResponse(t *testing.T) {
	byEachEngine(t, func(t *testing.T, newGroup groupMaker) {
		r := newRig(t, newGroup(t, tunnel.Options{}), nil)
		_, err := r.client.Write([]byte("ping"))
		must(t, err)
		must(t, r.client.CloseWrite())
		if got := readAll(t, r.origin); string(got) != "ping" {
			t.Fatalf("origin read %q", got)
		}
		_, err = r.origin.Write([]byte("pong"))
		must(t, err)
		must(t, r.origin.Close())
		if got := readAll(t, r.client); string(got) != "pong" {
			t.Fatalf("client read %q", got)
		}
		if res := r.ended(t, tunnel.Client); res.Up != 4 || res.Down != 4 || res.Err != nil {
			t.Fatalf("result %+v, want 4 bytes each way and no error", res)
		}
	})
}

func TestPrefixGoesFirstAndIsCounted(t *testing.T) {
	r := newRig(t, newGroup(t, tunnel.Options{}), []byte("hello "))
	_, err := r.client.Write([]byte("world"))
	must(t, err)
	must(t, r.client.CloseWrite())
	if got := readAll(t, r.origin); string(got) != "hello world" {
		t.Fatalf("origin read %q", got)
	}
	must(t, r.origin.Close())
	if res := r.ended(t, tunnel.Client); res.Up != 11 || res.Down != 0 {
		t.Fatalf("result %+v, want 11 up and 0 down", res)
	}
}

// The poller reports data and a FIN that arrive together once. Waiting again after a short read would miss the FIN. On one
// processor nobody looks at the sockets between the write and the close.
func TestFinThatArrivesWithTheDataEndsTheTunnel(t *testing.T) {
	byEachEngine(t, func(t *testing.T, newGroup groupMaker) {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
		group := newGroup(t, tunnel.Options{})
		for range 20 {
			r := newRig(t, group, nil)
			roundTrip(t, r.client, r.origin, make([]byte, 64))
			for range 100 {
				runtime.Gosched() // both directions park again
			}
			_, err := r.origin.Write([]byte("bye"))
			must(t, err)
			must(t, r.origin.Close())
			if got := readAll(t, r.client); string(got) != "bye" {
				t.Fatalf("client read %q", got)
			}
			must(t, r.client.Close())
			if res := r.ended(t, tunnel.Origin); res.Down != 67 || res.Err != nil {
				t.Fatalf("result %+v, want 67 bytes down and no error", res)
			}
		}
	})
}

func TestOriginThatClosesFirstIsTheCause(t *testing.T) {
	byEachEngine(t, func(t *testing.T, newGroup groupMaker) {
		r := newRig(t, newGroup(t, tunnel.Options{}), nil)
		must(t, r.origin.Close())
		if got := readAll(t, r.client); len(got) != 0 {
			t.Fatalf("client read %q", got)
		}
		must(t, r.client.Close())
		r.ended(t, tunnel.Origin)
	})
}

func TestOriginThatHalfClosesAndStopsReadingEndsByTheIdleLimit(t *testing.T) {
	byEachEngine(t, func(t *testing.T, newGroup groupMaker) {
		r := newRig(t, newGroup(t, tunnel.Options{Idle: 100 * time.Millisecond, Sweep: 10 * time.Millisecond}), nil)
		must(t, r.origin.CloseWrite())
		stopped := flood(r.client)
		r.ended(t, tunnel.Idle)
		<-stopped
	})
}

func TestResetOfOneSideInMidTransferResetsTheOther(t *testing.T) {
	byEachEngine(t, func(t *testing.T, newGroup groupMaker) {
		for _, row := range []struct {
			name  string
			sides func(*rig) (resets, remains *net.TCPConn)
		}{
			{"client", func(r *rig) (resets, remains *net.TCPConn) { return r.client, r.origin }},
			{"origin", func(r *rig) (resets, remains *net.TCPConn) { return r.origin, r.client }},
		} {
			t.Run(row.name, func(t *testing.T) {
				r := newRig(t, newGroup(t, tunnel.Options{}), nil)
				resets, remains := row.sides(r)
				stopped := flood(resets)
				_, err := io.ReadFull(remains, make([]byte, 4<<20))
				must(t, err)
				must(t, resets.SetLinger(0))
				must(t, resets.Close())
				<-stopped
				must(t, remains.SetReadDeadline(time.Now().Add(testTimeout)))
				if _, err := io.Copy(io.Discard, remains); !errors.Is(err, syscall.ECONNRESET) {
					t.Fatalf("the other side read to %v, want a reset and not an orderly end", err)
				}
				if res := r.ended(t, tunnel.Error); res.Err == nil {
					t.Fatal("ended by error without an error")
				}
			})
		}
	})
}

func TestResetWithNothingInFlightEndsTheOtherSide(t *testing.T) {
	byEachEngine(t, func(t *testing.T, newGroup groupMaker) {
		r := newRig(t, newGroup(t, tunnel.Options{}), nil)
		roundTrip(t, r.client, r.origin, make([]byte, 64))
		must(t, r.origin.SetLinger(0))
		must(t, r.origin.Close())
		must(t, r.client.SetReadDeadline(time.Now().Add(testTimeout)))
		if _, err := r.client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("client read %v, want a reset", err)
		}
		if res := r.ended(t, tunnel.Error); res.Up != 64 || res.Down != 64 {
			t.Fatalf("result %+v, want 64 bytes each way", res)
		}
	})
}

func TestClientThatStopsReadingCostsNoMemoryAndEndsByTheIdleLimit(t *testing.T) {
	byEachEngine(t, func(t *testing.T, newGroup groupMaker) {
		const tunnels, idle = 10, time.Hour
		group := newGroup(t, tunnel.Options{Idle: idle, Sweep: idle}) // the test sweeps
		before := heap()
		var rigs []*rig
		var floods []<-chan struct{}
		for range tunnels {
			r := newRig(t, group, nil)
			must(t, r.client.SetReadBuffer(4<<10))
			rigs, floods = append(rigs, r), append(floods, flood(r.origin))
		}
		stall(t, rigs)
		// Each flood holds a chunk of 64 KiB and each direction at most one buffer of 32 KiB.
		if grown := heap() - before; grown > tunnels*(64+2*32)<<10+1<<20 {
			t.Errorf("%d stalled tunnels cost %d bytes of heap", tunnels, grown)
		}
		now := time.Now()
		egresstest.Eventually(t, "every tunnel has ended", func() bool {
			group.Sweep(now)
			now = now.Add(idle)
			return group.Len() == 0
		})
		for i, stopped := range floods {
			rigs[i].ended(t, tunnel.Idle)
			<-stopped
			must(t, rigs[i].client.SetReadDeadline(time.Now().Add(testTimeout)))
			if _, err := io.Copy(io.Discard, rigs[i].client); !errors.Is(err, syscall.ECONNRESET) {
				t.Fatalf("a stream that was cut off in the middle ended with %v, want a reset", err)
			}
		}
	})
}

// stall waits until floods have filled the windows of clients that do not read: every tunnel waits with bytes in hand, and nothing
// more is moved.
func stall(t *testing.T, rigs []*rig) {
	t.Helper()
	var moved int64
	still := 0
	stacks := make([]byte, 4<<20)
	egresstest.Eventually(t, "the clients' windows are full", func() bool {
		var down int64
		for _, r := range rigs {
			_, d := r.tunnel.Bytes()
			down += d
		}
		waiting := 0
		for routine := range bytes.SplitSeq(stacks[:runtime.Stack(stacks, true)], []byte("\n\n")) {
			if head, calls, _ := bytes.Cut(routine, []byte("\n")); bytes.Contains(head, []byte("[IO wait")) && bytes.Contains(calls, []byte(".(*direction).flush(")) {
				waiting++
			}
		}
		if still++; down != moved || waiting != len(rigs) {
			still = 0
		}
		moved = down
		return still == 50
	})
}

func heap() int64 {
	runtime.GC()
	runtime.GC() // a pool keeps what it holds for one collection more
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestRevokedTunnelEndsInOrderWhileOthersStay(t *testing.T) {
	byEachEngine(t, func(t *testing.T, newGroup groupMaker) {
		group := newGroup(t, tunnel.Options{})
		stays, goes := newRig(t, group, nil), newRig(t, group, nil)
		for _, r := range []*rig{stays, goes} {
			roundTrip(t, r.client, r.origin, make([]byte, 10))
		}
		var ended []bool
		group.Each(func(tn *tunnel.Tunnel) {
			if tn == goes.tunnel {
				ended = append(ended, tn.End(tunnel.Revoked), tn.End(tunnel.Shutdown))
			}
		})
		if len(ended) != 2 || !ended[0] || ended[1] {
			t.Fatalf("the two calls of End reported %v, want [true false]", ended)
		}
		if got := readAll(t, goes.client); len(got) != 0 {
			t.Fatalf("client read %q", got)
		}
		if res := goes.ended(t, tunnel.Revoked); res.Up != 10 || res.Down != 10 || res.Err != nil {
			t.Fatalf("result %+v, want 10 bytes each way and no error", res)
		}
		roundTrip(t, stays.client, stays.origin, make([]byte, 10))
	})
}

func TestGroupThatStopsEndsEveryTunnelAndTakesNoMore(t *testing.T) {
	group := tunnel.New(tunnel.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		group.Run(ctx)
	}()
	first := newRig(t, byGoroutines(group), nil)
	if err := group.Wait(canceled()); !errors.Is(err, context.Canceled) {
		t.Fatalf("Wait with an open tunnel returned %v", err)
	}
	cancel()
	<-stopped
	if n := len(first.result); n != 1 {
		t.Fatalf("Run returned before Done: %d results", n)
	}
	first.ended(t, tunnel.Shutdown)
	late := newRig(t, byGoroutines(group), nil)
	late.ended(t, tunnel.Shutdown)
	must(t, group.Wait(t.Context()))
	if n := group.Len(); n != 0 {
		t.Fatalf("%d tunnels left", n)
	}
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestValueIsTheOwners(t *testing.T) {
	group := newGroup(t, tunnel.Options{})
	client, front := net.Pipe()
	origin, back := net.Pipe()
	defer origin.Close()
	defer client.Close()
	tn := group.Start(tunnel.Params{Client: front, Origin: back, Value: "rule 7", Done: func(tunnel.Result) {}})
	if got := tn.Value(); got != "rule 7" {
		t.Fatalf("Value() = %v", got)
	}
}

// What cannot be half-closed is closed: the far side would wait for an end that never comes.
func TestConnectionWithoutHalfCloseIsClosedWithItsPeer(t *testing.T) {
	group := newGroup(t, tunnel.Options{})
	client, front := net.Pipe()
	origin, back := net.Pipe()
	done := make(chan tunnel.Result, 1)
	group.Start(tunnel.Params{Client: front, Origin: back, Done: func(r tunnel.Result) { done <- r }})
	go func() {
		_, _ = client.Write([]byte("ping"))
		_ = client.Close()
	}()
	if got, err := io.ReadAll(origin); err != nil || !bytes.Equal(got, []byte("ping")) {
		t.Fatalf("origin read %q, %v", got, err)
	}
	if r := <-done; r.Ended != tunnel.Client || r.Up != 4 || r.Err != nil {
		t.Fatalf("result %+v, want ended by client, 4 bytes up, no error", r)
	}
}

func TestCausesAreTheWordsOfTheRecords(t *testing.T) {
	var zero tunnel.Cause
	for cause, want := range map[tunnel.Cause]string{
		zero: "error", tunnel.Error: "error", tunnel.Client: "client", tunnel.Origin: "origin", tunnel.Idle: "idle",
		tunnel.Lifetime: "lifetime", tunnel.Revoked: "revoked", tunnel.Shutdown: "shutdown", tunnel.Cause(200): "error",
	} {
		if got := cause.String(); got != want {
			t.Errorf("Cause(%d).String() = %q, want %q", cause, got, want)
		}
	}
}
