package tunnel_test

import (
	"io"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/tunnel"
)

func descriptors(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(entries)
}

func TestDescriptorsAndGoroutinesReturnToWhereTheyBegan(t *testing.T) {
	byEachEngine(t, func(t *testing.T, newGroup groupMaker) {
		group := newGroup(t, tunnel.Options{Sweep: 10 * time.Millisecond})
		warm := newRig(t, group, nil)
		roundTrip(t, warm.client, warm.origin, make([]byte, 64))
		files, routines := descriptors(t), runtime.NumGoroutine()
		for range 10 {
			var wave sync.WaitGroup
			for i := range 100 {
				wave.Go(func() { oneTunnel(t, group, i) })
			}
			wave.Wait()
		}
		egresstest.Eventually(t, "descriptors and goroutines as before", func() bool {
			return descriptors(t) <= files && runtime.NumGoroutine() <= routines
		})
		if n := group.Len(); n != 1 {
			t.Fatalf("%d tunnels open, want the one that was there before", n)
		}
	})
}

// oneTunnel opens a tunnel, moves 64 bytes each way or, every tenth time, enough to be spliced, and ends it in one of three ways.
func oneTunnel(t *testing.T, group *group, i int) {
	client, front := egresstest.Pair(t)
	back, origin := egresstest.Pair(t)
	defer client.Close()
	defer origin.Close()
	done := make(chan tunnel.Result, 1)
	tn := group.start(front, back, nil, func(r tunnel.Result) { done <- r })
	roundTrip(t, client, origin, make([]byte, 64))
	if i%10 == 0 {
		var writer sync.WaitGroup
		writer.Go(func() { _, _ = origin.Write(make([]byte, 2<<20)) })
		defer writer.Wait()
		defer origin.Close()
		_, _ = io.ReadFull(client, make([]byte, 1<<20))
	}
	switch i % 3 {
	case 0:
		client.Close()
		origin.Close()
	case 1:
		_ = client.SetLinger(0)
		client.Close()
	case 2:
		tn.End(tunnel.Revoked)
	}
	<-done
}

func TestIdleTunnelIsTwoDescriptorsAndNoBuffer(t *testing.T) {
	byEachEngine(t, func(t *testing.T, newGroup groupMaker) {
		const tunnels = 30
		group := newGroup(t, tunnel.Options{Sweep: 10 * time.Millisecond})
		warm := newRig(t, group, nil)
		roundTrip(t, warm.client, warm.origin, make([]byte, 64))
		files, before := descriptors(t), heap()
		bulk := make([]byte, 1<<20)
		for range tunnels {
			r := newRig(t, group, nil)
			go func() { _, _ = r.origin.Write(bulk) }()
			_, err := io.CopyN(io.Discard, r.client, 1<<20)
			must(t, err)
			roundTrip(t, r.client, r.origin, make([]byte, 64))
			heap() // empties the pools: what a parked direction still refers to is not shared with the next
		}
		egresstest.Eventually(t, "two descriptors a tunnel beside the two of its far ends", func() bool { return descriptors(t) == files+4*tunnels })
		if each := (heap() - before - int64(len(bulk))) / tunnels; each > 8<<10 {
			t.Errorf("%d bytes of heap for each idle tunnel", each)
		}
		runtime.KeepAlive(bulk)
	})
}

func TestDoneIsCalledOnceHoweverManyEndsRace(t *testing.T) {
	byEachEngine(t, func(t *testing.T, newGroup groupMaker) {
		group := newGroup(t, tunnel.Options{})
		for i := range 200 {
			r := newRig(t, group, nil)
			var race sync.WaitGroup
			race.Go(func() { _, _ = r.origin.Write(make([]byte, 1+i*1000)) })
			race.Go(func() { _, _ = r.client.Write(make([]byte, 1+i*1000)) })
			race.Go(func() { r.tunnel.End(tunnel.Revoked) })
			race.Go(func() { r.tunnel.End(tunnel.Shutdown) })
			race.Go(func() {
				if i%2 == 0 {
					_ = r.client.SetLinger(0)
				}
				_ = r.client.Close()
			})
			race.Go(func() { _ = r.origin.Close() })
			race.Wait()
			res := <-r.result
			if up, down := r.tunnel.Bytes(); up != res.Up || down != res.Down {
				t.Fatalf("Done was told %d and %d bytes, but %d and %d were moved", res.Up, res.Down, up, down)
			}
			if r.tunnel.End(tunnel.Idle) {
				t.Fatal("a tunnel that was over has been ended again")
			}
			defer func() {
				if len(r.result) != 0 {
					t.Error("Done was called twice")
				}
			}()
		}
		must(t, group.Wait(t.Context()))
	})
}
