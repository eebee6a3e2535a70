// Package proxy serves HTTP CONNECT and plain HTTP to callers that a policy
// knows by name, and refuses everything else.
//
// What it does: it accepts connections (bare, behind a load balancer that
// sends PROXY protocol, or over TLS), reads each request head by a strict
// grammar, and gives the request to who takes it on its way. Whatever is refused is
// recorded before the client sees the refusal; what is permitted is recorded before a
// byte flows.
//
// What it does not do: it terminates no TLS of a tunnel, caches nothing,
// rewrites no content, reads no files, and does not decide: package gate does.
// Resolving is a func that the caller gives.
//
// The way of a request: serve.go accepts (on Linux the event loops of package connect
// do), session.go reads heads from the connection (package clientconn), and begins an
// exchange (package exchange) for each. A CONNECT goes through goproxy's hook
// (goproxy.go) to package connect, which dials and gives both connections to a tunnel;
// everything else to package forward. Both bring to the decision of package gate what it
// asks for, and exchange/record.go alone writes records.
//
//	s := proxy.New(proxy.Options{Policy: current, Lookup: lookup, Audit: log})
//	go s.Run(ctx)
//	err := s.Serve(listener, nil)
package proxy

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/elazarl/goproxy"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/clientconn"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/connect"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/exchange"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/forward"
)

// Options is what a Server is made of, Limits are among them, and Resolved is what their
// Lookup returns: they are of package exchange, which uses them.
type (
	Options  = exchange.Options
	Limits   = exchange.Limits
	Resolved = exchange.Resolved
)

// Server is the proxy. New makes one; its methods are safe for concurrent use.
type Server struct {
	shared  *exchange.Shared
	connect *connect.Server
	plain   *forward.Server
	goproxy *goproxy.ProxyHttpServer
	ran     chan struct{} // closed when Run has ended every tunnel
	ended   atomic.Int32  // of Run and Close, how many have returned

	mu        sync.Mutex
	closed    bool
	listeners map[net.Listener]struct{}
}

// New returns a server that serves nothing yet.
func New(o Options) *Server {
	s := &Server{listeners: map[net.Listener]struct{}{}, ran: make(chan struct{})}
	given := o.Self
	o.Self = func(a netip.AddrPort) bool { return given != nil && given(a) || s.listensOn(a) }
	s.shared = exchange.NewShared(o)
	s.connect = connect.New(s.shared, func(c *clientconn.Conn) { s.serveConn(c, nil) })
	s.plain = forward.New(s.shared)
	s.goproxy = s.newGoproxy()
	s.plain.Handler, s.plain.Tunnel, s.plain.Move = s.goproxy, s.connect.Upgraded, s.connect.Move
	return s
}

// Run enforces the limits of open tunnels and looks at the memory until ctx ends; then
// it ends every open tunnel as shutdown and returns when the last one has ended and the
// log has its record. It is called once.
func (s *Server) Run(ctx context.Context) {
	done := make(chan struct{})
	go s.watch(ctx, done)
	swept := make(chan struct{})
	go func() { defer close(swept); s.plain.Run(ctx) }()
	s.connect.RunTunnels(ctx)
	<-done
	<-swept
	s.shared.Stop()
	close(s.ran)
	s.ends()
}

// Tunnels returns the number of open tunnels.
func (s *Server) Tunnels() int { return s.connect.Tunnels() }

// Count counts a decision that another server took by the same policy, such as
// the answer to a DNS question: all decisions stand in one metric. It does not
// keep e.
func (s *Server) Count(e *audit.Event) { s.shared.Count(e) }
