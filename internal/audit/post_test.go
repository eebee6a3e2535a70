package audit

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// countingWriter counts writes and can be made to fail.
type countingWriter struct {
	output
	writes atomic.Int64
	err    error
}

func (w *countingWriter) Write(p []byte) (int, error) {
	w.writes.Add(1)
	if w.err != nil {
		return 0, w.err
	}
	return w.output.Write(p)
}

// ending is the end of a tunnel.
func ending(host string) *Event { return &Event{Kind: Closed, Host: host} }

func TestPostedRecordGoesOutWithTheNextOneInOneWrite(t *testing.T) {
	w := &countingWriter{}
	l := New(w, Options{Process: "b"})
	l.Post(ending("one.test"))
	l.Post(ending("two.test"))
	if w.writes.Load() != 0 {
		t.Errorf("%d writes before anything waits", w.writes.Load())
	}
	if err := l.Record(refusal("three.test")); err != nil {
		t.Fatal(err)
	}
	if rows := verify(t, w.Bytes(), "b"); len(rows) != 3 || w.writes.Load() != 1 {
		t.Errorf("%d records in %d writes, want 3 in 1", len(rows), w.writes.Load())
	}
}

func TestPostedRecordGoesOutByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &countingWriter{}
		l := New(w, Options{Process: "b"})
		l.Post(ending("one.test"))
		time.Sleep(2 * postDelay)
		synctest.Wait()
		if rows := verify(t, w.Bytes(), "b"); len(rows) != 1 {
			t.Errorf("%d records, want 1", len(rows))
		}
		l.Post(ending("two.test"))
		time.Sleep(2 * postDelay)
		synctest.Wait()
		if rows := verify(t, w.Bytes(), "b"); len(rows) != 2 {
			t.Errorf("%d records, want 2", len(rows))
		}
	})
}

func TestCloseWritesWhatWasPosted(t *testing.T) {
	w := &countingWriter{}
	l := New(w, Options{Process: "b"})
	l.Post(ending("one.test"))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if rows := verify(t, w.Bytes(), "b"); len(rows) != 1 {
		t.Errorf("%d records, want 1", len(rows))
	}
}

func TestPostedRecordThatFailsIsCountedLostAndLeavesNoGap(t *testing.T) {
	reg := prometheus.NewRegistry()
	w := &countingWriter{err: errors.New("full")}
	l := New(w, Options{Process: "b", Registerer: reg})
	l.Post(ending("one.test"))
	if err := l.Record(refusal("two.test")); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("Record returned %v", err)
	}
	w.err = nil
	if err := l.Record(refusal("three.test")); err != nil {
		t.Fatal(err)
	}
	if rows := verify(t, w.Bytes(), "b"); len(rows) != 1 {
		t.Errorf("%d records, want 1", len(rows))
	}
	if n := counter(t, reg, "egress_audit_lost_total"); n != 2 {
		t.Errorf("egress_audit_lost_total = %v, want 2", n)
	}
}

// The record went out with another one, and its time comes with nothing to write.
func TestPostedRecordGoesOutOnceAndAfter50Milliseconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &countingWriter{}
		l := New(w, Options{Process: "b"})
		l.Post(ending("one.test"))
		if err := l.Record(refusal("two.test")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := w.writes.Load(); n != 1 {
			t.Errorf("%d writes, want 1", n)
		}
		l.Post(ending("three.test"))
		for _, step := range []struct {
			after  time.Duration
			writes int64
		}{{49 * time.Millisecond, 1}, {time.Millisecond, 2}, {time.Second, 2}} {
			time.Sleep(step.after)
			synctest.Wait()
			if n := w.writes.Load(); n != step.writes {
				t.Errorf("%d writes after %v more, want %d", n, step.after, step.writes)
			}
		}
		verify(t, w.Bytes(), "b")
	})
}

func TestPostedRecordWaitsForTheWriteUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &gateWriter{open: make(chan int)}
		l := New(w, Options{Process: "b"})
		var wg sync.WaitGroup
		recordAll(l, &wg, "first", 1)
		synctest.Wait()
		l.Post(ending("one.test"))
		time.Sleep(time.Second)
		synctest.Wait()
		if n := w.writes.Load(); n != 1 {
			t.Errorf("%d writes at once", n)
		}
		w.open <- everything
		wg.Wait()
		time.Sleep(time.Second)
		w.open <- everything
		synctest.Wait()
		if rows := verify(t, w.Bytes(), "b"); len(rows) != 2 || w.writes.Load() != 2 {
			t.Errorf("%d records in %d writes, want 2 in 2", len(rows), w.writes.Load())
		}
	})
}

func TestWhatHasNoKindIsNotPosted(t *testing.T) {
	l := New(&output{}, Options{})
	for _, e := range []*Event{nil, {}, {Kind: Expired + 1}} {
		l.Post(e)
	}
	if err := l.Close(); err != nil || l.Lost() != 0 || l.seq != 0 {
		t.Errorf("%v, %d lost, %d records", err, l.Lost(), l.seq)
	}
}

// Of what is posted nobody waits for room.
func TestPostedRecordWithoutAPlaceIsLost(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(*Log)
		lost    uint64
	}{
		"there is room":     {func(*Log) {}, 0},
		"one byte of room":  {func(l *Log) { l.open.buf = make([]byte, pendingLimit-1) }, 0},
		"no room":           {func(l *Log) { l.open.buf = make([]byte, pendingLimit) }, 1},
		"the write hangs":   {func(l *Log) { l.stalled = true }, 1},
		"after the end":     {func(l *Log) { _ = l.Record(&Event{Kind: Stopped}) }, 1},
		"the log is closed": {func(l *Log) { _ = l.Close() }, 1},
	} {
		l := New(&output{}, Options{})
		c.prepare(l)
		l.Post(ending("one.test"))
		if kept := len(l.open.lines) == 1; l.Lost() != c.lost || kept != (c.lost == 0) {
			t.Errorf("%s: %d lost, in the batch: %t", name, l.Lost(), kept)
		}
		l.post.Stop()
	}
}

func TestPostingARecordDoesNotAllocate(t *testing.T) {
	l := New(io.Discard, Options{})
	e, r := ending("one.test"), request(t)
	if n := testing.AllocsPerRun(100, func() {
		l.Post(e)
		if err := l.Record(r); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
