package forward

import (
	"net"
	"sync/atomic"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/httphead"
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

	expecting atomic.Bool         // a request is about to be sent; the next byte begins its answer
	head      httphead.AnswerHead // the reader's
	err       error               // the reader's: what it has read last is the end
}

// Read reads within the idle time, and no further than a head may go.
func (c *originConn) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	_ = c.SetReadDeadline(time.Now().Add(c.idle))
	n, err := c.Conn.Read(p)
	if n > 0 && c.expecting.CompareAndSwap(true, false) {
		c.head = httphead.NewAnswer()
	}
	passed, many := c.head.Count(p[:n])
	if many {
		c.err = httphead.ErrTooManyFields
		return passed, nil
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
