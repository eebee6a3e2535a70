// Package forward takes plain HTTP requests from their head to the last byte of their
// answer.
//
// What it does: it brings to the decision of package gate what it asks for, and sends the
// request on through a handler (goproxy) to one of the addresses that were checked. What
// goes on is what came, in both directions: target, fields and content, but for what is of
// one hop (fields.go); heads, interim answers and parts of content as they come. The
// framing of both is checked by every byte, so that client, proxy and origin agree on
// where the next message begins; else the connections end. A connection to an origin
// belongs to the function that opened it, and one that was authenticated to the client
// connection that did so (owned.go). Requests that are under way are judged again when the
// policy changes (revoke.go).
//
// What it does not do: it has no rule of its own, caches nothing, and changes no content.
package forward

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/exchange"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/inflight"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/origin"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/tunnel"
)

// Server forwards requests. New makes one, and Run has to run. Safe for concurrent use.
type Server struct {
	*exchange.Shared

	// Handler is given each request, and has to call RoundTrip for it. It is set once,
	// before the first request.
	Handler http.Handler
	// Tunnel is given what has become a tunnel: the connection to the origin, what the
	// client has sent for it already, and how many bytes have come back. It is set as
	// Handler is.
	Tunnel func(x *exchange.Exchange, origin net.Conn, early []byte, down int64)
	// Move moves content in bulk, as a tunnel does. It is set as Handler is.
	Move func(tunnel.Transfer) (left int64, srcErr, dstErr error)

	pool   *origin.Pool
	owners atomic.Uint64 // how many ownOrigins there have been
	open   inflight.Set
	heads  sync.Pool // *[]byte of headBuffer, for what goes on
	bulk   sync.Pool // *[]byte of bulkBuffer, for content

	requests sync.Pool // *plainRequest
}

const (
	// headBuffer is the room that a head gets at first, and what of the content is there
	// already; nearly all fit.
	headBuffer = 8 << 10
	// chunkMarks is what a chunk adds to its content.
	chunkMarks = 64
	// moveLeast is how much content is moved without being looked at, where it streams.
	moveLeast = 256 << 10
	// bulkBuffer is what more content is moved with: a piece of bulkPiece and its chunk.
	bulkPiece  = 32 << 10
	bulkBuffer = bulkPiece + chunkMarks
)

// New returns a server without a handler.
func New(s *exchange.Shared) *Server {
	f := &Server{Shared: s, pool: origin.NewPool(s.Resources.Pooled)}
	f.pool.Measure(s.Registerer)
	f.heads.New = func() any { b := make([]byte, 0, headBuffer); return &b }
	f.bulk.New = func() any { b := make([]byte, 0, bulkBuffer); return &b }
	f.requests.New = func() any { return &plainRequest{handled: f.newHandled()} }
	context.AfterFunc(s.Base, f.open.Close)
	return f
}

// poolEvery is how often the connections that no request uses are looked at.
const poolEvery = time.Second

// Run enforces the limits of requests that are under way, and ends those whose client has
// gone, until ctx ends.
func (s *Server) Run(ctx context.Context) {
	looked := time.Now()
	s.open.Run(ctx, s.Limits.IdleTimeout, s.Limits.Lifetime, func(now time.Time) {
		if now.Sub(looked) >= poolEvery {
			looked = now
			s.pool.Sweep(now)
		}
	})
}

// CloseIdle closes the connections to origins that no request uses, and those that none
// uses any more from now on.
func (s *Server) CloseIdle() { s.pool.Close() }

// bare returns both connections of a request where they are TCP and nothing over it, as
// what is moved without being looked at has to be.
func (x *plainRequest) bare() (client, host *net.TCPConn, ok bool) {
	client, ok = x.Conn.Conn.(*net.TCPConn)
	host, too := x.conn.Conn.(*net.TCPConn)
	return client, host, ok && too
}

// putBuffer gives a buffer back to the pool of its size; nil: there is none.
func (s *Server) putBuffer(b *[]byte) {
	if b == nil {
		return
	}
	*b = (*b)[:0]
	switch cap(*b) {
	case headBuffer:
		s.heads.Put(b)
	case bulkBuffer:
		s.bulk.Put(b)
	}
}

// Client is one client connection as requests on it see it. One goroutine has it.
type Client struct {
	server *Server
	own    *ownOrigins // connections to origins that are this one's alone; nil: none
}

// Client returns what the requests of one client connection share. Close it when the
// connection ends.
func (s *Server) Client() *Client { return &Client{server: s} }

// Close ends the connections to origins that are the client's alone.
func (c *Client) Close() { c.own.close() }

// handled is a request as the Handler is given it: where it goes. Its fields and content
// go past the Handler as they came, for http.Header has neither their order nor their
// spelling.
type handled struct {
	request *http.Request
	fields  http.Header   // empty
	of      *plainRequest // nil: it is over
}

// handledKey is the context key of the request that a round trip is for.
type handledKey struct{}

// newHandled makes one, for as many requests as its plainRequest serves.
func (s *Server) newHandled() *handled {
	h := &handled{fields: http.Header{}}
	r := &http.Request{Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, URL: &url.URL{}, Header: h.fields, Body: http.NoBody}
	h.request = r.WithContext(context.WithValue(s.Base, handledKey{}, h))
	return h
}

// handle returns the request for the Handler.
func (x *plainRequest) handle() *http.Request {
	x.handled.of = x
	r := x.handled.request
	r.Method, r.Host = x.Head.Method, x.Authority
	*r.URL = url.URL{Scheme: "http", Host: x.Authority, Opaque: "//" + x.Authority + x.Path}
	return r
}

// unhandle ends the Handler's part.
func (x *plainRequest) unhandle() {
	h := x.handled
	h.of = nil
	clear(h.fields)
	*h.request.URL = url.URL{}
}
