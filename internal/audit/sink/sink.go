// Package sink takes the lines of a log to where they are kept: standard
// output, a file, a pipe, or any io.Writer.
//
// What it does: it writes whole lines within a time, never splits one by
// another, completes a line of which the output has only a part before anything
// else is written, and continues in a new file after the old one was moved away,
// without a line that is split over both.
//
// What it does not do: it knows nothing of what is in a line, it buffers nothing
// beside the rest of one line, it does not call fsync(2), and it starts no
// goroutine. An Output is used by one goroutine at a time, but for Moved.
//
//	out, err := sink.Open("/var/log/records")
//	…
//	n, err := out.Write(lines, time.Now().Add(5*time.Second))
//	// err != nil: the output has the first n bytes. The line that byte n is
//	// within is completed by the next Write; those behind it are not kept.
package sink

import (
	"bytes"
	"errors"
	"io"
	"time"
)

// ErrTimeout is returned when the output takes no bytes until the time given.
var ErrTimeout = errors.New("the output took no bytes in time")

// Writer is what an Output writes to. Write returns how many bytes were taken,
// fewer than all only with an error, and does not wait beyond until; the zero
// time is not to wait at all.
type Writer interface {
	Write(p []byte, until time.Time) (int, error)
	Close() error
}

var (
	_ Writer = plain{}
	_ Writer = (*file)(nil)
)

// plain is the Writer over an io.Writer, which cannot be told how long to wait.
type plain struct{ w io.Writer }

// Plain returns a Writer over w. A Write of w that blocks is not interrupted,
// and Close does not close it.
func Plain(w io.Writer) Writer { return plain{w} }

// Write writes p, whatever until says.
func (p plain) Write(b []byte, _ time.Time) (int, error) {
	n, err := p.w.Write(b)
	n = min(max(n, 0), len(b))
	if n < len(b) && err == nil {
		err = io.ErrShortWrite
	}
	return n, err
}

// Close does nothing.
func (plain) Close() error { return nil }

// Output is where lines go. Make one with New, Stdout or Open.
type Output struct {
	w    Writer
	path string // "": it cannot be reopened
	rest []byte // what is missing of the line that the output has a part of; empty: none
	line []byte // that line, whole; nil: it is not one that Write was given
}

// New returns an Output over w, which cannot be reopened.
func New(w Writer) *Output { return &Output{w: w} }

// Stdout returns the Output over descriptor 1, which Close leaves open and Reopen
// as it is.
func Stdout() (*Output, error) {
	f, err := standardOutput()
	if err != nil {
		return nil, err
	}
	return New(f), nil
}

// Open returns the Output over a file, which is created with mode 0640 and
// appended to. A file that ends in the middle of a line gets a newline before
// the first one. A FIFO that nobody reads is an error.
func Open(path string) (*Output, error) {
	f, midLine, err := openFile(path)
	if err != nil {
		return nil, err
	}
	o := &Output{w: f, path: path}
	if midLine {
		o.rest = []byte{'\n'}
	}
	return o, nil
}

// Write completes the line that the output has a part of, if there is one, then
// writes lines, each with its newline. It returns how many bytes of lines the
// output took, fewer than all only with an error. It does not retain lines.
func (o *Output) Write(lines []byte, until time.Time) (n int, err error) {
	if err := o.CompletePartial(until); err != nil {
		return 0, err
	}
	n, err = o.w.Write(lines, until)
	if n < len(lines) {
		o.keepPartial(lines, n)
	}
	return n, err
}

// keepPartial keeps the line that byte n of lines is within, where the output has
// a part of it.
func (o *Output) keepPartial(lines []byte, n int) {
	start := bytes.LastIndexByte(lines[:n], '\n') + 1
	if start == n {
		return
	}
	end := len(lines)
	if i := bytes.IndexByte(lines[n:], '\n'); i >= 0 {
		end = n + i + 1
	}
	o.line = bytes.Clone(lines[start:end])
	o.rest = o.line[n-start:]
}

// CompletePartial writes what is missing of the line that the output has a part
// of. Where there is none it does nothing.
func (o *Output) CompletePartial(until time.Time) error {
	if len(o.rest) == 0 {
		return nil
	}
	n, err := o.w.Write(o.rest, until)
	o.rest = o.rest[n:]
	if len(o.rest) > 0 {
		return err
	}
	o.rest, o.line = nil, nil
	return nil
}

// HasPartial reports whether the output has a part of a line that Write was
// given.
func (o *Output) HasPartial() bool { return o.line != nil }

// begun returns how many bytes of that line the output has.
func (o *Output) begun() int { return max(0, len(o.line)-len(o.rest)) }

// Reopenable reports whether Reopen opens anything.
func (o *Output) Reopenable() bool { return o.path != "" }

// Reopen opens the path anew and returns the Output that goes on there; the
// caller closes the old one. A line of which the old file has a part is completed
// there until the time given, or where that fails cut off there and written to
// the new file. On an error the old Output stays in use.
func (o *Output) Reopen(until time.Time) (*Output, error) {
	// Its error comes again with the next write, or the cause stays behind
	// with the old file.
	_ = o.CompletePartial(until)
	f, midLine, err := openFile(o.path)
	if err != nil {
		return nil, err
	}
	next := &Output{w: f, path: o.path, rest: o.rest, line: o.line}
	old, _ := o.w.(*file)
	if old != nil && old.same(f) {
		return next, nil
	}
	if old != nil {
		old.truncateTail(o.begun())
	}
	next.rest = nil
	if midLine {
		next.rest = []byte{'\n'}
	}
	next.rest = append(next.rest, o.line...)
	return next, nil
}

// Moved reports whether the path names another file than the one that is open,
// or none. Unlike the rest it may run beside other calls.
func (o *Output) Moved() bool {
	f, ok := o.w.(*file)
	return ok && o.path != "" && !f.at(o.path)
}

// Close closes the file; standard output stays open. It completes nothing.
func (o *Output) Close() error { return o.w.Close() }
