package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"time"
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
	if s.connect.Serve(ln, tlsConfig) {
		return nil
	}
	for {
		// A connection takes its places before it is accepted: beyond the limits
		// new ones wait in the kernel's listen queue and cost nothing here.
		if !s.shared.Conns.Acquire(s.shared.Base.Done()) {
			return nil
		}
		raw, err := s.accept(ln)
		if err != nil {
			s.shared.Conns.Return()
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		c := s.shared.Conns.Add(raw)
		if c == nil {
			s.shared.Conns.Return()
			return nil
		}
		s.shared.Conns.MakeRoom()
		_ = c.SetReadDeadline(time.Now().Add(s.shared.Limits.HeaderTimeout))
		go s.serveConn(c, tlsConfig)
	}
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
		s.shared.Log.Warn("accepting a connection failed, retrying", "error", err, "pause", pause)
		select {
		case <-time.After(pause):
		case <-s.shared.Base.Done():
			return nil, net.ErrClosed
		}
	}
}

// Drain makes the server refuse new requests with 503 and waits until the
// open tunnels and requests have ended by themselves, or ctx ends. Listeners
// stay open meanwhile, so that a client which a load balancer still sends here
// is told to try again instead of being reset.
func (s *Server) Drain(ctx context.Context) error {
	s.shared.Draining.Store(true)
	return s.shared.Slots.Wait(ctx)
}

// Close closes the listeners and every connection that is not yet a tunnel,
// and waits for their goroutines. Tunnels end when Run's context does; call
// Close before that, or Run may return ahead of a tunnel that was being set up.
// In either order the log has the last record when both have returned.
func (s *Server) Close() {
	s.shared.Draining.Store(true)
	s.shared.Stop()
	s.mu.Lock()
	s.closed = true
	for l := range s.listeners {
		_ = l.Close()
	}
	s.mu.Unlock()
	s.shared.Conns.Close()
	s.connect.Close()
	s.shared.Conns.Wait()
	s.plain.CloseIdle()
	select {
	case <-s.ran:
		s.connect.WaitForTunnels()
	default:
	}
	s.ends()
}

// ends is called by Run and by Close; with the second of them nothing is left
// that could need a loop.
func (s *Server) ends() {
	if s.ended.Add(1) == 2 {
		s.connect.Stop()
	}
}

// Rejudge judges every open tunnel, and every plain request that is under way, by the
// policy now in force and ends those that it would refuse as revoked. It closes the
// connections that wait for a next request and whose certificate does not hold any more.
// Call it after a change of the policy, and now and then for what expires.
func (s *Server) Rejudge() {
	s.connect.Rejudge()
	s.plain.Rejudge()
	_, identities := s.shared.Policy()
	s.shared.Conns.CloseWaiting(identities, time.Now())
}

// CountBytes counts what open tunnels and answers have moved so far, as what ends does by
// itself. Call it now and then.
func (s *Server) CountBytes() {
	s.connect.CountBytes()
	s.plain.CountBytes()
}

// listensOn reports whether the address is one of the listeners given to Serve.
func (s *Server) listensOn(a netip.AddrPort) bool {
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
