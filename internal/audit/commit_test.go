package audit

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit/record"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit/sink"
)

// gateWriter lets one Write through for each value sent on open, and takes as
// many bytes of it as the value says; less than all of them is an error.
type gateWriter struct {
	open   chan int
	writes atomic.Int64
	output
}

// everything is more than any write has.
const everything = 1 << 30

func (w *gateWriter) Write(p []byte) (int, error) {
	w.writes.Add(1)
	n := min(<-w.open, len(p))
	w.output.Write(p[:n])
	if n < len(p) {
		return n, io.ErrNoProgress
	}
	return n, nil
}

// recordAll records n refusals of hosts prefix0.example… at once and returns
// where their errors come to stand; wg waits for them.
func recordAll(l *Log, wg *sync.WaitGroup, prefix string, n int) []error {
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() { errs[i] = l.Record(refusal(fmt.Sprintf("%s%d.example", prefix, i))) })
	}
	return errs
}

func TestRecordsThatComeDuringAWriteShareTheNextOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &gateWriter{open: make(chan int)}
		l := New(w, Options{})
		var wg sync.WaitGroup
		first := recordAll(l, &wg, "first", 1)
		synctest.Wait()
		rest := recordAll(l, &wg, "rest", 99)
		synctest.Wait()
		w.open <- everything
		w.open <- everything
		wg.Wait()
		if err := errors.Join(append(first, rest...)...); err != nil {
			t.Error(err)
		}
		if got := w.writes.Load(); got != 2 {
			t.Errorf("%d writes for 100 records, want 2", got)
		}
		if got := len(verify(t, w.Bytes(), l.Process())); got != 100 {
			t.Errorf("%d records", got)
		}
	})
}

// Each would be a write of its own, since none is under way when it comes.
func TestRecordsOfThoseWhoAreAboutToRunShareAWrite(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	synctest.Test(t, func(t *testing.T) {
		w := &gateWriter{open: make(chan int, 100)}
		for range cap(w.open) {
			w.open <- everything
		}
		l := New(w, Options{})
		var wg sync.WaitGroup
		errs := recordAll(l, &wg, "host", cap(w.open))
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Error(err)
		}
		if got := w.writes.Load(); got > 10 {
			t.Errorf("%d writes for %d records that were made at once", got, len(errs))
		}
		if got := len(verify(t, w.Bytes(), l.Process())); got != len(errs) {
			t.Errorf("%d records", got)
		}
	})
}

func TestRecordReturnsNotBeforeItsWriteDid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &gateWriter{open: make(chan int)}
		l := New(w, Options{})
		var wg sync.WaitGroup
		var returned atomic.Int64
		for i := range 3 {
			wg.Go(func() {
				if err := l.Record(refusal(fmt.Sprint(i))); err != nil {
					t.Error(err)
				}
				returned.Add(1)
			})
			synctest.Wait()
		}
		for _, want := range []int64{0, 1} { // one record, then the two that share a write
			if got := returned.Load(); got != want {
				t.Errorf("%d calls have returned, want %d", got, want)
			}
			w.open <- everything
			synctest.Wait()
		}
		wg.Wait()
	})
}

// At every number of bytes that the output can take of three lines before it
// fails: a whole line is recorded, a line that was begun is completed later,
// the others are taken back with all that waited behind them.
func TestAWriteThatStopsAnywhereLeavesTheStreamWhole(t *testing.T) {
	length := len(singleLine(t))
	for taken := 0; taken < 3*length; taken++ {
		synctest.Test(t, func(t *testing.T) { stopAt(t, taken, length) })
	}
}

// singleLine returns the line of a record as stopAt makes it.
func singleLine(t *testing.T) []byte {
	var out output
	l := New(&out, Options{Process: "b"})
	if err := l.Record(refusal("a0.example")); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func stopAt(t *testing.T, taken, length int) {
	w := &gateWriter{open: make(chan int)}
	l := New(w, Options{Process: "b"})
	var wg sync.WaitGroup
	before := recordAll(l, &wg, "before", 1)
	synctest.Wait()
	var batch [3][]error
	for i := range batch { // one after the other, so that their order is known
		batch[i] = recordAll(l, &wg, string(rune('a'+i)), 1)
		synctest.Wait()
	}
	w.open <- everything // before
	synctest.Wait()
	behind := recordAll(l, &wg, "z", 2)
	synctest.Wait()
	w.open <- taken
	wg.Wait()
	if l.Healthy() {
		t.Fatal("the log is healthy after a failed write")
	}
	if before[0] != nil || !errors.Is(behind[0], ErrUnavailable) || !errors.Is(behind[1], ErrUnavailable) {
		t.Fatalf("before: %v, behind: %v", before, behind)
	}
	for i := range batch {
		if whole := taken >= (i+1)*length; whole != (batch[i][0] == nil) || !whole && !errors.Is(batch[i][0], ErrUnavailable) {
			t.Fatalf("%d bytes of lines of %d: record %d: %v", taken, length, i, batch[i][0])
		}
	}
	begun := (taken + length - 1) / length
	if got, want := l.Lost(), uint64(5-begun); got != want {
		t.Fatalf("%d bytes: %d lost, want %d", taken, got, want)
	}
	go func() {
		w.open <- everything // the rest of the line that was begun, or after.example
		if taken%length != 0 {
			w.open <- everything
		}
	}()
	if err := l.Record(refusal("after.example")); err != nil || !l.Healthy() {
		t.Fatalf("after recovery: %v", err)
	}
	rows := verify(t, w.Bytes(), "b")
	if got, want := len(rows), 1+begun+1; got != want || rows[len(rows)-1].Host != "after.example" {
		t.Fatalf("%d bytes: %d records, want %d", taken, got, want)
	}
}

// unreliableWriter takes a random part of some writes and fails the rest.
type unreliableWriter struct {
	rnd *rand.Rand
	output
}

func (w *unreliableWriter) Write(p []byte) (int, error) {
	n := len(p)
	if w.rnd.IntN(3) == 0 {
		n = w.rnd.IntN(len(p))
	}
	w.output.Write(p[:n])
	if n < len(p) {
		return n, io.ErrNoProgress
	}
	return n, nil
}

func TestUnderRandomFailuresWhatWasConfirmedIsInTheStream(t *testing.T) {
	for _, mode := range []Failure{Refuse, Count} {
		w := &unreliableWriter{rnd: rand.New(rand.NewPCG(1, 2))}
		l := New(w, Options{OnFailure: mode})
		const callers, each = 20, 100
		var confirmed [callers][each]bool
		var wg sync.WaitGroup
		for g := range callers {
			wg.Go(func() {
				for i := range each {
					confirmed[g][i] = l.Record(refusal(fmt.Sprintf("h%d-%d.example", g, i))) == nil
				}
			})
		}
		wg.Wait()
		for l.Probe() != nil || l.out.HasPartial() {
			_ = l.Record(&Event{Kind: Heartbeat})
		}
		stream := verify(t, w.Bytes(), l.Process())
		in := hosts(stream)
		for g := range callers {
			for i, ok := range confirmed[g] {
				if host := fmt.Sprintf("h%d-%d.example", g, i); mode == Refuse && ok && !in[host] {
					t.Fatalf("%s was confirmed and is not in the stream", host)
				} else if mode == Count && !ok {
					t.Fatalf("%s: an error in count mode", host)
				}
			}
		}
		if got := uint64(len(in)) + l.Lost(); got != callers*each {
			t.Errorf("%v: %d recorded and %d lost are not %d", mode, len(in), l.Lost(), callers*each)
		}
		if got := l.Totals()[0].Count; got != uint64(len(in)) {
			t.Errorf("%v: totals say %d records, the stream has %d", mode, got, len(in))
		}
		checkHeartbeats(t, stream)
	}
}

// checkHeartbeats checks each heartbeat against the records before it.
func checkHeartbeats(t *testing.T, rows []row) {
	t.Helper()
	refused := uint64(0)
	for _, r := range rows {
		switch {
		case r.Event == "refused":
			refused++
		case r.Totals["refused"]["host_not_allowed"] != refused:
			t.Fatalf("heartbeat %d says %v, before it stand %d", r.Seq, r.Totals, refused)
		}
	}
}

func TestWhatWaitsForTheOutputIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &gateWriter{open: make(chan int)}
		l := New(w, Options{})
		long := refusal(strings.Repeat("\x01", 256))
		var wg sync.WaitGroup
		const callers = 3000 // of 2 KiB each
		var failed atomic.Int64
		for range callers {
			wg.Go(func() {
				if l.Record(long) != nil {
					failed.Add(1)
				}
			})
		}
		synctest.Wait()
		l.mu.Lock()
		if n := len(l.open.buf); n > pendingLimit+record.MaxLine {
			t.Errorf("%d bytes wait", n)
		}
		l.mu.Unlock()
		w.open <- everything // the lone first one
		synctest.Wait()
		l.mu.Lock()
		if len(l.open.buf) == 0 {
			t.Error("room was made and nobody who waited for it took it")
		}
		l.mu.Unlock()
		done := make(chan struct{})
		go func() { wg.Wait(); close(done) }()
		for open := true; open; {
			select {
			case w.open <- everything:
			case <-done:
				open = false
			}
		}
		if failed.Load() != 0 {
			t.Errorf("%d failed though the output took all in time", failed.Load())
		}
		if got := len(verify(t, w.Bytes(), l.Process())); got != callers {
			t.Errorf("%d records", got)
		}
	})
}

func TestALoneRecordDoesNotAllocate(t *testing.T) {
	l := New(io.Discard, Options{})
	e := request(t)
	if n := testing.AllocsPerRun(100, func() {
		if err := l.Record(e); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a record", n)
	}
}

// clockSink keeps for each write whether it was allowed to wait.
type clockSink struct {
	err   error
	waits []bool
}

func (s *clockSink) Write(p []byte, until time.Time) (int, error) {
	s.waits = append(s.waits, !until.IsZero())
	if s.err != nil {
		return 0, s.err
	}
	return len(p), nil
}

func (*clockSink) Close() error { return nil }

func TestADeadOutputDelaysNobodyTwice(t *testing.T) {
	s := &clockSink{}
	l := newLog(sink.New(s), Options{OnFailure: Count})
	for _, s.err = range []error{nil, io.ErrNoProgress, io.ErrNoProgress, nil, nil} {
		if err := l.Record(refusal("a.example")); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := fmt.Sprint(s.waits), "[true true false false true]"; got != want {
		t.Errorf("the writes may wait: %s, want %s", got, want)
	}
}
