package audit

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// An output that works for a moment between its failures is not ready in it.
func TestReadyOnlyWhenNoWriteHasFailedForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &flickering{}
		l := New(out, Options{})
		defer l.Close()
		if !l.Ready() {
			t.Error("not ready before anything has failed")
		}
		for range 10 {
			out.fails = true
			_ = l.Heartbeat("")
			out.fails = false
			if err := l.Probe(); err != nil || !l.Healthy() {
				t.Fatalf("the output works, %v", err)
			}
			time.Sleep(readyAfter - time.Second)
			if l.Ready() {
				t.Error("ready within the time")
			}
		}
		time.Sleep(time.Second)
		if !l.Ready() {
			t.Error("not ready though no write has failed for the time")
		}
	})
}

// Nobody is refused for want of a record, so nothing keeps clients away.
func TestWhoCountsIsAlwaysReady(t *testing.T) {
	out := &flickering{fails: true}
	l := New(out, Options{OnFailure: Count})
	if err := l.Heartbeat(""); err != nil || !l.Ready() || l.Probe() == nil {
		t.Errorf("%v, ready %t", err, l.Ready())
	}
}

// What waits for a write that hangs is as old as its oldest record.
func TestOldestRecordThatWaitsHasAnAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &flickering{hangs: make(chan struct{})}
		l := New(out, Options{Timeout: time.Minute})
		if got := l.oldest(); got != 0 {
			t.Errorf("nothing waits, for %v", got)
		}
		go func() { _ = l.Heartbeat("") }()
		synctest.Wait()
		time.Sleep(2 * time.Second)
		go func() { _ = l.Heartbeat("") }()
		synctest.Wait()
		time.Sleep(time.Second)
		if got := l.oldest(); got != 3*time.Second {
			t.Errorf("the oldest record waits for %v, want 3s", got)
		}
		close(out.hangs)
		synctest.Wait()
		if got := l.oldest(); got != 0 {
			t.Errorf("all are written, and one waits for %v", got)
		}
		_ = l.Close()
	})
}

// flickering fails when it is told to.
type flickering struct {
	fails bool
	hangs chan struct{} // nil: no write hangs
}

func (w *flickering) Write(b []byte) (int, error) {
	if w.hangs != nil {
		<-w.hangs
	}
	if w.fails {
		return 0, errors.New("it takes nothing")
	}
	return len(b), nil
}
