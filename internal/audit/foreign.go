package audit

import (
	"bytes"
	"errors"
	"slices"
	"time"
)

// ErrLine is returned for what is not one line.
var ErrLine = errors.New("a foreign line is empty or has a newline in it")

// Foreign writes a line that is not a record between the records, verbatim, and
// returns once write(2) has returned for it or has failed. The chain, seq and
// the totals go on as if it were not there: who verifies a stream skips the
// lines that have no boot. A line of which the output took a part is completed
// before anything else is written, so that no record is ever split by it, nor
// it by a record; it then counts as not written, and a caller who tries again
// writes it twice. The newline is added. It does not retain line.
func (l *Log) Foreign(line []byte) error {
	if len(line) == 0 || bytes.IndexByte(line, '\n') >= 0 {
		return ErrLine
	}
	whole := append(slices.Clone(line), '\n') // torn may keep it
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return unavailable(errClosed)
	}
	if err := l.acquire(); err != nil {
		return err
	}
	defer l.end()
	if l.closed { // Close came first while this waited
		return unavailable(errClosed)
	}
	until := l.patience()
	l.mu.Unlock()
	err := l.writeForeign(whole, until)
	l.mu.Lock()
	if err != nil {
		return unavailable(err)
	}
	return nil
}

// patience returns when a write that begins now has to end: at once while the
// output fails.
func (l *Log) patience() time.Time {
	if l.failing {
		return time.Time{}
	}
	return time.Now().Add(l.timeout)
}

// writeForeign is for whoever has acquired the output, without mu.
func (l *Log) writeForeign(whole []byte, until time.Time) error {
	if err := l.mend(until); err != nil {
		return err
	}
	n, err := l.out.write(whole, until)
	if n > 0 && n < len(whole) {
		// The zero mark: no event is lost with the line.
		l.torn = torn{rest: whole[n:], line: whole}
	}
	return err
}
