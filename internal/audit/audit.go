// Package audit writes the records: one JSON object a line for every decision
// of the proxy, and nothing else in that stream.
//
// What it does: it chains every line to the one before it by SHA-256, lets
// concurrent callers share a write(2), and returns once that write has returned.
// When the output fails it leaves no split line, no gap in seq and no break of
// the chain behind: a line of which the output has a part is completed first,
// lines that were not begun are taken back and their callers get an error.
// Packages below it make the line of an Event (record), limit floods (flood) and
// write to files and pipes (sink); it is the only one that uses them.
//
// What it does not do: it decides nothing, it does not call fsync(2), it keeps
// no copy of what it wrote, and it does not rotate files (Reopen follows who
// does).
//
//	log, err := audit.Open("stdout", audit.Options{Version: version})
//	…
//	if err := log.Record(&audit.Event{Kind: audit.Refused, …}); err != nil {
//		// nobody may see an answer that no record shows: 503 audit_unavailable
//	}
//
// # The chain
//
// A record has prev, the lower-case hex SHA-256 of the line before it in the
// same process, without its newline. The first record of a process has the
// SHA-256 of what names it, the field boot. Together with seq it shows a line
// that was changed, removed, repeated or moved, except at the very end of the last
// process, where nothing follows that could show it.
//
// # Floods
//
// A caller that is refused more often than Options.RefusalRecords cannot fill the
// disk: refusals beyond that number wait for each other and share records, which
// say how many they stand for, so that totals still add up; see Record. The
// beginning and the end of a flood each have a record, of the kind Flood.
//
// # SIGPIPE
//
// The log writes with write(2) itself, so a reader of standard output that is
// gone is an EPIPE here and not the end of the process. Whatever else writes
// through os.Stdout or os.Stderr ends the program on a broken pipe unless main
// calls signal.Ignore(syscall.SIGPIPE).
package audit

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit/flood"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit/record"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit/sink"
)

// ErrUnavailable is wrapped by the errors of records that could not be
// written; the cause is wrapped beside it. Of such a record nothing is on the
// output, or a part that is completed when the output takes bytes again: the
// record of a request that was answered audit_unavailable may still appear.
var ErrUnavailable = errors.New("the audit output is unavailable")

// ErrKind is returned for an Event whose Kind is none of the constants.
var ErrKind = errors.New("an audit event has no valid kind")

var (
	errClosed = errors.New("the log is closed")
	errFull   = errors.New("too many records wait for the output")
)

// Failure says what Record answers when the output fails.
type Failure uint8

const (
	// Refuse makes Record return an error that wraps ErrUnavailable, and
	// Healthy return false. It is the zero value; unknown values are Refuse.
	Refuse Failure = iota
	// Count makes Record return nil. The loss is counted, and the next heartbeat
	// has the count.
	Count
)

// String returns the word of the configuration file.
func (f Failure) String() string {
	if f == Count {
		return "count"
	}
	return "refuse"
}

// defaultTimeout is how long a write may block when Options does not say.
const defaultTimeout = 5 * time.Second

// Options says how a Log behaves. The zero Options refuses when the output
// fails.
type Options struct {
	OnFailure  Failure               // zero: Refuse
	Version    string                // the program's version, copied into every record
	Registerer prometheus.Registerer // nil: metrics are kept but not registered
	Now        func() time.Time      // the clock of records; nil: time.Now
	Logger     *slog.Logger          // logs when the output fails and recovers; nil: discard
	Timeout    time.Duration         // how long one write may block; zero or less: 5 s
	Process    string                // names this process in records, as boot; "": 16 random hex digits
	// RefusalRecords is how many refusals and challenges of one function, or of
	// one source that is not a function's, get a record of their own in a minute.
	// Those beyond it share records; see Record. Zero or less: no limit.
	RefusalRecords int
}

// Log is an open stream of records, safe for concurrent use. Make one with
// Open or New.
type Log struct {
	onFailure Failure
	timeout   time.Duration
	now       func() time.Time
	logger    *slog.Logger
	metrics   *metrics
	process   string
	lastID    atomic.Uint64
	limiter   *flood.Limiter

	mu       sync.Mutex
	cond     sync.Cond // someone waits for room in open, or for busy to end
	enc      record.Encoder
	seq      uint64            // of the last line of open, or of what went before it
	prev     [sha256.Size]byte // hash of that line
	tally    *record.Tally     // of the lines up to there
	policy   string            // of the last record
	open     *batch            // lines that no write has taken yet
	inflight *batch            // lines of the write under way; nil: none
	free     []*batch          // batches to use again
	since    time.Time         // when busy began
	watchdog *time.Timer       // calls stall when busy lasts too long
	post     *time.Timer       // calls flushPosted
	posted   bool              // post is set
	wanted   int               // how many wait in acquire; nobody else leads meanwhile
	busy     bool              // someone uses out and partial without holding mu
	stalled  bool              // busy lasts longer than a write may block
	failing  bool              // the last write failed
	failedAt time.Time         // when a write failed last; zero: none has
	written  time.Time         // when a write ended last
	ended    bool              // the last record is in open, or went out
	closed   bool

	out     *sink.Output // of whoever set busy
	partial record.Entry // of whoever set busy: of the line that out completes, if there is one
}

// New returns a Log over w. A Write that blocks is not interrupted: callers
// that wait behind it are released after Options.Timeout, the one that called
// it is not. Close does not close w.
func New(w io.Writer, o Options) *Log { return newLog(sink.New(sink.Plain(w)), o) }

// Open returns a Log over standard output ("stdout") or over a file, which is
// created with mode 0640 and appended to. A file that ends in the middle of a
// line, left by a process that was killed, gets a newline before the first
// record. A FIFO that nobody reads is an error.
func Open(output string, o Options) (*Log, error) {
	var out *sink.Output
	var err error
	if output == "stdout" {
		out, err = sink.Stdout()
	} else {
		out, err = sink.Open(output)
	}
	if err != nil {
		return nil, err
	}
	return newLog(out, o), nil
}

// newLog returns a Log that writes to out.
func newLog(out *sink.Output, o Options) *Log {
	l := &Log{
		onFailure: o.OnFailure,
		timeout:   o.Timeout,
		now:       o.Now,
		logger:    o.Logger,
		metrics:   newMetrics(o.Registerer),
		process:   o.Process,
		tally:     record.NewTally(),
		out:       out,
	}
	if l.timeout <= 0 {
		l.timeout = defaultTimeout
	}
	if l.now == nil {
		l.now = time.Now
	}
	if l.logger == nil {
		l.logger = slog.New(slog.DiscardHandler)
	}
	if l.process == "" {
		var b [8]byte
		rand.Read(b[:]) // never fails, see crypto/rand
		l.process = hex.EncodeToString(b[:])
	}
	l.cond.L = &l.mu
	l.measure(o.Registerer)
	l.enc = record.NewEncoder(l.process, o.Version)
	l.prev = sha256.Sum256([]byte(l.process))
	l.open = l.newBatch()
	l.watchdog = time.AfterFunc(l.timeout, l.stall)
	l.watchdog.Stop()
	l.post = time.AfterFunc(postDelay, l.flushPosted)
	l.post.Stop()
	l.limiter = flood.NewLimiter(o.RefusalRecords, l.Post, func(e *Event) error {
		_, err := l.record(givesWay, e)
		return err
	})
	return l
}

// Process returns what names this process in every record, as boot.
func (l *Log) Process() string { return l.process }

// NextID returns an ID that no other request of this process has.
func (l *Log) NextID() ID { return ID(l.lastID.Add(1)) }

// FormatID returns the ID as records carry it, "<process>-<hex>"; "" for 0.
func (l *Log) FormatID(id ID) string {
	if id == 0 {
		return ""
	}
	return string(id.AppendTo([]byte(l.process)))
}

// Healthy reports whether records can be written as far as is known: false
// since a write failed or stalled until one succeeds. Under Count it is always
// true.
func (l *Log) Healthy() bool {
	if l.onFailure == Count {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.failing
}

// readyAfter is how long no write may have failed before Ready says so: an output that
// takes a little now and then works for moments, and those who check the health of a
// task would see one of them.
const readyAfter = 15 * time.Second

// Ready is Healthy for who sends clients here: true again only when no write has failed
// for a while.
func (l *Log) Ready() bool {
	if l.onFailure == Count {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.failing && (l.failedAt.IsZero() || time.Since(l.failedAt) >= readyAfter)
}

// Record writes one record and returns once write(2) has returned for it. The
// error is ErrKind, or wraps ErrUnavailable, which Options.OnFailure can turn into
// a count. It returns within about twice Options.Timeout, unless its own write
// hangs in the kernel. While the output fails it does not wait for it at all. It
// does not retain e. Behind a Stopped there is no other record: what was left behind at
// the end gets an error.
//
// A refusal beyond Options.RefusalRecords waits first, for a second and a
// challenge for a tenth of one, and shares a record with those that are like it
// in function (or source), kind, reason, protocol and policy: the record of the
// first one, with the number of the others as Suppressed. Record then sets e.ID
// to the ID of that record, which is what the client has to be told, and
// returns what became of it.
func (l *Log) Record(e *Event) error {
	if e != nil && e.Kind == Stopped {
		l.limiter.Finish()
	}
	shared, err := l.limiter.Aggregate(e)
	if !shared {
		_, err = l.record(givesWay, e)
	}
	return l.maskIfCounting(err)
}

// Flush ends the wait of the refusals that share records now.
func (l *Log) Flush() { l.limiter.Flush() }

// RecordAll writes the records of events, in their order and with no other record
// between them, by one write(2) and with one time; otherwise it is Record for each
// of them. It returns how many records, counted from the first event, are known to
// be on the output: on an error the rest are not, and what depends on them must not
// happen. If one event has no valid Kind, nothing is written and the error is
// ErrKind. It is for some tens of events; without events it does nothing. It does
// not retain them.
//
// It waits for nobody and each event has a record of its own: which refusals may have
// one is for Postpone to say.
func (l *Log) RecordAll(events []*Event) (written int, err error) {
	written, err = l.record(goesOn, events...)
	if err = l.maskIfCounting(err); err == nil {
		written = len(events)
	}
	return written, err
}

// RecordOne is RecordAll of one event, for a caller with a goroutine of its own: soon behind
// another write it lets those record first who are about to run, and shares a write with them.
// A loop that serves many has a batch of its own, and must go on.
func (l *Log) RecordOne(e *Event) error {
	_, err := l.record(givesWay, e)
	return l.maskIfCounting(err)
}

// maskIfCounting returns nil for the errors that Options.OnFailure turns into a
// count.
func (l *Log) maskIfCounting(err error) error {
	if l.onFailure == Count && errors.Is(err, ErrUnavailable) {
		return nil
	}
	return err
}

// Post gives one record to the log without waiting for it: it goes out with
// the next Record, or within postDelay. It is for what has already happened and no
// caller depends on, such as the end of a tunnel; a record that fails is counted as
// lost. Order, seq and chain are those of Record. It does not retain e.
func (l *Log) Post(e *Event) {
	if e == nil || !e.Kind.Valid() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.ended || l.stalled || len(l.open.buf) >= pendingLimit {
		l.countLost(record.EntryOf(e))
		return
	}
	l.append(l.open, e, l.now())
	l.open.refs-- // nobody reads the result
	if !l.posted {
		l.posted = true
		l.post.Reset(postDelay)
	}
}

// flushPosted writes the posted records that no Record has written.
func (l *Log) flushPosted() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.posted = false
	switch {
	case len(l.open.lines) == 0 || l.closed:
	case l.busy || l.wanted > 0:
		l.posted = true
		l.post.Reset(postDelay)
	default:
		l.lead()
	}
}

// Heartbeat writes a heartbeat record: the totals of the request records that
// stand before it in this process, and how many records were lost.
func (l *Log) Heartbeat(policyHash string) error {
	return l.Record(&Event{Kind: Heartbeat, Policy: policyHash})
}

// Probe looks after the output; call it each second or so. Where the path no
// longer names the open file it reopens it. Where the last write failed it
// tries a heartbeat, so that recovery is noticed and the loss recorded without
// a request. It returns what still fails, also under Count.
func (l *Log) Probe() error {
	if l.moved() {
		if err := l.Reopen(); err != nil {
			return err
		}
	}
	l.mu.Lock()
	failing, policyHash := l.failing, l.policy
	l.mu.Unlock()
	if !failing {
		return nil
	}
	_, err := l.record(goesOn, &Event{Kind: Heartbeat, Policy: policyHash})
	return err
}
