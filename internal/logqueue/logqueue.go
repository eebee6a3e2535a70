// Package logqueue keeps whoever writes a log line from waiting for whoever reads it.
//
// What it does: Write keeps the line and returns; one goroutine writes it out. What is
// kept is bounded in lines and in bytes. A line for which there is no room is dropped
// and counted, and when there is room again one line says how many were lost.
//
// What it does not do: it is not for records, which are written before what they are
// about happens. It formats nothing but that one line, and splits and merges no lines.
//
//	q := logqueue.New(os.Stderr, logqueue.Options{Registerer: reg})
//	log := slog.New(slog.NewJSONHandler(q, nil))
//	…
//	q.Close(time.Second)
package logqueue

import (
	"bytes"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/bounds"
)

// What is kept where Options does not say.
const (
	defaultLines = 4096
	defaultBytes = 1 << 20
)

// Options says how much is kept. The zero Options is for production.
type Options struct {
	Lines      int                   // kept at most; zero or less: 4096
	Bytes      int                   // the same; zero or less: 1 MiB
	Registerer prometheus.Registerer // nil: what is dropped is counted for nobody
}

// Queue is an io.Writer whose Write never waits, safe for concurrent use. Make one
// with New.
type Queue struct {
	to       io.Writer
	maxLines int
	maxBytes int
	dropped  prometheus.Counter

	mu     sync.Mutex
	cond   sync.Cond // there is a line to write, or the queue is closed
	lines  [][]byte  // oldest first; the one that is being written stays until it is out
	bytes  int       // of lines
	lost   int       // dropped, and not yet told
	closed bool
	done   chan struct{} // closed when the goroutine has ended
}

// New returns a Queue over to, of which each Write gets one line.
func New(to io.Writer, o Options) *Queue {
	q := &Queue{
		to: to, maxLines: o.Lines, maxBytes: o.Bytes, done: make(chan struct{}),
		dropped: promauto.With(o.Registerer).NewCounter(prometheus.CounterOpts{
			Name: "egress_log_lines_dropped_total",
			Help: "Lines of the operational log that were dropped because standard error did not take them.",
		}),
	}
	if q.maxLines <= 0 {
		q.maxLines = defaultLines
	}
	if q.maxBytes <= 0 {
		q.maxBytes = defaultBytes
	}
	q.cond.L = &q.mu
	bounds.Measure(o.Registerer, "log_lines", q.maxLines, 0, q.len)
	go q.run()
	return q
}

// Write implements io.Writer for one line. It keeps a copy, or drops it, and never
// fails: a caller can do nothing about either.
func (q *Queue) Write(line []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || len(q.lines) >= q.maxLines || q.bytes+len(line) > q.maxBytes {
		q.countLost()
		return len(line), nil
	}
	q.push(bytes.Clone(line))
	return len(line), nil
}

// len returns how many lines are kept.
func (q *Queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.lines)
}

// countLost counts a line that is not written. The caller holds mu.
func (q *Queue) countLost() {
	q.lost++
	q.dropped.Inc()
}

// push puts a line at the end. The caller holds mu.
func (q *Queue) push(line []byte) {
	q.lines = append(q.lines, line)
	q.bytes += len(line)
	q.cond.Signal()
}

// Close takes no more lines, and waits that long for those that are kept. It reports
// whether all of them are out. Where not, the goroutine waits on for its last write,
// which nothing can interrupt.
func (q *Queue) Close(within time.Duration) bool {
	q.mu.Lock()
	q.closed = true
	q.cond.Signal()
	q.mu.Unlock()
	over := time.NewTimer(within)
	defer over.Stop()
	select {
	case <-q.done:
		return true
	case <-over.C:
		return false
	}
}

// run writes the lines until the queue is closed and empty.
func (q *Queue) run() {
	defer close(q.done)
	for {
		line, ok := q.next()
		if !ok {
			return
		}
		_, err := q.to.Write(line)
		q.wrote(err)
	}
}

// next waits for the oldest line, which stays in the queue.
func (q *Queue) next() (line []byte, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.lines) == 0 {
		if q.closed {
			return nil, false
		}
		q.cond.Wait()
	}
	return q.lines[0], true
}

// wrote takes the oldest line out of the queue. One that the output refused is lost
// as well. What was lost is told once the output takes lines and half of the room is
// free: told earlier, every second line would be about the others.
func (q *Queue) wrote(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.bytes -= len(q.lines[0])
	q.lines[0] = nil
	if q.lines = q.lines[1:]; len(q.lines) == 0 {
		q.lines = nil // a burst leaves nothing behind
	}
	switch {
	case err != nil:
		q.countLost()
	case q.lost > 0 && len(q.lines) <= q.maxLines/2 && q.bytes <= q.maxBytes/2:
		q.push(lostLine(q.lost))
		q.lost = 0
	}
}

// lostLine is the line that says how many were lost, in the format of the others.
func lostLine(n int) []byte {
	var line bytes.Buffer
	slog.New(slog.NewJSONHandler(&line, nil)).Warn("lines of this log were lost: standard error did not take them", "lines", n)
	return line.Bytes()
}
