//go:build !linux

package proxy

import (
	"crypto/tls"
	"net"
)

// eventLoop does not exist where there is no epoll; each connection has goroutines.
type eventLoop struct{}

// connectOp does not exist either.
type connectOp struct{}

func (*connectOp) evict() {}

func (s *Server) serveLoops(net.Listener, *tls.Config) bool { return false }
func (s *Server) closeLoops()                               {}
func (s *Server) stopLoops()                                {}
func (s *Server) sweepLoops()                               {}
