//go:build !linux

package dnsserver

import (
	"net"
	"net/netip"
	"time"
)

// socket is a UDP socket.
type socket struct{ c *net.UDPConn }

// newSocket takes c over.
func newSocket(c *net.UDPConn) (*socket, error) { return &socket{c}, nil }

// stopReads ends the reading.
func (s *socket) stopReads() { _ = s.c.SetReadDeadline(time.Unix(1, 0)) }

// close closes the socket.
func (s *socket) close() { _ = s.c.Close() }

// origin is where an answer goes.
type origin struct{ client netip.AddrPort }

// write sends an answer. Where that fails the client asks again or is gone.
func (s *socket) write(answer []byte, to *origin) { _, _ = s.c.WriteToUDPAddrPort(answer, to.client) }
