// Package connect takes CONNECT requests from their head to their tunnel.
//
// What it does: two drivers bring to the decision of package gate what it asks for. On
// Linux an event loop accepts connections and takes each as far as it goes without
// waiting or refusing (loop_linux.go, connectop_linux.go). What leaves the loop, and
// everything elsewhere, goes on with a goroutine (connect.go), from wherever its
// decision stands: it looks up, dials, answers 200, reads the ClientHello, and gives
// both connections to a tunnel of package tunnel, or refuses. Tunnels that are open
// are judged again when the policy changes.
//
// What it does not do: it has no rule of its own, terminates no TLS, and serves nothing
// but CONNECT: what else comes on a loop's listener is handed to the caller's goroutine.
package connect

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/clientconn"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/exchange"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/tunnel"
)

// Server drives CONNECTs. New makes one. Safe for concurrent use.
type Server struct {
	*exchange.Shared

	tunnels *tunnel.Group
	serve   func(*clientconn.Conn) // serves a connection from its first request on, to its end

	mu      sync.Mutex
	running []*eventLoop // made by the first Serve that can use them
}

// keepAliveProbes finds a peer that is gone without a word: after 45 s of
// silence, then every 15 s, given up after the third. Package tunnel sets it on
// what lasts.
var keepAliveProbes = net.KeepAliveConfig{Enable: true, Idle: 45 * time.Second, Interval: 15 * time.Second, Count: 3}

// New returns a server without connections. serve is given what a loop has accepted
// and cannot serve; it has the connection to its end.
func New(s *exchange.Shared, serve func(*clientconn.Conn)) *Server {
	return &Server{
		Shared: s, serve: serve,
		tunnels: tunnel.New(tunnel.Options{
			Idle: s.Limits.IdleTimeout, Lifetime: s.Limits.Lifetime, KeepAlive: keepAliveProbes, Pipes: s.Resources.Pipes,
		}),
	}
}

// RunTunnels enforces the limits of open tunnels until ctx ends; then it ends every one
// as shutdown, and returns when the last has ended.
func (s *Server) RunTunnels(ctx context.Context) { s.tunnels.Run(ctx) }

// WaitForTunnels returns when no tunnel is open.
func (s *Server) WaitForTunnels() { _ = s.tunnels.Wait(context.Background()) }

// Tunnels returns the number of open tunnels.
func (s *Server) Tunnels() int { return s.tunnels.Len() }

// Rejudge judges every open tunnel by the policy now in force and ends those
// that it would refuse as revoked.
func (s *Server) Rejudge() {
	s.tunnels.Each(func(t *tunnel.Tunnel) { s.rejudge(t) })
}

// rejudge ends one tunnel that the policy now in force would refuse.
func (s *Server) rejudge(t *tunnel.Tunnel) {
	o, ok := t.Value().(*exchange.Open)
	if !ok {
		return
	}
	if p, identities := s.Policy(); !o.StillAllowed(p, identities, time.Now()) {
		t.End(tunnel.Revoked)
	}
}

// CountBytes counts what open tunnels have moved so far.
func (s *Server) CountBytes() {
	s.tunnels.Each(func(t *tunnel.Tunnel) {
		if o, ok := t.Value().(*exchange.Open); ok {
			o.Moved(t.Bytes())
		}
	})
}
