package proxy

import (
	"bytes"
	"net"
	"sync/atomic"
	"time"
)

// originConn is a connection to an origin as net/http's transport has it. It ends
// where the origin neither takes nor gives for the idle time: while a body goes up
// nothing need come down, so a write gives the reads more time. And it bounds the
// fields of an answer's head while they come: net/http bounds their bytes alone,
// and holds many times as much of a head that is made of small pieces.
type originConn struct {
	net.Conn
	idle time.Duration
	own  *ownOrigins // whose it is; nil: its function's

	expecting atomic.Bool // a request is about to be sent; the next byte begins its answer
	head      answerHead  // the reader's
	err       error       // the reader's: what it has read last is the end
}

// Read reads within the idle time, and no further than a head may go.
func (c *originConn) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	_ = c.SetReadDeadline(time.Now().Add(c.idle))
	n, err := c.Conn.Read(p)
	if n > 0 && c.expecting.CompareAndSwap(true, false) {
		c.head = answerHead{within: true, status: true}
	}
	kept, many := c.head.take(p[:n])
	if many {
		c.err = errManyFields
		return kept, nil
	}
	return n, err
}

// Write writes within the idle time.
func (c *originConn) Write(p []byte) (int, error) {
	_ = c.SetDeadline(time.Now().Add(c.idle))
	return c.Conn.Write(p)
}

// Close implements net.Conn.
func (c *originConn) Close() error {
	if c.own != nil {
		c.own.remove(c)
	}
	return c.Conn.Close()
}

// answerHead counts the fields of an answer's head while it comes, those of the
// interim answers before it included (RFC 9110, section 15.2). The zero answerHead
// is outside of a head and counts nothing.
type answerHead struct {
	within  bool     // the head has not ended yet
	fields  int      // lines of it, but for status lines
	status  bool     // the line that has begun is a status line
	interim bool     // the last status was 1xx: another head follows this one
	line    [10]byte // the beginning of the line that has begun
	size    int      // its length so far
}

// take counts what has come. Where there are too many fields, kept is how much of it
// may be read: not the end of the head.
func (h *answerHead) take(p []byte) (kept int, many bool) {
	for at := 0; h.within && at < len(p); {
		line, _, whole := bytes.Cut(p[at:], []byte{'\n'})
		if h.size < len(h.line) {
			copy(h.line[h.size:], line)
		}
		h.size += len(line)
		if !whole {
			break
		}
		at += len(line) + 1
		if h.endLine(); h.fields > maxFields {
			return at, true
		}
	}
	return len(p), false
}

// endLine is take at the end of a line.
func (h *answerHead) endLine() {
	switch {
	case h.status:
		const before = len("HTTP/1.1 ")
		h.status, h.interim = false, h.size > before && h.line[before] == '1'
	case h.size == 0, h.size == 1 && h.line[0] == '\r':
		h.within, h.status = h.interim, h.interim
	default:
		h.fields++
	}
	h.size = 0
}
