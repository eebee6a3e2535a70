package audit

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// refusals are n refusals of hosts prefix0.example, prefix1.example and so on.
func refusals(prefix string, n int) []*Event {
	events := make([]*Event, n)
	for i := range events {
		events[i] = refusal(fmt.Sprintf("%s%d.example", prefix, i))
	}
	return events
}

// inOrder fails unless rows hold prefix0.example to the n-th in that order and
// side by side.
func inOrder(t *testing.T, rows []row, prefix string, n int) {
	t.Helper()
	for i := range rows {
		if rows[i].Host != prefix+"0.example" {
			continue
		}
		for k := range n {
			if i+k >= len(rows) || rows[i+k].Host != fmt.Sprintf("%s%d.example", prefix, k) {
				t.Fatalf("behind %d records of %s comes another", k, prefix)
			}
		}
		return
	}
	t.Errorf("no record of %s", prefix)
}

func TestAGroupOfRecordsIsOneWriteInItsOrder(t *testing.T) {
	w := &countingWriter{}
	l := New(w, Options{Process: "b"})
	if n, err := l.RecordAll(refusals("a", 32)); err != nil || n != 32 {
		t.Fatal(err)
	}
	rows := verify(t, w.Bytes(), "b")
	inOrder(t, rows, "a", 32)
	if len(rows) != 32 || w.writes.Load() != 1 {
		t.Errorf("%d records in %d writes, want 32 in 1", len(rows), w.writes.Load())
	}
}

func TestNoEventsAreNoWriteAndNoError(t *testing.T) {
	w := &countingWriter{err: errors.New("full")}
	l := New(w, Options{})
	if _, err := l.RecordAll(nil); err != nil || w.writes.Load() != 0 {
		t.Errorf("%v, %d writes", err, w.writes.Load())
	}
}

func TestAGroupWithAnEventWithoutAKindIsRefusedWhole(t *testing.T) {
	for _, bad := range []*Event{nil, {}, {Kind: Expired + 1}} {
		var out output
		l := New(&out, Options{OnFailure: Count})
		if _, err := l.RecordAll(append(refusals("a", 2), bad)); !errors.Is(err, ErrKind) || out.Len() != 0 {
			t.Errorf("%+v: %v, written: %s", bad, err, &out)
		}
	}
}

func TestGroupsOfManyCallersStayTogetherAndChain(t *testing.T) {
	var out output
	l := New(&out, Options{})
	var wg sync.WaitGroup
	for g := range 20 {
		wg.Go(func() {
			for i := range 10 {
				if _, err := l.RecordAll(refusals(fmt.Sprintf("g%d-%d-", g, i), 8)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	rows := verify(t, out.Bytes(), l.Process())
	if len(rows) != 1600 {
		t.Fatalf("%d of 1600 records are in the stream", len(rows))
	}
	for g := range 20 {
		for i := range 10 {
			inOrder(t, rows, fmt.Sprintf("g%d-%d-", g, i), 8)
		}
	}
}

func TestAGroupReturnsNotBeforeItsWriteDid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &gateWriter{open: make(chan int)}
		l := New(w, Options{})
		var wg sync.WaitGroup
		var returned atomic.Int64
		for _, prefix := range []string{"leader", "follower"} {
			wg.Go(func() {
				if _, err := l.RecordAll(refusals(prefix, 3)); err != nil {
					t.Error(err)
				}
				returned.Add(1)
			})
			synctest.Wait()
		}
		for _, want := range []int64{0, 1} {
			if got := returned.Load(); got != want {
				t.Errorf("%d calls have returned, want %d", got, want)
			}
			w.open <- everything
			synctest.Wait()
		}
		wg.Wait()
	})
}

// At every number of bytes that the output can take of a group before it fails:
// the caller hears of it, the output has a prefix of the group, and what comes
// later continues the stream.
func TestAGroupThatStopsAnywhereIsAPrefixAndAnError(t *testing.T) {
	length := len(singleLine(t))
	for taken := 0; taken < 3*length; taken++ {
		synctest.Test(t, func(t *testing.T) {
			w := &gateWriter{open: make(chan int)}
			l := New(w, Options{Process: "b"})
			go func() { w.open <- taken }()
			n, err := l.RecordAll(refusals("a", 3))
			if !errors.Is(err, ErrUnavailable) || l.Healthy() || n != taken/length {
				t.Fatalf("after %d bytes: %d records, %v, healthy: %v", taken, n, err, l.Healthy())
			}
			kept := (taken + length - 1) / length // a line that was begun is completed
			if taken%length > 0 {
				go func() { w.open <- everything; w.open <- everything }()
			} else {
				go func() { w.open <- everything }()
			}
			if _, err := l.RecordAll(refusals("z", 2)); err != nil {
				t.Fatal(err)
			}
			rows := verify(t, w.Bytes(), "b")
			if len(rows) != kept+2 || l.Lost() != uint64(3-kept) {
				t.Fatalf("after %d bytes: %d records, %d lost", taken, len(rows), l.Lost())
			}
			if kept > 0 {
				inOrder(t, rows, "a", kept)
			}
			inOrder(t, rows, "z", 2)
		})
	}
}

func TestAGroupThatIsTurnedAwayIsLostWhole(t *testing.T) {
	for _, mode := range []Failure{Refuse, Count} {
		w := &countingWriter{}
		l := New(w, Options{OnFailure: mode})
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := l.RecordAll(refusals("a", 5)); errors.Is(err, ErrUnavailable) != (mode == Refuse) || l.Lost() != 5 || w.writes.Load() != 0 {
			t.Errorf("%v: %v, %d lost, %d writes", mode, err, l.Lost(), w.writes.Load())
		}
	}
}

func TestAGroupBehindAWriteThatHangsIsReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &gateWriter{open: make(chan int)}
		l := New(w, Options{Timeout: time.Second})
		var leader sync.WaitGroup
		recordAll(l, &leader, "leader", 1)
		synctest.Wait()
		if _, err := l.RecordAll(refusals("a", 5)); !errors.Is(err, ErrUnavailable) || l.Lost() != 5 {
			t.Errorf("%v, %d lost", err, l.Lost())
		}
		w.open <- everything
		leader.Wait()
	})
}

func TestRecordingAGroupDoesNotAllocate(t *testing.T) {
	w := &countingWriter{}
	l := New(w, Options{})
	events := refusals("a", 32)
	if n := testing.AllocsPerRun(100, func() {
		w.Reset()
		if _, err := l.RecordAll(events); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
