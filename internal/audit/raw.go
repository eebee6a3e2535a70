package audit

import (
	"bytes"
	"errors"
	"slices"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit/record"
)

// ErrLine is returned for what is not one line.
var ErrLine = errors.New("a raw line is empty or has a newline in it")

// WriteRaw writes a line that is not a record between the records, verbatim, and
// returns once write(2) has returned for it or has failed. The chain, seq and
// the totals continue as if it were not there: a reader skips the lines that name
// no process. A line of which the output took a part is completed before anything
// else is written, so that it splits no record and no record splits it; the call
// then returns an error, and a caller who tries again writes it twice. The newline is added. It does not retain line.
func (l *Log) WriteRaw(line []byte) error {
	if len(line) == 0 || bytes.IndexByte(line, '\n') >= 0 {
		return ErrLine
	}
	whole := append(slices.Clone(line), '\n')
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
	until := l.writeDeadline()
	l.mu.Unlock()
	err := l.writeRaw(whole, until)
	l.mu.Lock()
	if err != nil {
		return unavailable(err)
	}
	return nil
}

// writeDeadline returns when a write that begins now has to end: at once while the
// output fails.
func (l *Log) writeDeadline() time.Time {
	if l.failing {
		return time.Time{}
	}
	return time.Now().Add(l.timeout)
}

// writeRaw is for whoever has acquired the output, without mu.
func (l *Log) writeRaw(whole []byte, until time.Time) error {
	n, err := l.out.Write(whole, until)
	if n > 0 {
		l.partial = record.Entry{} // no event is lost with the line, if it is partial
	}
	return err
}
