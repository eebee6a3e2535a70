// Package envelope takes the lines of a log out of what they were packed in on
// their way: compression, exports and subscriptions of CloudWatch Logs, and the
// objects of log routers.
//
// What it does: Read gives the lines of files one by one, as they were written.
// It keeps one line at a time, however long the file is.
//
// What it does not do: it checks no record. It knows of one only that it is not an
// envelope.
//
//	err := envelope.Read(files, os.Stdin, func(l envelope.Line) error {
//		_, err := os.Stdout.Write(append(l.Raw, '\n'))
//		return err
//	})
package envelope

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
)

const (
	// maxLine is how many bytes a line may have. The proxy's own are below
	// 16 KiB; envelopes escape them.
	maxLine = 1 << 20
	// window is how much is looked at to recognize an envelope.
	window = 256
	// headLong is how much is kept of a line that is too long.
	headLong = 256
	// maxLayers is how often a file may be compressed.
	maxLayers = 2
)

// tooLong follows the first bytes of a line that is too long, so that they are not
// JSON.
const tooLong = "… (a line of more than 1 MiB)"

// Line is one line of a stream of records.
type Line struct {
	File string // as it was given to Read; "-" is standard input
	// Number counts the lines of the file from 1, or the log events where the
	// file is a document of events.
	Number int
	// Raw is the record's own bytes as the proxy wrote them: the envelope is
	// taken off, and there is no newline. It is valid until each returns.
	Raw []byte

	// Shuffled is set where the envelope promises no order of lines.
	Shuffled bool
}

// Read gives every line of the files to each, in order, but for empty ones. "-"
// is stdin. It stops at the first error, of a file or of each.
//
// gzip is recognised by its first bytes, also several members in a row and gzip
// within gzip. Of what is inside, line by line, these are taken off:
//
//   - the time before a line, which an export of CloudWatch Logs to S3 puts
//     there, or time and stream, as aws logs tail prints them
//   - the object of a CloudWatch Logs subscription, with messageType and
//     logEvents, also many of them in a row as Firehose stores them; control
//     messages are skipped
//   - the output of aws logs filter-log-events or get-log-events, with events
//   - the object that FireLens, Fluent Bit or Docker puts a line into, with log,
//     also within one of the above
//
// What is in none of these is given as it is. A log router that parses the line
// and writes its members anew leaves no bytes that a hash would fit.
//
// A line of more than 1 MiB is given as its first bytes with a remark after them,
// which is not JSON.
func Read(files []string, stdin io.Reader, each func(Line) error) error {
	for _, name := range files {
		if err := readFile(name, stdin, each); err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
	}
	return nil
}

// readFile reads one file or stdin.
func readFile(name string, stdin io.Reader, each func(Line) error) error {
	in := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			var path *os.PathError
			if errors.As(err, &path) {
				return path.Err
			}
			return err
		}
		defer f.Close()
		in = f
	}
	plain, err := decompressed(in)
	if err != nil {
		return err
	}
	r := reader{in: plain, file: name, each: each}
	return r.all()
}

// decompressed returns a reader of what in holds, below its compression.
func decompressed(in io.Reader) (*bufio.Reader, error) {
	b := bufio.NewReaderSize(in, 64<<10)
	for range maxLayers {
		if magic, _ := b.Peek(2); string(magic) != "\x1f\x8b" {
			break
		}
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, err
		}
		b = bufio.NewReaderSize(z, 64<<10)
	}
	return b, nil
}

// reader gives the lines of one file.
type reader struct {
	in     *bufio.Reader
	file   string
	each   func(Line) error
	number int
	long   []byte // of a line longer than the buffer of in
	inner  []byte // the line that an envelope held
	// of a document:
	message []byte
	control bool // it is not data
}

// all reads to the end.
func (r *reader) all() error {
	for {
		start, err := r.in.Peek(window)
		if len(start) == 0 {
			if err == io.EOF {
				return nil
			}
			return err
		}
		if isDocument(start) {
			if err := r.document(); err != nil {
				return err
			}
			continue
		}
		if err := r.line(); err != nil {
			return err
		}
	}
}

// line reads one line.
func (r *reader) line() error {
	raw, long, err := r.next()
	if err != nil && err != io.EOF {
		return err
	}
	r.number++
	if long {
		return r.each(Line{File: r.file, Number: r.number, Raw: raw})
	}
	raw, shuffled := cutTime(raw)
	return r.give(raw, shuffled)
}

// give gives a line that is out of its outer envelope.
func (r *reader) give(raw []byte, shuffled bool) error {
	if inner, ok := cutLog(r.inner[:0], raw); ok {
		r.inner = inner
		raw = bytes.TrimSuffix(inner, []byte("\n"))
	}
	if len(raw) == 0 {
		return nil
	}
	return r.each(Line{File: r.file, Number: r.number, Raw: raw, Shuffled: shuffled})
}

// next returns the next line without its newline, or the beginning of one that
// is too long.
func (r *reader) next() (raw []byte, long bool, err error) {
	raw, err = r.in.ReadSlice('\n')
	if err != bufio.ErrBufferFull {
		return bytes.TrimSuffix(raw, []byte("\n")), false, err
	}
	r.long = append(r.long[:0], raw...)
	for err == bufio.ErrBufferFull {
		raw, err = r.in.ReadSlice('\n')
		if len(r.long)+len(raw) <= maxLine+1 {
			r.long = append(r.long, raw...)
			continue
		}
		long = true
	}
	if long || len(r.long) > maxLine+1 {
		return beginning(r.long), true, err
	}
	return bytes.TrimSuffix(r.long, []byte("\n")), false, err
}

// beginning returns the first bytes of a line that is too long, and the remark.
func beginning(line []byte) []byte {
	return append(line[:min(headLong, len(line))], tooLong...)
}
