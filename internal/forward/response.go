package forward

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"strconv"
	"sync"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/clientconn"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// errShort is a response whose body does not have the length that it announced.
var errShort = errors.New("response body differs from its Content-Length")

// copyBuffer is what a response body is copied with.
const copyBuffer = 16 << 10

// response writes one HTTP/1.1 response to the client with a framing of its
// own: a Content-Length that is kept to, or chunks, or the end of the
// connection. It is the http.ResponseWriter that goproxy writes to. net/http's
// server is not used because it answers malformed requests itself, before there
// is a record.
type response struct {
	of        *plainRequest
	conn      *clientconn.Conn
	head      bool // the request was HEAD
	chunkable bool // the client speaks HTTP/1.1
	persist   bool // the connection is to be kept
	body      *requestBody

	mu      sync.Mutex // between the body's 100 and the response
	started bool       // the status line is written
	header  http.Header
	buf     *bufio.Writer
	chunks  io.WriteCloser // nil: not chunked
	length  int64          // announced; -1: none
	bodied  bool           // the response has content
	moved   int64
	err     error
}

// Header implements http.ResponseWriter.
func (w *response) Header() http.Header {
	if w.header == nil {
		w.header = http.Header{}
	}
	return w.header
}

// proceed tells a client that waits to send its body (RFC 9110, section
// 15.2.1), unless the response has begun.
func (w *response) proceed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.started {
		return errors.New("the response has begun")
	}
	_, err := io.WriteString(w.client(), "HTTP/1.1 100 Continue\r\n\r\n")
	return err
}

// WriteHeader implements http.ResponseWriter: it decides the framing and
// writes status line and fields.
func (w *response) WriteHeader(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	// A failed round trip is answered by refuse; what goproxy says of it is
	// not for the client.
	if w.started || w.of.failure != verdict.ReasonNone {
		return
	}
	w.started = true
	w.buf = w.server().writers.Get().(*bufio.Writer)
	w.buf.Reset(w.client())
	w.frame(status)
	fmt.Fprintf(w.buf, "HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
	if err := w.Header().Write(w.buf); err != nil {
		w.err = err
	}
	_, _ = w.buf.WriteString("\r\n")
	if w.err == nil && w.bodied && w.length < 0 {
		// A stream of events may have its first one much later.
		w.err = w.buf.Flush()
	}
}

// frame decides how the client finds the end of the body (RFC 9112, section
// 6.3) and sets the fields that say so.
func (w *response) frame(status int) {
	w.length = -1
	h := w.Header()
	w.bodied = !w.head && status != http.StatusNoContent && status != http.StatusNotModified
	if status == http.StatusNoContent {
		h.Del("Content-Length") // some clients would wait for it (RFC 9110, section 8.6)
	}
	if v := h.Get("Content-Length"); v != "" {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < 0 {
			w.err = errShort
		}
		w.length = n
	}
	switch {
	case !w.bodied || w.length >= 0:
	case w.chunkable:
		h.Set("Transfer-Encoding", "chunked")
		w.chunks = httputil.NewChunkedWriter(w.buf)
	default:
		w.persist = false
	}
	w.frameConnection()
}

// frameConnection sets the fields that say whether the connection goes on.
func (w *response) frameConnection() {
	h := w.Header()
	if w.persist && (!w.body.whole() || w.server().Draining.Load() || !w.of.TakeKeepAlive()) {
		// Where the answer comes before the end of the request it is not known
		// where the next one begins; a server that drains takes no next one, and one that
		// has enough of the function's keeps no connection waiting for it.
		w.persist = false
	}
	switch {
	case !w.persist:
		h.Set("Connection", "close")
	case !w.chunkable:
		h.Set("Connection", "keep-alive")
	}
}

// Write implements http.ResponseWriter. Before WriteHeader it takes nothing:
// what goproxy writes of an error is not for the client.
func (w *response) Write(p []byte) (int, error) {
	if !w.started {
		return len(p), nil
	}
	if w.err != nil {
		return 0, w.err
	}
	if !w.bodied {
		return len(p), nil
	}
	if w.length >= 0 && w.moved+int64(len(p)) > w.length {
		w.err = errShort
		return 0, w.err
	}
	var dst io.Writer = w.buf
	if w.chunks != nil {
		dst = w.chunks
	}
	n, err := dst.Write(p)
	w.moved += int64(n)
	if err == nil {
		err = w.buf.Flush() // what the origin has sent is not held back
	}
	w.err = err
	return n, err
}

// ReadFrom implements io.ReaderFrom for the copying of a body: with a buffer
// that is used again, where io.Copy would make one of 32 KiB for each response.
func (w *response) ReadFrom(r io.Reader) (n int64, err error) {
	buf := w.server().copies.Get().(*[copyBuffer]byte)
	defer w.server().copies.Put(buf)
	for {
		got, readErr := r.Read(buf[:])
		if got > 0 {
			written, err := w.Write(buf[:got])
			n += int64(written)
			if err != nil {
				return n, err
			}
		}
		if errors.Is(readErr, io.EOF) {
			return n, nil
		}
		if readErr != nil {
			return n, readErr
		}
	}
}

// Flush implements http.Flusher.
func (w *response) Flush() {
	if w.buf != nil && w.err == nil {
		w.err = w.buf.Flush()
	}
}

// finish writes the end of the response. An error means that the client did
// not get it whole, and the connection must end without an orderly mark.
func (w *response) finish() error {
	if !w.started {
		return errors.New("no response was written")
	}
	if w.err != nil {
		return w.err
	}
	if w.of.failure != verdict.ReasonNone {
		return errOrigin
	}
	if w.bodied && w.length >= 0 && w.moved != w.length {
		return errShort
	}
	if w.chunks != nil {
		if err := w.chunks.Close(); err != nil {
			return err
		}
		_, _ = w.buf.WriteString("\r\n")
	}
	err := w.buf.Flush()
	if err == nil {
		w.buf.Reset(nil)
		w.server().writers.Put(w.buf)
		w.buf = nil
	}
	return err
}

// abort ends the connection after a response that broke off. Where the end of
// the connection is what marks the end of the body, it is reset: an orderly
// close, or TLS's close_notify, would make what came look whole.
func (w *response) abort() {
	if !w.started || !w.bodied || w.length >= 0 || w.chunks != nil {
		return
	}
	w.conn.Abort()
}

// server returns whose response it is.
func (w *response) server() *Server { return w.of.client.server }

// client returns the way to the client.
func (w *response) client() *deadlineWriter {
	return &deadlineWriter{conn: w.conn, idle: w.server().Limits.IdleTimeout}
}

// deadlineWriter gives each write to the client the idle time.
type deadlineWriter struct {
	conn *clientconn.Conn
	idle time.Duration
}

// Write implements io.Writer.
func (d *deadlineWriter) Write(p []byte) (int, error) {
	_ = d.conn.SetWriteDeadline(time.Now().Add(d.idle))
	return d.conn.Conn.Write(p)
}
