//go:build torture

package torture

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

// throughTunnel does the client's part of the transfer.
func (c *clients) throughTunnel(r *rand.Rand, o *operation, conn *net.TCPConn, in *bufio.Reader) {
	if o.hello == helloSilent || o.hello == helloNotTLS {
		c.awaitEnd(o, in)
		return
	}
	t := o.transfer
	switch {
	case o.idle:
		c.beIdle(o, conn, in)
		return
	case o.deaf:
		n, _ := io.WriteString(conn, transfer{op: o.id, down: t.down, end: endClient}.line())
		o.sent += int64(n)
		sleep(c.ending, time.Duration(100+r.IntN(3000))*time.Millisecond)
		c.leave(o, conn)
		return
	}
	if o.network != "" && t.end == endHalf {
		t.end = endClient // the bad network knows no half-close
	}
	var sending sync.WaitGroup
	sending.Go(func() {
		n, err := io.WriteString(conn, t.line())
		o.sent += int64(n)
		up := t.up
		if o.abort == abortMidway {
			up = r.Int64N(up + 1)
		}
		if err == nil {
			var n int64
			if o.long {
				n = t.trickle(conn, r, up)
			} else {
				n, _ = t.send(conn, r, up, upward)
			}
			o.sent += n
		}
		if o.abort == abortMidway {
			c.leave(o, conn)
		} else if t.end == endHalf {
			_ = conn.CloseWrite()
		}
	})
	err := c.take(o, t, in)
	if err != nil {
		_ = conn.SetWriteDeadline(time.Now())
	}
	sending.Wait()
	if o.abort == abortMidway {
		return
	}
	o.tail = tailOf(o, err)
	if o.tail == tailWhole && t.end != endClient {
		// The origin says that this is all.
		if _, err := in.ReadByte(); err != io.EOF {
			o.tail, o.detail = tailCut, fmt.Sprintf("where the stream ends: %v", err)
		}
	}
}

// take reads the origin's part and counts it.
func (c *clients) take(o *operation, t transfer, in *bufio.Reader) error {
	n := &countedReader{in: in, n: &o.got}
	return t.check(bufio.NewReaderSize(n, 16<<10), t.down, downward)
}

// countedReader counts what is read.
type countedReader struct {
	in io.Reader
	n  *int64
}

// Read reads and counts.
func (c *countedReader) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	*c.n += int64(n)
	return n, err
}

// tailOf names the end of a tunnel.
func tailOf(o *operation, err error) tail {
	var timeout net.Error
	switch {
	case err == nil:
		return tailWhole
	case errors.Is(err, errCrossed):
		o.detail = err.Error()
		return tailWrong
	case errors.As(err, &timeout) && timeout.Timeout() && !errors.Is(err, os.ErrClosed):
		o.detail = err.Error()
		return tailHung
	case o.got == 0:
		o.detail = err.Error()
		return tailClosed
	default:
		o.detail = err.Error()
		return tailCut
	}
}

// awaitEnd waits for the program to end the tunnel.
func (c *clients) awaitEnd(o *operation, in *bufio.Reader) {
	n, err := io.Copy(io.Discard, in)
	o.got += n
	if err == nil {
		err = io.EOF
	}
	o.tail = tailOf(o, err)
}

// beIdle shows the origin whose the tunnel is and then is silent, until the
// program ends it or the load does.
func (c *clients) beIdle(o *operation, conn *net.TCPConn, in *bufio.Reader) {
	n, err := io.WriteString(conn, strings.TrimSuffix(transfer{op: o.id, up: 1, down: 0, end: endClient}.line(), "\n"))
	o.sent += int64(n)
	if err != nil {
		o.tail = tailOf(o, err)
		return
	}
	ended := context.AfterFunc(c.ending, func() { _ = conn.Close() })
	c.awaitEnd(o, in)
	if !ended() {
		o.tail = tailQuit
	}
}
