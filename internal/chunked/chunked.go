// Package chunked reads chunked content piece by piece and writes it anew (RFC 9112,
// section 7.1).
//
// What it does: it checks every byte of the framing, strictly, and gives back the same
// content in chunks of the same sizes, without their extensions, or without any chunk.
// Nothing is held back but lines that have not ended, and the end of the whole: that
// comes when nothing is missing, so that what breaks off never looks whole. Extensions
// and trailer fields are bounded.
//
// What it does not do: it reads no connection, and decodes no content.
//
//	var r chunked.Reader
//	for !r.Done() {
//		n := read(buf)
//		out, used, err = r.Next(out[:0], buf[:n])
package chunked

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/httphead"
)

// Err is content that is not chunked as RFC 9112 has it, or has too much beside the
// content.
var Err = errors.New("malformed chunks")

const (
	maxLine     = 4 << 10  // of one line
	maxTrailers = 4 << 10  // of the trailer section
	maxExcess   = 16 << 10 // of what is no content, beyond what honest chunks have
	allowance   = 16       // what a chunk may have of that, beside twice its content
	maxDigits   = 15       // of a size, without leading zeros
)

// Reader reads one chunked message. The zero Reader is at its beginning; it gives chunks
// back and drops trailer fields.
type Reader struct {
	// Bare gives the content back without chunks.
	Bare bool
	// Trailer reports whether a trailer field is passed on; nil: none is.
	Trailer func(f httphead.Field) bool

	state    state
	left     int64  // of the chunk
	moved    int64  // content given back
	excess   int    // beside the content
	line     []byte // what has come of a line that has not ended
	trailers []byte // those that are passed on
	took     int    // bytes of the trailer section
}

// state is what comes next.
type state uint8

const (
	atSize state = iota
	atData
	atDataEnd
	atTrailer
	atEnd
)

// Done reports whether all of it has been given back.
func (r *Reader) Done() bool { return r.state == atEnd }

// Moved returns how many bytes of content have been given back.
func (r *Reader) Moved() int64 { return r.moved }

// Next reads b, or what of it belongs to the message, appends to dst what is to be
// written, and returns how many bytes it has read.
func (r *Reader) Next(dst, b []byte) (out []byte, n int, err error) {
	for n < len(b) && r.state != atEnd {
		if r.state == atData {
			m := int(min(r.left, int64(len(b)-n)))
			dst = append(dst, b[n:n+m]...)
			n += m
			r.moved += int64(m)
			if r.left -= int64(m); r.left == 0 {
				r.state = atDataEnd
			}
			continue
		}
		line, used, err := r.readLine(b[n:])
		n += used
		if err != nil {
			return dst, n, err
		}
		if line == nil {
			break
		}
		if dst, err = r.nextLine(dst, string(line[:len(line)-2])); err != nil {
			return dst, n, err
		}
		r.line = r.line[:0]
	}
	return dst, n, nil
}

// readLine returns a whole line with its CRLF; nil: it has not ended.
func (r *Reader) readLine(b []byte) (line []byte, used int, err error) {
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		if r.line = append(r.line, b...); len(r.line) > maxLine || r.state == atDataEnd && string(r.line) != "\r" {
			return nil, len(b), Err
		}
		return nil, len(b), nil
	}
	line = b[:end+1]
	if len(r.line) > 0 {
		r.line = append(r.line, line...)
		line = r.line
	}
	if len(line) > maxLine || !bytes.HasSuffix(line, []byte("\r\n")) {
		return nil, end + 1, Err
	}
	return line, end + 1, nil
}

// nextLine goes on behind a line.
func (r *Reader) nextLine(dst []byte, line string) ([]byte, error) {
	switch r.state {
	case atDataEnd:
		if line != "" {
			return dst, Err
		}
		r.state = atSize
		return r.appendFraming(dst, "\r\n"), nil
	case atTrailer:
		return r.nextTrailer(dst, line)
	default:
		return r.nextSize(dst, line)
	}
}

// nextSize begins a chunk. What stands behind its size carries nothing, and is bounded
// as net/http does: by what chunks of that content have at most.
func (r *Reader) nextSize(dst []byte, line string) ([]byte, error) {
	size, err := parseSize(line)
	if err != nil {
		return dst, err
	}
	r.excess = max(r.excess+len(line)+4-allowance-2*int(min(size, maxExcess)), 0)
	if r.excess > maxExcess {
		return dst, Err
	}
	if size == 0 {
		r.state = atTrailer
		return dst, nil
	}
	r.state, r.left = atData, size
	if !r.Bare {
		dst = strconv.AppendInt(dst, size, 16)
	}
	return r.appendFraming(dst, "\r\n"), nil
}

// parseSize parses a chunk's size; behind it an extension may stand.
func parseSize(line string) (int64, error) {
	digits, extension, _ := strings.Cut(line, ";")
	digits = strings.TrimRight(digits, " \t")
	if digits == "" || strings.Trim(digits, "0123456789abcdefABCDEF") != "" || !httphead.IsValue(extension) {
		return 0, Err
	}
	if digits = strings.TrimLeft(digits, "0"); len(digits) > maxDigits {
		return 0, Err
	}
	size, _ := strconv.ParseInt("0"+digits, 16, 64)
	return size, nil
}

// nextTrailer takes a trailer field, or the end of all.
func (r *Reader) nextTrailer(dst []byte, line string) ([]byte, error) {
	if line == "" {
		r.state = atEnd
		if !r.Bare {
			dst = append(append(dst, "0\r\n"...), r.trailers...)
		}
		return r.appendFraming(dst, "\r\n"), nil
	}
	if r.took += len(line) + 2; r.took > maxTrailers || httphead.CheckField(line) != nil {
		return dst, Err
	}
	if f, _, _ := httphead.NextField(line); r.Trailer != nil && r.Trailer(f) {
		r.trailers = append(append(r.trailers, line...), "\r\n"...)
	}
	return dst, nil
}

// appendFraming appends a part of the framing.
func (r *Reader) appendFraming(dst []byte, s string) []byte {
	if r.Bare {
		return dst
	}
	return append(dst, s...)
}
