package forward

import (
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/chunked"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hop"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/httphead"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/tunnel"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// answer is the answer on its way to the client, with one framing: a Content-Length that
// is kept to, or chunks, or the end of the connection. It is the http.ResponseWriter that
// the Handler writes to, and takes of it nothing but that there is an answer. net/http's
// server is not used because it answers malformed requests itself, before there is a
// record, and because it sorts the fields and spells them anew.
type answer struct {
	x     *plainRequest
	head  httphead.Answer
	begun bool // the Handler has passed it on
	ended bool // the origin has sent all of it
	whole bool // the client has been sent all of it

	persist bool // the client's connection is kept

	frame   framing
	left    int64           // of a length
	chunks  *chunked.Reader // nil: the origin sends none
	buf     *[]byte         // pooled: what is to be written; nil: none yet
	byEnd   bool            // the end of the connection is that of the content
	pending int64           // content that is in buf
	err     error           // of the writes to the client
}

// framing is how the client finds the end of the content (RFC 9112, section 6.3).
type framing uint8

const (
	frameNone    framing = iota // there is none
	frameLength                 // by a Content-Length
	frameChunks                 // in chunks, as the origin sends them
	frameChunked                // in chunks of our own
	frameEnd                    // by the end of the connection
)

// content is the answer's content as the Handler is given it: it is read by WriteTo alone.
type content struct{ *answer }

// Read implements io.Reader.
func (content) Read([]byte) (int, error) { return 0, errors.New("content is read by WriteTo") }

// Close implements io.Closer. The connection is the request's to close.
func (content) Close() error { return nil }

// WriteTo implements io.WriterTo: the content goes to the client, whatever the writer is.
func (c content) WriteTo(io.Writer) (int64, error) {
	c.relay()
	return c.x.watch.Down.Load(), c.err
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.x.handled.fields }

// Write implements http.ResponseWriter and takes nothing: what the Handler says of an
// error is not for the client.
func (a *answer) Write(p []byte) (int, error) { return len(p), nil }

// WriteHeader implements http.ResponseWriter: it decides the framing and makes the head.
func (a *answer) WriteHeader(status int) {
	if a.begun || status != a.head.Status || a.x.failure != verdict.ReasonNone {
		return
	}
	a.begun = true
	a.buffer()
	a.x.watch.Answering()
	if status == http.StatusSwitchingProtocols {
		a.ended = true // what follows is the tunnel's
		return
	}
	chunkable := a.x.Head.Minor == 1
	a.setFraming(chunkable)
	a.setPersist()
	b := hop.AppendAnswer((*a.buf)[:0], &a.head, a.coded(chunkable), via(a.head.Minor))
	if a.frame == frameChunked {
		b = hop.AppendField(b, "Transfer-Encoding", "chunked")
	}
	switch {
	case !a.persist:
		b = hop.AppendField(b, "Connection", "close")
	case !chunkable:
		b = hop.AppendField(b, "Connection", "keep-alive")
	}
	*a.buf = append(b, "\r\n"...)
	a.x.watch.Heads.Add(1)
}

// setFraming decides the framing.
func (a *answer) setFraming(chunkable bool) {
	switch {
	case !a.head.HasContent(a.x.Head.Method):
		a.ended = true
	case a.head.Length >= 0:
		a.frame, a.left = frameLength, a.head.Length
	case a.head.Chunked:
		a.chunks = &chunked.Reader{Bare: !chunkable, Trailer: hop.PassesTrailer}
		if a.frame = frameChunks; !chunkable {
			a.frame = frameEnd
		}
	case chunkable:
		a.frame = frameChunked
	default:
		a.frame = frameEnd
	}
}

// coded reports whether the origin's Transfer-Encoding goes on: it does with its chunks,
// and where it says what an answer to a GET would be (RFC 9112, section 6.1).
func (a *answer) coded(chunkable bool) bool {
	return chunkable && a.head.Chunked && a.head.Status != http.StatusNoContent && a.head.Status >= http.StatusOK
}

// setPersist decides whether the connection is kept. Where the answer comes before the end
// of the request it is not known where the next one begins; a server that drains takes no
// next one, and one that has enough of the function's keeps no connection pending for it.
func (a *answer) setPersist() {
	x := a.x
	a.persist = a.frame != frameEnd && x.Head.Persistent() && x.upload.whole.Load() &&
		!x.client.server.Draining.Load() && x.TakeKeepAlive()
}

// interim passes an interim answer on (RFC 9110, section 15.2), but to a client of
// HTTP/1.0, which knows none.
func (a *answer) interim(head *httphead.Answer) error {
	if a.x.Head.Minor == 0 {
		return nil
	}
	a.buffer()
	*a.buf = append(hop.AppendAnswer((*a.buf)[:0], head, false, via(head.Minor)), "\r\n"...)
	a.x.watch.Heads.Add(1)
	a.flush()
	return a.err
}

// buffer takes a buffer.
func (a *answer) buffer() {
	if a.buf == nil {
		a.buf = a.x.client.server.heads.Get().(*[]byte)
	}
}

// flush writes what is to be written. What an origin has sent is not held back.
func (a *answer) flush() {
	if a.buf == nil || len(*a.buf) == 0 || a.err != nil {
		return
	}
	a.write(*a.buf, a.pending)
	*a.buf, a.pending = (*a.buf)[:0], 0
}

// write writes to the client, with so many bytes of content.
func (a *answer) write(b []byte, n int64) {
	if a.err != nil {
		return
	}
	if _, a.err = a.x.Conn.Write(b); a.err == nil {
		a.x.watch.Down.Add(n)
	}
}

// relay passes the content on, until it has ended or broken off.
func (a *answer) relay() {
	c := a.x.conn
	for !a.ended && a.err == nil {
		if b := c.Buffered(); len(b) > 0 {
			n, err := a.accept(b)
			if c.Consume(n); err != nil {
				a.flush()
				a.err = err
			}
			continue
		}
		a.flush()
		if a.err != nil {
			return
		}
		if client, host, ok := a.x.bare(); ok && a.movable() && c.Streams() {
			a.move(client, host)
			continue
		}
		if _, err := c.Fill(); err != nil {
			a.originEnded(err)
		}
	}
}

// movable reports whether what is left may be moved without being looked at.
func (a *answer) movable() bool {
	return a.chunks == nil && (a.frame == frameLength && a.left >= moveLeast || a.frame == frameEnd)
}

// move moves what is left.
func (a *answer) move(client, host *net.TCPConn) {
	n := int64(math.MaxInt64)
	if a.frame == frameLength {
		n = a.left
	}
	left, srcErr, dstErr := a.x.client.server.Move(tunnel.Transfer{
		Dst: client, Src: host, N: n, Moved: &a.x.watch.Down, SrcIdle: new(atomic.Bool),
	})
	if a.frame == frameLength {
		a.left, a.ended = left, left == 0
	}
	switch {
	case dstErr != nil:
		a.err = dstErr
	case srcErr != nil:
		a.err = errOrigin
	case !a.ended:
		a.originEnded(io.EOF)
	}
}

// accept takes what has come.
func (a *answer) accept(b []byte) (n int, err error) {
	if a.chunks != nil || a.frame == frameChunked {
		a.grow(len(b))
	}
	if a.chunks != nil {
		before := a.chunks.Moved()
		*a.buf, n, err = a.chunks.Next(*a.buf, b)
		a.pending += a.chunks.Moved() - before
		a.ended = a.chunks.Done()
		return n, err
	}
	if a.frame == frameLength {
		b = b[:min(a.left, int64(len(b)))]
		a.left -= int64(len(b))
		a.ended = a.left == 0
	}
	if a.frame != frameChunked && !a.fits(len(b)) {
		a.flush()
		a.write(b, int64(len(b)))
		return len(b), nil
	}
	if a.frame == frameChunked {
		*a.buf = append(strconv.AppendInt(*a.buf, int64(len(b)), 16), "\r\n"...)
	}
	*a.buf = append(*a.buf, b...)
	a.pending += int64(len(b))
	if a.frame == frameChunked {
		*a.buf = append(*a.buf, "\r\n"...)
	}
	return len(b), nil
}

// fits reports whether so many bytes fit behind what is to be written.
func (a *answer) fits(n int) bool { return n <= cap(*a.buf)-len(*a.buf) }

// grow makes room for a piece of content and its chunk.
func (a *answer) grow(n int) {
	if s := a.x.client.server; !a.fits(n+chunkMarks) && cap(*a.buf) < bulkBuffer {
		a.flush()
		s.putBuffer(a.buf)
		a.buf = s.bulk.Get().(*[]byte)
	}
}

// originEnded takes the end of the connection for that of the content, where it is.
func (a *answer) originEnded(err error) {
	if !errors.Is(err, io.EOF) || a.chunks != nil || a.frame == frameLength {
		a.err = errOrigin
		return
	}
	a.ended = true
	a.byEnd = true
	if a.frame == frameChunked {
		*a.buf = append(*a.buf, "0\r\n\r\n"...)
	}
}

// end writes what is left of an answer that is whole.
func (a *answer) end() {
	if a.begun && a.ended {
		a.flush()
		a.whole = a.err == nil
	}
}

// release gives the buffers back.
func (a *answer) release() {
	s := a.x.client.server
	for _, b := range [...]*[]byte{a.buf, a.x.out} {
		s.putBuffer(b)
	}
	a.buf, a.x.out = nil, nil
}

// abort ends the connection after an answer that broke off. Where the end of the
// connection is what marks the end of the content, it is reset: an orderly close, or TLS's
// close_notify, would make what came look whole.
func (a *answer) abort() {
	if a.frame == frameEnd {
		a.x.Conn.Abort()
	}
}
