package audit

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit/record"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit/sink"
)

// Group commit: there is one batch of lines that no write has taken, open. The
// caller that finds no write under way becomes the leader, puts a new batch in
// its place and writes the old one without holding the lock; the others append
// to the new one and wait. There is no goroutine for writing, so an idle log
// costs nothing and a lone caller writes for itself.

const (
	// pendingLimit is how many bytes may wait for the output; then callers
	// wait before they encode.
	pendingLimit = 4 << 20
	// keepLimit is the largest buffer that is kept after a burst.
	keepLimit = 1 << 20
	// company is how soon behind another write a caller takes it that there are more to come:
	// giving way costs a lone caller as much as a write.
	company = 200 * time.Microsecond
	// postDelay is how long a posted line waits for others to share its write.
	postDelay = 50 * time.Millisecond
	// stallSlack is how much longer than Options.Timeout a write may last
	// before its followers are released: those outputs that can be polled
	// keep to the timeout by themselves.
	stallSlack = 250 * time.Millisecond
)

// batch is lines that go to the output together.
type batch struct {
	buf       []byte
	lines     []lineMeta
	since     time.Time         // when its first line came
	first     uint64            // seq of its first line
	prev      [sha256.Size]byte // hash of the line before that
	cond      sync.Cond         // its callers wait for done or abandoned, or to lead
	refs      int               // callers that have not yet read the result
	out       int               // when done: how many bytes of whole lines are on the output
	err       error             // when done: why that is not all
	done      bool
	abandoned bool // the write stalls; its outcome comes, but nobody waits for it
}

// lineMeta is what must be known of a line to take it back.
type lineMeta struct {
	end   int // where the line ends in its batch, newline included
	entry record.Entry
}

// What a caller does where its records could share a write with those of others.
const (
	goesOn   = false
	givesWay = true
)

// record is RecordAll, whatever OnFailure says.
func (l *Log) record(gives bool, events ...*Event) (written int, err error) {
	for _, e := range events {
		if e == nil || !e.Kind.Valid() {
			return 0, ErrKind
		}
	}
	if len(events) == 0 {
		return 0, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.admit(); err != nil {
		for _, e := range events {
			l.countLost(record.EntryOf(e))
		}
		return 0, unavailable(err)
	}
	b, now := l.open, l.now()
	first := len(b.lines)
	for _, e := range events {
		l.append(b, e, now)
	}
	b.refs -= len(events) - 1 // one caller reads the result
	return l.await(b, first, len(events), gives)
}

// unavailable makes the error of a record that was not written.
func unavailable(cause error) error { return fmt.Errorf("%w: %w", ErrUnavailable, cause) }

// admit waits until the open batch has room.
func (l *Log) admit() error {
	for began := (time.Time{}); ; l.cond.Wait() {
		switch {
		case l.closed || l.ended:
			return errClosed
		case l.stalled:
			return sink.ErrTimeout
		case len(l.open.buf) < pendingLimit:
			return nil
		case began.IsZero():
			began = time.Now()
		case time.Since(began) > 2*l.timeout:
			return errFull
		}
	}
}

// append appends the line of e to b.
func (l *Log) append(b *batch, e *Event, now time.Time) {
	if len(b.lines) == 0 {
		b.since = time.Now()
	}
	start := len(b.buf)
	at := record.Place{Now: now, Seq: l.seq + 1, Prev: l.prev}
	b.buf = l.enc.AppendLine(b.buf, e, &at, l.tally)
	entry := record.EntryOf(e)
	b.lines = append(b.lines, lineMeta{len(b.buf), entry})
	b.refs++
	l.tally.Add(entry)
	l.seq++
	l.prev = record.HashLine(b.buf[start:])
	l.policy = e.Policy
	l.ended = l.ended || e.Kind == Stopped
}

// await waits for the outcome of n lines of b, from line first on, and writes the
// batch where no other caller does. It returns how many of them are on the output.
// Who gives way lets those who are about to run have their turn, soon behind another write,
// before it writes: what they record shares the write, which costs more than the encoding of
// many records.
func (l *Log) await(b *batch, first, n int, gives bool) (written int, err error) {
	for !b.done && !b.abandoned {
		if l.busy || l.wanted > 0 {
			b.cond.Wait()
			continue
		}
		if gives && time.Since(l.written) < company {
			gives = false
			l.mu.Unlock()
			runtime.Gosched()
			l.mu.Lock()
			continue
		}
		l.lead() // what is not done and not under way is in open
	}
	b.refs--
	for _, m := range b.lines[first : first+n] {
		if b.done && m.end <= b.out {
			written++
		}
	}
	switch {
	case !b.done:
		err = unavailable(sink.ErrTimeout)
	case written < n:
		err = b.err
	}
	l.recycle(b)
	return written, err
}

// lead writes the open batch. It releases mu for the time of the write.
func (l *Log) lead() {
	b := l.open
	l.inflight = b
	l.open = l.newBatch()
	until := l.begin()
	l.cond.Broadcast() // there is room
	l.mu.Unlock()

	start := time.Now()
	n, err := l.out.Write(b.buf, until)
	end := time.Now()
	l.metrics.write.Observe(end.Sub(start).Seconds())

	l.mu.Lock()
	l.written = end
	changed := l.commitBatch(b, n, err)
	l.end()
	l.recycle(b)
	if changed {
		l.mu.Unlock() // the logger may block
		l.logFailing(err)
		l.mu.Lock()
	}
}

// begin makes the caller the only one that uses out and partial. It returns when
// its write has to end: at once while the output fails, so that a dead output
// delays nobody.
func (l *Log) begin() (until time.Time) {
	l.busy = true
	l.since = time.Now()
	l.watchdog.Reset(l.timeout + stallSlack)
	if l.failing {
		return time.Time{}
	}
	return l.since.Add(l.timeout)
}

// end undoes begin. It wakes one caller of the open batch to
// lead it.
func (l *Log) end() {
	l.watchdog.Stop()
	l.busy, l.stalled, l.inflight = false, false, nil
	l.cond.Broadcast()
	l.open.cond.Signal()
}

// acquire is begin for callers that write no batch; while one waits, no batch is
// begun.
func (l *Log) acquire() error {
	l.wanted++
	defer func() { l.wanted-- }()
	for l.busy {
		if l.stalled {
			return unavailable(sink.ErrTimeout)
		}
		l.cond.Wait()
	}
	l.begin()
	return nil
}

// commitBatch decides about the lines of b after the output took n bytes of it: a line
// that was begun will be completed, those behind it are taken back. It reports
// whether the output begins or ceases to fail.
func (l *Log) commitBatch(b *batch, n int, err error) (changed bool) {
	changed = l.failing != (err != nil)
	l.failing = err != nil
	whole, start := 0, 0
	for whole < len(b.lines) && b.lines[whole].end <= n {
		start = b.lines[whole].end
		whole++
	}
	b.out = start
	if err != nil {
		l.failedAt = time.Now()
		b.err = unavailable(err)
		stays := whole
		if n > start {
			l.partial = b.lines[whole].entry
			stays++
		}
		l.dropOpen(b.err)
		l.takeBack(b, stays)
	}
	b.done = true
	b.cond.Broadcast()
	return changed
}

// dropOpen fails all lines that no write has taken.
func (l *Log) dropOpen(err error) {
	b := l.open
	if len(b.lines) == 0 {
		return
	}
	l.takeBack(b, 0)
	b.err, b.done = err, true
	b.cond.Broadcast()
	l.open = l.newBatch()
}

// takeBack takes the lines of b from the given one on out of the stream, so
// that the next line follows the one before it. Nothing may stand behind them.
func (l *Log) takeBack(b *batch, from int) {
	for _, m := range b.lines[from:] {
		l.tally.Remove(m.entry)
		l.metrics.lost.Add(float64(m.entry.Weight))
	}
	l.seq, l.prev = b.first+uint64(from)-1, b.prev
	if from > 0 {
		start := 0
		if from > 1 {
			start = b.lines[from-2].end
		}
		l.prev = record.HashLine(b.buf[start:b.lines[from-1].end])
	}
	if b != l.open {
		l.open.first, l.open.prev = l.seq+1, l.prev
	}
}

// countLost counts a line that was never part of the stream.
func (l *Log) countLost(e record.Entry) {
	l.tally.Lose(e)
	l.metrics.lost.Add(float64(e.Weight))
}

// stall runs when a write has lasted too long: the kernel does not return from it.
// All callers that wait get an error, and so do new ones until it returns.
func (l *Log) stall() {
	l.mu.Lock()
	if !l.busy || l.stalled || time.Since(l.since) < l.timeout {
		l.mu.Unlock()
		return
	}
	changed := !l.failing
	l.stalled, l.failing, l.failedAt = true, true, time.Now()
	if l.inflight != nil {
		l.inflight.abandoned = true
		l.inflight.cond.Broadcast()
	}
	l.dropOpen(unavailable(sink.ErrTimeout))
	l.cond.Broadcast()
	l.mu.Unlock()
	if changed {
		l.logFailing(sink.ErrTimeout)
	}
}

// logFailing logs that the output begins or ceases to fail.
func (l *Log) logFailing(err error) {
	if err == nil {
		l.logger.LogAttrs(context.Background(), slog.LevelInfo, "audit output works again", slog.Uint64("lost", l.Lost()))
		return
	}
	l.logger.LogAttrs(context.Background(), slog.LevelError, "audit output fails",
		slog.String("error", err.Error()), slog.String("on_failure", l.onFailure.String()))
}

// newBatch returns an empty batch that continues the stream.
func (l *Log) newBatch() *batch {
	var b *batch
	if n := len(l.free); n > 0 {
		b, l.free = l.free[n-1], l.free[:n-1]
	} else {
		b = &batch{}
		b.cond.L = &l.mu
	}
	b.first, b.prev = l.seq+1, l.prev
	return b
}

// recycle keeps a batch for later once nobody needs it. The open one is not done.
func (l *Log) recycle(b *batch) {
	if b.refs > 0 || !b.done {
		return
	}
	b.buf, b.lines = b.buf[:0], b.lines[:0]
	if cap(b.buf) > keepLimit {
		b.buf, b.lines = nil, nil
	}
	b.out, b.err, b.done, b.abandoned = 0, nil, false, false
	l.free = append(l.free, b)
}
