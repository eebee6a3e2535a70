//go:build !linux

package connect

import (
	"crypto/tls"
	"net"
)

// eventLoop does not exist where there is no epoll; each connection has goroutines.
type eventLoop struct{}

// Serve returns false: no loop serves the listener.
func (s *Server) Serve(net.Listener, *tls.Config) bool { return false }

// Close has nothing to end.
func (s *Server) Close() {}

// Stop has no loop to stop.
func (s *Server) Stop() {}

// Sweep has no loop to sweep.
func (s *Server) Sweep() {}

// Looping reports whether Serve has begun to accept on loops.
func (s *Server) Looping() bool { return false }
