package forward

import (
	"io"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/chunked"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/origin"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/tunnel"
)

// lastWriteTimeout is how long the last piece of a request has to leave when its answer is over.
const lastWriteTimeout = time.Second

// upload is the content of a request on its way to the origin. What has come with the
// head goes with it; the rest is moved by a goroutine of its own, as it comes, while the
// answer may come already. Whoever waits for a 100 sends nothing until the origin has
// sent that, and the proxy says nothing of its own.
type upload struct {
	x       *plainRequest
	chunks  *chunked.Reader // nil: it has a length
	left    int64           // of the length
	first   int64           // bytes of content that go with the head
	streams bool            // the last piece was a whole one
	used    int             // how much of what accept was given belongs to the content
	conn    *origin.Conn    // the goroutine's
	done    chan struct{}   // closed by the goroutine; nil: there is none
	sent    bool            // all has been written to the origin; the goroutine's until done
	whole   atomic.Bool     // all has been read from the client
	failed  atomic.Bool     // the client's framing is wrong, or it stopped sending
	stopped atomic.Bool     // nothing more is to be read
}

// init prepares the content of the request.
func (u *upload) init(x *plainRequest) {
	u.x = x
	switch {
	case !x.Head.HasContent():
		u.whole.Store(true)
	case len(x.Head.Codings) > 0:
		u.chunks = &chunked.Reader{}
	default:
		u.left, _ = strconv.ParseInt(x.Head.Lengths[0], 10, 64) // checked with the head
	}
}

// appendFirst appends what has come of the content with the head.
func (u *upload) appendFirst(b []byte) []byte {
	if u.whole.Load() {
		return b
	}
	c := u.x.Conn
	here := c.Buffered()
	if u.chunks == nil {
		here = here[:min(u.left, int64(len(here)))]
	}
	goesOn, n, err := u.accept(b, here)
	if u.first = n; u.chunks == nil {
		goesOn = append(b, here...)
	}
	if len(here) > 0 {
		c.Consume(u.used)
	}
	u.failed.Store(err != nil)
	return goesOn
}

// accept takes what of b belongs to the content. It returns what goes on, which for chunks
// is appended to dst, and how many bytes of content that has.
func (u *upload) accept(dst, b []byte) (goesOn []byte, n int64, err error) {
	if u.chunks == nil {
		u.used = len(b)
		if u.left -= int64(len(b)); u.left == 0 {
			u.whole.Store(true)
		}
		return b, int64(len(b)), nil
	}
	before := u.chunks.Moved()
	goesOn, u.used, err = u.chunks.Next(dst, b)
	if u.chunks.Done() {
		u.whole.Store(true)
	}
	return goesOn, u.chunks.Moved() - before, err
}

// begin goes on behind what went with the head, in a goroutine where that was not all.
func (u *upload) begin() {
	u.x.watch.Up.Store(u.first)
	if u.whole.Load() {
		u.sent = true
		return
	}
	_ = u.x.Conn.SetReadDeadline(time.Time{})
	u.conn, u.done = u.x.conn, make(chan struct{})
	go u.run()
}

// run moves the content to its end.
func (u *upload) run() {
	defer close(u.done)
	s := u.x.client.server
	in, out := s.bulk.Get().(*[]byte), &[]byte{}
	if u.chunks != nil {
		out = s.bulk.Get().(*[]byte)
	}
	defer s.putBuffer(in)
	defer s.putBuffer(out)
	for !u.whole.Load() {
		if u.streams && u.left >= moveLeast && u.move() {
			break
		}
		b, err := u.read((*in)[:bulkPiece])
		u.streams = u.chunks == nil && len(b) == bulkPiece
		var n int64
		if err == nil {
			all := b
			b, n, err = u.accept((*out)[:0], b)
			u.x.Conn.Unread(all[u.used:])
		}
		if len(b) > 0 {
			if _, err := u.conn.Write(b); err != nil {
				return // the answer says why, if there is one
			}
			u.x.watch.Up.Add(n)
		}
		if err != nil {
			u.fail()
			return
		}
	}
	u.sent = u.whole.Load()
}

// move moves what is left, where both connections are bare; false: they are not.
func (u *upload) move() bool {
	client, host, ok := u.x.bare()
	if !ok {
		return false
	}
	left, srcErr, dstErr := u.x.client.server.Move(tunnel.Transfer{
		Dst: host, Src: client, N: u.left, Moved: &u.x.watch.Up, SrcIdle: &u.x.watch.Uploading,
	})
	u.left = left
	switch {
	case dstErr != nil: // the answer says why, if there is one
	case srcErr != nil, left > 0:
		u.fail()
	default:
		u.whole.Store(true)
	}
	return true
}

// read reads the next piece from the client, no further than the content goes.
func (u *upload) read(buf []byte) ([]byte, error) {
	if u.chunks == nil {
		buf = buf[:min(u.left, int64(len(buf)))]
	}
	u.x.watch.Uploading.Store(true)
	n, err := u.x.Conn.Read(buf)
	u.x.watch.Uploading.Store(false)
	if n > 0 {
		err = nil // it comes again
	} else if err == nil {
		err = io.ErrNoProgress
	}
	return buf[:n], err
}

// fail says that the client's content is not what it should be, and ends the wait for an
// answer to it.
func (u *upload) fail() {
	if u.stopped.Load() {
		return
	}
	u.failed.Store(true)
	u.x.watch.BreakOff()
}

// stop ends the reading. When it returns nobody reads from the client, and nobody writes
// to the origin.
func (u *upload) stop() {
	if u.done == nil {
		return
	}
	select {
	case <-u.done:
	default:
		u.stopped.Store(true)
		if u.whole.Load() {
			_ = u.conn.SetWriteDeadline(time.Now().Add(lastWriteTimeout))
		} else {
			longAgo := time.Unix(1, 0)
			_ = u.conn.SetWriteDeadline(longAgo)
			_ = u.x.Conn.SetReadDeadline(longAgo)
		}
		<-u.done
		_ = u.conn.SetWriteDeadline(time.Time{})
	}
	u.done = nil
}
