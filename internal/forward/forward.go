// Package forward takes plain HTTP requests from their head to the last byte of their
// response.
//
// What it does: it brings to the decision of package gate what it asks for, sends the
// request on through a handler (goproxy) and by net/http's transport to the addresses
// that were checked, and writes the response with one framing, so that client and proxy
// agree on where the next request begins; else the connection ends. A connection to an
// origin belongs to the function that opened it, and one that was authenticated to the
// client connection that did so. Requests that are under way are judged again when the
// policy changes.
//
// What it does not do: it has no rule of its own, caches nothing, and changes no content.
package forward

import (
	"bufio"
	"context"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/exchange"
)

// Server forwards requests. New makes one. Safe for concurrent use.
type Server struct {
	*exchange.Shared

	// Handler is given each request, and has to call RoundTrip for it. It is set once,
	// before the first request.
	Handler http.Handler

	transport *http.Transport
	traced    context.Context // Base, for requests whose answers' heads are bounded
	owners    atomic.Uint64   // how many ownOrigins there have been
	inflight  inflight
	writers   sync.Pool // *bufio.Writer for responses
	copies    sync.Pool // *[copyBuffer]byte for bodies of responses
}

// New returns a server without a handler.
func New(s *exchange.Shared) *Server {
	f := &Server{Shared: s, traced: traced(s.Base)}
	f.transport = f.newTransport(s.Resources.Pooled)
	f.writers.New = func() any { return bufio.NewWriter(nil) }
	f.copies.New = func() any { return new([copyBuffer]byte) }
	return f
}

// CloseIdle closes the connections to origins that no request uses.
func (s *Server) CloseIdle() { s.transport.CloseIdleConnections() }

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
