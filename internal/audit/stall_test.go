package audit

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestAWriteThatHangsHoldsNobodyButItsCaller(t *testing.T) {
	for _, mode := range []Failure{Refuse, Count} {
		synctest.Test(t, func(t *testing.T) {
			w := &gateWriter{open: make(chan int)}
			l := New(w, Options{OnFailure: mode, Timeout: 3 * time.Second})
			var leader, followers sync.WaitGroup
			first := recordAll(l, &leader, "leader", 1)
			synctest.Wait()
			began := time.Now()
			errs := recordAll(l, &followers, "follower", 10)
			followers.Wait() // a deadlock here is the failure of this test
			if got := time.Since(began); got > 4*time.Second {
				t.Errorf("they waited %v", got)
			}
			errs = append(errs, l.Record(refusal("later.example")), l.Close(), l.Reopen())
			for i, err := range errs[:11] {
				if errors.Is(err, ErrUnavailable) != (mode == Refuse) {
					t.Errorf("%v: call %d: %v", mode, i, err)
				}
			}
			if l.Lost() != 11 || l.Healthy() != (mode == Count) {
				t.Errorf("%v: %d lost, healthy: %v", mode, l.Lost(), l.Healthy())
			}
			w.open <- everything
			leader.Wait()
			if first[0] != nil || !l.Healthy() {
				t.Errorf("%v: the write came back: %v, healthy: %v", mode, first[0], l.Healthy())
			}
			if rows := verify(t, w.Bytes(), l.Process()); len(rows) != 1 {
				t.Errorf("%v: %d records", mode, len(rows))
			}
		})
	}
}

func TestThoseWhoShareAWriteThatHangsAreReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &gateWriter{open: make(chan int)}
		l := New(w, Options{})
		var first, shared sync.WaitGroup
		recordAll(l, &first, "first", 1)
		synctest.Wait()
		var released atomic.Int64
		for range 5 {
			shared.Go(func() {
				_ = l.Record(refusal("shared.example"))
				released.Add(1)
			})
		}
		synctest.Wait()
		w.open <- everything // first; then one of the five hangs
		time.Sleep(time.Minute)
		if got := released.Load(); got != 4 {
			t.Errorf("%d of the 4 followers are released", got)
		}
		w.open <- everything
		first.Wait()
		shared.Wait()
		// Their lines reached the output after all: nothing is lost.
		if got := len(verify(t, w.Bytes(), l.Process())); got != 6 || l.Lost() != 0 {
			t.Errorf("%d records, %d lost", got, l.Lost())
		}
	})
}

func TestRecoveryFromAHangContinuesTheChain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &gateWriter{open: make(chan int)}
		l := New(w, Options{Timeout: time.Second})
		var wg sync.WaitGroup
		recordAll(l, &wg, "one", 1)
		synctest.Wait()
		w.open <- everything
		synctest.Wait()
		recordAll(l, &wg, "hung", 1)
		synctest.Wait()
		recordAll(l, &wg, "behind", 5)
		time.Sleep(5 * time.Second) // of the bubble's clock: the hang is noticed
		w.open <- everything
		wg.Wait()
		go func() { w.open <- everything }()
		if err := l.Record(refusal("after.example")); err != nil {
			t.Fatal(err)
		}
		rows := verify(t, w.Bytes(), l.Process())
		if len(rows) != 3 || rows[2].Host != "after.example" {
			t.Errorf("%+v", rows)
		}
	})
}
