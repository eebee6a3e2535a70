package forward

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync/atomic"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/clientconn"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/httphead"
)

// errStopped ends the reading of a body that nobody needs any more.
var errStopped = errors.New("the exchange is over")

// requestBody is the client's body on its way to the origin. The transport
// reads it in a goroutine of its own, which can outlive the round trip; stop
// waits for it, because behind the body comes the next request.
type requestBody struct {
	src      io.Reader // http.NoBody: there is none
	response *response
	conn     *clientconn.Conn
	idle     time.Duration
	length   int64 // announced; -1: chunked
	expects  bool  // the client waits for 100 before it sends
	moved    atomic.Int64
	failed   atomic.Bool   // the client's framing is wrong, or it stopped sending
	ended    atomic.Bool   // src has returned io.EOF
	stopped  atomic.Bool   // nothing more is to be read
	closed   chan struct{} // closed by the reader of the attempt under way; nil: none yet
}

// newRequestBody returns the body of the request, with w to ask the client for it.
func newRequestBody(x *plainRequest, w *response) *requestBody {
	b := &requestBody{
		src: x.request.Body, response: w, conn: x.Conn, length: x.request.ContentLength,
		idle:    x.client.server.Limits.IdleTimeout,
		expects: len(x.Head.Expect) > 0 && x.Head.Minor == 1,
	}
	if b.length < 0 {
		b.src = &chunkedBody{reader: x.reader, chunks: httputil.NewChunkedReader(x.reader)}
	}
	w.body = b
	return b
}

// attempt returns the body for one attempt to send it. An attempt before it
// has failed to dial, so it has read nothing and closed its body.
func (b *requestBody) attempt() io.ReadCloser {
	b.closed = make(chan struct{})
	return &attemptBody{requestBody: b, closed: b.closed}
}

// whole reports whether the client has sent all of it.
func (b *requestBody) whole() bool {
	return b.src == http.NoBody || b.ended.Load() || b.length >= 0 && b.moved.Load() == b.length
}

// stop ends the reading. When it returns nobody reads from the client.
func (b *requestBody) stop() {
	b.interrupt()
	if b.closed != nil {
		<-b.closed
	}
}

// interrupt ends the reading without waiting for it, from any goroutine.
func (b *requestBody) interrupt() {
	b.stopped.Store(true)
	if !b.whole() {
		_ = b.conn.SetReadDeadline(longAgo())
	}
}

// longAgo is a deadline that wakes whatever waits on a connection.
func longAgo() time.Time { return time.Unix(1, 0) }

// Read reads within the idle time, and asks for the body first where the
// client waits to be asked.
func (b *requestBody) Read(p []byte) (int, error) {
	if b.expects {
		b.expects = false
		if err := b.response.proceed(); err != nil {
			return 0, err
		}
	}
	_ = b.conn.SetReadDeadline(time.Now().Add(b.idle))
	if b.stopped.Load() {
		return 0, errStopped
	}
	n, err := b.src.Read(p)
	b.moved.Add(int64(n))
	switch {
	case errors.Is(err, io.EOF):
		b.ended.Store(true)
	case err != nil && !b.stopped.Load():
		b.failed.Store(true)
	}
	return n, err
}

// Close implements io.Closer and does nothing: an attempt closes its own.
func (b *requestBody) Close() error { return nil }

// attemptBody is the body for one attempt.
type attemptBody struct {
	*requestBody
	closed chan struct{}
	done   atomic.Bool
}

// Close implements io.Closer; the transport calls it when it reads no more.
func (a *attemptBody) Close() error {
	if a.done.CompareAndSwap(false, true) {
		close(a.closed)
	}
	return nil
}

// maxTrailers bounds the trailer section of a chunked body, in bytes.
const maxTrailers = 4 << 10

// errBadTrailers is a trailer section that a head's grammar would not accept.
var errBadTrailers = errors.New("malformed trailer section")

// chunkedBody reads a chunked body (RFC 9112, section 7.1). The chunks are
// net/http's to read, which is strict about them; the trailer section is not,
// because net/http takes a bare LF there for the end of a line and of the
// body, and what follows the body is the next request. Trailer fields are
// dropped: merged into a head they would be fields that no policy has seen.
type chunkedBody struct {
	reader *bufio.Reader // what chunks reads from
	chunks io.Reader
	err    error // sticky
}

// Read implements io.Reader.
func (b *chunkedBody) Read(p []byte) (n int, err error) {
	if b.err != nil {
		return 0, b.err
	}
	n, b.err = b.chunks.Read(p)
	if errors.Is(b.err, io.EOF) {
		b.err = b.skipTrailers()
	}
	return n, b.err
}

// skipTrailers reads to the end of the body and returns io.EOF there.
func (b *chunkedBody) skipTrailers() error {
	for taken := 0; taken < maxTrailers; {
		line, err := b.reader.ReadSlice('\n')
		if err != nil {
			return errBadTrailers
		}
		taken += len(line)
		field, ok := strings.CutSuffix(string(line), "\r\n")
		switch {
		case ok && field == "":
			return io.EOF
		case !ok || httphead.CheckField(field) != nil:
			return errBadTrailers
		}
	}
	return errBadTrailers
}
