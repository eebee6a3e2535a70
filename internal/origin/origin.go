// Package origin has the connections to the origins of plain HTTP: what has been read of
// each, and the pool of those that wait for another request.
//
// What it does: it reads the heads of answers within their bounds, and keeps connections
// by whose they are and the address that they go to, so that one is only ever used by
// requests of the same owner that were permitted to reach that address themselves. One
// that its origin has ended, or on which something has come unasked, is not given out.
//
// What it does not do: it dials nothing, decides nothing, and sends nothing.
//
//	c := pool.Acquire(key)
//	if c == nil {
//		c = pool.Add(dialed, key)
//	}
//	…
//	head, err := c.ReadAnswer(&limits)
//	…
//	pool.Release(c)
package origin

import (
	"container/list"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/httphead"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/reactor"
)

// Key is whose a connection is, and where it goes.
type Key struct {
	Owner string
	To    netip.AddrPort
}

// Conn is a connection to an origin. One goroutine reads it, and one may write meanwhile.
type Conn struct {
	net.Conn

	stream reactor.Stream // reads and writes Conn
	key    Key
	pool   *Pool
	raw    syscall.RawConn // nil: it is none of the system's
	look   func(fd uintptr)

	buf   *[]byte // pooled; what has been read and not been consumed is behind read; nil: nothing
	read  int
	full  bool // the last read has filled the buffer
	some  bool // something has come since Begin
	still bool // what look has found: nothing has come, and no end

	since time.Time     // when it was given back
	place *list.Element // of the pool's order
}

// errNoAnswer is what comes instead of an answer.
var errNoAnswer = errors.New("no head of an answer")

const (
	// bufferSize is what an answer is read into at first: nearly all heads fit, and most
	// answers of an API.
	bufferSize = 4 << 10
	// bulkSize is what content is read into that has filled the first buffer.
	bulkSize = 32 << 10
)

// To returns the address that the connection goes to.
func (c *Conn) To() netip.AddrPort { return c.key.To }

// Begin begins another request.
func (c *Conn) Begin() { c.some = false }

// Answered reports whether something has come since Begin.
func (c *Conn) Answered() bool { return c.some }

// Buffered returns what has been read and not been consumed.
func (c *Conn) Buffered() []byte {
	if c.buf == nil {
		return nil
	}
	return (*c.buf)[c.read:]
}

// Consume drops the first n bytes of what is buffered.
func (c *Conn) Consume(n int) {
	if c.read += n; c.buf != nil && c.read == len(*c.buf) {
		*c.buf, c.read = (*c.buf)[:0], 0
	}
}

// Fill reads once behind what is buffered. It returns how many bytes have come.
func (c *Conn) Fill() (int, error) {
	if c.full && len(*c.buf) == 0 && cap(*c.buf) < bulkSize {
		c.free()
		c.buf = c.pool.bulk.Get().(*[]byte)
	}
	if c.buf == nil {
		c.buf, c.read = c.pool.buffers.Get().(*[]byte), 0
	}
	b := *c.buf
	switch {
	case len(b) < cap(b):
	case c.read > 0:
		b = b[:copy(b, b[c.read:])]
		c.read = 0
	default:
		b = append(make([]byte, 0, 2*cap(b)), b...)
		c.free()
		c.buf = new([]byte)
	}
	n, err := c.stream.Read(b[len(b):cap(b)])
	*c.buf = b[:len(b)+n]
	c.full = len(*c.buf) == cap(*c.buf)
	if n > 0 {
		c.some = true
		return n, nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return 0, err
}

// Streams reports whether content comes in bulk: it has filled the buffer, and all of it
// has been taken. The buffer is given back.
func (c *Conn) Streams() bool {
	if !c.full || len(c.Buffered()) > 0 {
		return false
	}
	c.free()
	return true
}

// free gives the buffer back to the pool.
func (c *Conn) free() {
	if c.buf != nil {
		*c.buf = (*c.buf)[:0]
		switch cap(*c.buf) {
		case bufferSize:
			c.pool.buffers.Put(c.buf)
		case bulkSize:
			c.pool.bulk.Put(c.buf)
		}
	}
	c.buf, c.read, c.full = nil, 0, false
}

// Limits bound the heads of the answers to one request, those of interim answers
// included (RFC 9110, section 15.2).
type Limits struct {
	Bytes  int // that may still come
	Fields int
}

// ReadAnswer reads the head of the next answer. An error of the connection is as it is.
func (c *Conn) ReadAnswer(l *Limits) (httphead.Answer, error) {
	seen, lines := 0, 0
	for {
		b := c.Buffered()
		if n := httphead.End(b, seen); n > 0 {
			return c.parse(string(b[:n]), l)
		}
		if len(b) > l.Bytes || httphead.CannotBeAnswer(b, seen, &lines, l.Fields) {
			return httphead.Answer{}, errNoAnswer
		}
		seen = len(b)
		if _, err := c.Fill(); err != nil {
			return httphead.Answer{}, err
		}
	}
}

// parse takes a whole head.
func (c *Conn) parse(raw string, l *Limits) (httphead.Answer, error) {
	c.Consume(len(raw))
	a, err := httphead.ParseAnswer(raw)
	if err != nil {
		return a, err
	}
	l.Bytes, l.Fields = l.Bytes-len(raw), l.Fields-a.Fields
	if l.Bytes < 0 || l.Fields < 0 {
		return a, errNoAnswer
	}
	return a, nil
}

// idle reports whether nothing has come and the origin has not ended it.
func (c *Conn) idle() bool {
	if c.raw == nil {
		return true
	}
	c.still = false
	return c.raw.Control(c.look) == nil && c.still
}

// lookAt asks the socket, for idle.
func (c *Conn) lookAt(fd uintptr) { c.still = reactor.Idle(int(fd)) }

// Write implements net.Conn.
func (c *Conn) Write(b []byte) (int, error) { return c.stream.Write(b) }

// Detach gives the connection away: what is buffered has been taken.
func (c *Conn) Detach() net.Conn {
	c.free()
	return c.Conn
}

// Close implements net.Conn.
func (c *Conn) Close() error {
	err := c.Conn.Close()
	c.free()
	return err
}
