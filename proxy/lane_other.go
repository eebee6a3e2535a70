//go:build !linux

package proxy

import (
	"crypto/tls"
	"net"
)

// lane does not exist where there is no epoll; each connection has goroutines.
type lane struct{}

// setup does not exist either.
type setup struct{}

func (*setup) putOut() {}

func (s *Server) serveLanes(net.Listener, *tls.Config) bool { return false }
func (s *Server) closeLanes()                               {}
func (s *Server) stopLanes()                                {}
func (s *Server) sweepLanes()                               {}
