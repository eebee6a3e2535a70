package dnsserver

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
)

// readBuffer is what a UDP socket asks the kernel for, to outlast a burst; it
// may get less.
const readBuffer = 4 << 20

// Sockets are what a Server listens on: one address, over UDP and TCP. Make
// them with Listen.
type Sockets struct {
	udp     []udpSocket
	tcp     *net.TCPListener
	once    sync.Once
	pending sync.WaitGroup // questions whose answers leave by a UDP socket
}

// Listen opens the sockets of an address: that many for UDP, among which the
// kernel spreads the clients, and one for TCP on the same port. Zero or less:
// one less than the processors that Go uses, 1 at least and 16 at most; each
// has a reader that waits in the kernel and may hold a processor meanwhile, and
// one is left to all else. Port 0 lets the kernel pick one that is free for both.
func Listen(ctx context.Context, addr netip.AddrPort, udp int) (*Sockets, error) {
	const tries = 16 // for a port that is free for TCP and taken for UDP
	for try := 1; ; try++ {
		socks, err := listenOnce(ctx, addr, udp)
		if err == nil || addr.Port() != 0 || try == tries {
			return socks, err
		}
	}
}

func listenOnce(ctx context.Context, addr netip.AddrPort, udp int) (_ *Sockets, err error) {
	if udp <= 0 {
		udp = max(1, runtime.GOMAXPROCS(0)-1)
	}
	s := &Sockets{}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	plain := net.ListenConfig{KeepAlive: -1}
	ln, err := plain.Listen(ctx, "tcp", addr.String())
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", addr, err)
	}
	s.tcp = ln.(*net.TCPListener)
	if addr.Port() == 0 {
		addr = netip.AddrPortFrom(addr.Addr(), s.Addr().Port())
	}
	shared := net.ListenConfig{Control: reusePort}
	for range min(udp, maxSockets) {
		c, err := shared.ListenPacket(ctx, "udp", addr.String())
		if err != nil {
			return nil, fmt.Errorf("listening on %s: %w", addr, err)
		}
		u := c.(*net.UDPConn)
		_ = u.SetReadBuffer(readBuffer)
		own, err := newSocket(u)
		if err != nil {
			return nil, err
		}
		s.udp = append(s.udp, udpSocket{own, s})
	}
	return s, nil
}

// Addr returns the address that is listened on, with its port.
func (s *Sockets) Addr() netip.AddrPort {
	a := s.tcp.Addr().(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// stopReads ends the reading; answers can still leave by UDP.
func (s *Sockets) stopReads() {
	_ = s.tcp.Close()
	for _, c := range s.udp {
		c.stopReads()
	}
}

// Close closes the sockets. Serve does that by itself.
func (s *Sockets) Close() {
	s.once.Do(func() {
		if s.tcp != nil {
			_ = s.tcp.Close()
		}
		for _, c := range s.udp {
			c.close()
		}
	})
}
