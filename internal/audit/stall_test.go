package audit

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
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
			if !errors.Is(errs[11], ErrUnavailable) || errs[12] != nil {
				t.Errorf("%v: Close: %v, Reopen: %v", mode, errs[11], errs[12])
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

// Whoever waits behind a write is released a quarter of a second after its time.
func TestTimeOfAWriteIsFiveSecondsUnlessSaid(t *testing.T) {
	for timeout, want := range map[time.Duration]time.Duration{0: 5 * time.Second, -1: 5 * time.Second, 1: 1, time.Second: time.Second} {
		synctest.Test(t, func(t *testing.T) {
			w := &gateWriter{open: make(chan int)}
			l := New(w, Options{Timeout: timeout})
			var leader sync.WaitGroup
			recordAll(l, &leader, "leader", 1)
			synctest.Wait()
			began := time.Now()
			err := l.Record(refusal("follower.example"))
			if waited := time.Since(began); !errors.Is(err, ErrUnavailable) || waited != want+250*time.Millisecond {
				t.Errorf("timeout %v: released after %v: %v", timeout, waited, err)
			}
			w.open <- everything
			leader.Wait()
		})
	}
}

// The watchdog may come when the write it is for has ended, and another has begun.
func TestWatchdogThatComesLateHurtsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &gateWriter{open: make(chan int)}
		var log bytes.Buffer
		l := New(w, Options{Timeout: time.Second, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		l.stall()
		if !l.Healthy() {
			t.Error("nothing is written, and it hangs")
		}
		time.Sleep(time.Minute)
		var leader sync.WaitGroup
		recordAll(l, &leader, "leader", 1)
		synctest.Wait()
		time.Sleep(time.Second - 1)
		if l.stall(); !l.Healthy() {
			t.Error("a write hangs before its time is over")
		}
		time.Sleep(time.Nanosecond)
		if l.stall(); l.Healthy() {
			t.Error("a write does not hang when its time is over")
		}
		failed := l.failedAt
		time.Sleep(time.Second) // and the watchdog of this one comes as well
		if synctest.Wait(); l.failedAt != failed {
			t.Error("what hangs began to hang again")
		}
		w.open <- everything
		leader.Wait()
		if l.stall(); !l.Healthy() {
			t.Error("nothing is written any more, and it hangs")
		}
		if got := log.String(); strings.Count(got, "audit output fails") != 1 || strings.Count(got, "audit output works again") != 1 || strings.Count(got, "\n") != 2 {
			t.Errorf("the log says\n%s", got)
		}
	})
}

// What a caller waits for may be taken by others again and again.
func TestWhoFindsNoRoomForTwiceTheTimeOfAWriteIsTurnedAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(&output{}, Options{Timeout: time.Second})
		l.open.buf = make([]byte, pendingLimit)
		var wg sync.WaitGroup
		var returned atomic.Int64
		wg.Go(func() {
			if err := l.Record(refusal("a.example")); !errors.Is(err, ErrUnavailable) || !errors.Is(err, errFull) {
				t.Error(err)
			}
			returned.Add(1)
		})
		for _, wait := range []time.Duration{0, time.Second, time.Second, 1} {
			if synctest.Wait(); returned.Load() != 0 {
				t.Fatal("turned away before")
			}
			time.Sleep(wait)
			l.cond.Broadcast() // as a write does that makes room
		}
		wg.Wait() // a deadlock here is the failure of this test
		if l.Lost() != 1 {
			t.Errorf("%d lost", l.Lost())
		}
		l.open.buf = make([]byte, pendingLimit-1)
		if err := l.admit(); err != nil {
			t.Errorf("with a byte of room: %v", err)
		}
	})
}

func TestOutputThatFailsIsLoggedWhenItBeginsAndEnds(t *testing.T) {
	var log bytes.Buffer
	w := &deadWriter{}
	l := New(w, Options{OnFailure: Count, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	for _, err := range []error{nil, errors.New("EIO"), errors.New("EIO"), nil, nil} {
		w.fail(err)
		if err := l.Record(refusal("a.example")); err != nil {
			t.Fatal(err)
		}
	}
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], `level=ERROR msg="audit output fails" error=EIO on_failure=count`) || !strings.Contains(lines[1], `msg="audit output works again" lost=2`) {
		t.Errorf("the log says\n%s", log.String())
	}
}

func TestBufferOfABurstIsNotKept(t *testing.T) {
	for size, kept := range map[int]bool{1: true, keepLimit: true, keepLimit + 1: false} {
		l := New(&output{}, Options{})
		b := l.newBatch()
		b.buf, b.done = make([]byte, 0, size), true
		l.recycle(b)
		if got := cap(l.free[0].buf) == size; got != kept {
			t.Errorf("a buffer of %d bytes is kept: %t", size, got)
		}
	}
}
