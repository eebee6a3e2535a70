package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/tunnel"
)

// Serve accepts connections until the listener is closed, by Shutdown or by
// the caller; then it returns nil. With a tlsConfig the clients speak TLS to
// the proxy; the config must offer http/1.1 alone, because clients that are
// given h2 break. An error is one of the listener that retrying does not cure.
func (s *Server) Serve(ln net.Listener, tlsConfig *tls.Config) error {
	defer ln.Close()
	if !s.listen(ln) {
		return nil
	}
	if s.serveLoops(ln, tlsConfig) {
		return nil
	}
	for {
		// A connection takes its places before it is accepted: beyond the limits
		// new ones wait in the kernel's listen queue and cost nothing here.
		if !s.conns.Acquire(s.base.Done()) {
			return nil
		}
		raw, err := s.accept(ln)
		if err != nil {
			s.giveUp()
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		c := s.newConn(raw)
		if c == nil {
			s.giveUp()
			return nil
		}
		s.conns.MakeRoom()
		go s.serveConn(c, tlsConfig)
	}
}

// giveUp gives back what a connection takes before it is accepted, where none came
// of it.
func (s *Server) giveUp() {
	s.conns.ReleasePreAuth()
	s.conns.Release()
}

// listen takes a listener into the set that Close closes; false: Close has
// been called.
func (s *Server) listen(ln net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.listeners[ln] = struct{}{}
	return true
}

// accept accepts one connection. Where descriptors or memory run out it waits,
// longer each time, and tries again: what is open will close.
func (s *Server) accept(ln net.Listener) (net.Conn, error) {
	const longest = time.Second
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, longest) {
		c, err := ln.Accept()
		if err == nil {
			return c, nil
		}
		var temporary interface{ Temporary() bool }
		if !errors.As(err, &temporary) || !temporary.Temporary() {
			return nil, err
		}
		s.log.Warn("accepting a connection failed, retrying", "error", err, "pause", pause)
		select {
		case <-time.After(pause):
		case <-s.base.Done():
			return nil, net.ErrClosed
		}
	}
}

// newConn takes a connection into the set that Close closes. Where Close has
// been called it closes the connection and returns nil.
func (s *Server) newConn(raw net.Conn) *conn {
	c := &conn{Conn: raw, raw: raw, server: s, preAuth: true}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = raw.Close()
		return nil
	}
	s.open[c] = struct{}{}
	s.serving.Add(1)
	return c
}

// track takes a connection that has been counted already into the set that
// Close closes; false: Close has been called.
func (s *Server) track(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[c] = struct{}{}
	return !s.closed
}

// untrack takes a connection out of the set, at its end or when a tunnel takes
// it over.
func (s *Server) untrack(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
}

// Drain makes the server refuse new requests with 503 and waits until the
// open tunnels and requests have ended by themselves, or ctx ends. Listeners
// stay open meanwhile, so that a client which a load balancer still sends here
// is told to try again instead of being reset.
func (s *Server) Drain(ctx context.Context) error {
	s.draining.Store(true)
	return s.slots.Wait(ctx)
}

// Close closes the listeners and every connection that is not yet a tunnel,
// and waits for their goroutines. Tunnels end when Run's context does; call
// Close before that, or Run may return ahead of a tunnel that was being set up.
// In either order the log has the last record when both have returned.
func (s *Server) Close() {
	s.draining.Store(true)
	s.stop()
	s.mu.Lock()
	s.closed = true
	for l := range s.listeners {
		_ = l.Close()
	}
	for c := range s.open {
		// A deadline would not do: whoever serves the connection sets its own.
		_ = c.raw.Close()
	}
	s.mu.Unlock()
	s.closeLoops()
	s.serving.Wait()
	s.transport.CloseIdleConnections()
	select {
	case <-s.ran:
		_ = s.tunnels.Wait(context.Background())
	default:
	}
	s.ends()
}

// ends is called by Run and by Close; with the second of them nothing is left
// that could need a loop.
func (s *Server) ends() {
	if s.ended.Add(1) == 2 {
		s.stopLoops()
	}
}

// Rejudge judges every open tunnel by the policy now in force and ends those
// that it would refuse as revoked. Call it after a change of the policy, and
// now and then for rules that expire.
func (s *Server) Rejudge() {
	s.tunnels.Each(func(t *tunnel.Tunnel) { s.rejudge(t) })
}

// rejudge ends one tunnel that the policy now in force would refuse.
func (s *Server) rejudge(t *tunnel.Tunnel) {
	x, ok := t.Value().(*exchange)
	if !ok {
		return
	}
	if p, identities := s.opt.Policy(); !x.StillAllowed(p, identities, time.Now()) {
		t.End(tunnel.Revoked)
	}
}

// isSelf reports whether the address is one of our own listeners.
func (s *Server) isSelf(a netip.AddrPort) bool {
	if s.opt.Self != nil && s.opt.Self(a) {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.listeners {
		own, ok := l.Addr().(*net.TCPAddr)
		if !ok || own.Port != int(a.Port()) {
			continue
		}
		ip := own.AddrPort().Addr().Unmap()
		if ip == a.Addr() || ip.IsUnspecified() && a.Addr().IsLoopback() {
			return true
		}
	}
	return false
}
