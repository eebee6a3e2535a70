package audit

import (
	"errors"
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
