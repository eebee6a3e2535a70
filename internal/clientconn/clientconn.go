// Package clientconn is a client's connection until it is closed or becomes a tunnel.
//
// What it does: it counts connections before they are accepted, reads the PROXY
// protocol header of a load balancer, shakes hands where the listener speaks TLS, reads
// the head of a request within its time and size, and ends a connection so that its
// client can read the last reply. Who has not said who it is, and who lingers behind
// a reply, holds a share by source or function and no more (package admission).
//
// What it does not do: it decides nothing, parses no head, and records nothing: what is
// wrong before the first request is told to the caller.
//
//	set := clientconn.NewSet(options)
//	if set.Acquire(stop) {
//		raw, err := ln.Accept()
//		…
//		c := set.Add(raw)
//		defer c.Finish()
//		reason, ok := c.ReadPreamble(tlsConfig)
//		head, err := c.ReadHead()
package clientconn

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/admission"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/capacity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
)

// Options is what a Set is made of. All but ProxyProtocolFrom is required.
type Options struct {
	HeaderTimeout time.Duration // from accept to the end of a head
	HeaderBytes   int           // of a head
	// ProxyProtocolFrom are the load balancers: a connection from there must begin with
	// a PROXY protocol header.
	ProxyProtocolFrom []netip.Prefix
	Resources         capacity.Limits
	Excess            *admission.Excess // is told who is over its share
	// Base ends when connections are to end.
	Base context.Context

	Evicted        prometheus.Counter // counts those that lost their place before they said anything
	LingererClosed prometheus.Counter // those that were cut behind their last reply
	Handshaken     func(Handshake)    // is told of each handshake of TLS
}

// Set is the connections of one server. Safe for concurrent use.
type Set struct {
	opt       Options
	conns     *admission.Connections
	preAuth   admission.PreAuthLimiter // those whose caller is not known, by source
	lingering admission.Lingering
	lingerFor atomic.Int64 // a time.Duration: lingerTime, but in tests
	buffers   sync.Pool    // *[]byte of HeadBuffer, for heads and hellos

	idleBuffers sync.Pool // *[]byte of idleBuffer, for connections that wait for their next request

	mu      sync.Mutex
	closed  bool
	open    map[*Conn]struct{} // not yet tunnels
	serving sync.WaitGroup
}

// NewSet returns a set without connections.
func NewSet(o Options) *Set {
	s := &Set{
		opt:   o,
		conns: admission.NewConnections(o.Resources.Connections, o.Resources.PreAuth),
		open:  map[*Conn]struct{}{},
	}
	s.conns.Limiter = &s.preAuth
	s.preAuth.Init(o.Resources.PreAuth, o.Excess)
	s.lingering.Init(o.Resources.Connections, o.Excess)
	s.lingerFor.Store(int64(lingerTime))
	s.buffers.New = func() any { b := make([]byte, 0, HeadBuffer); return &b }
	s.idleBuffers.New = func() any { b := make([]byte, 0, idleBuffer); return &b }
	return s
}

// Acquire takes the places that a connection needs before it is accepted, and waits
// for them; false: stop was closed first. Beyond the limits new connections wait in the
// kernel's listen queue and cost nothing here.
func (s *Set) Acquire(stop <-chan struct{}) bool { return s.conns.Acquire(stop) }

// TryAcquire is Acquire without waiting.
func (s *Set) TryAcquire() bool { return s.conns.TryAcquire() }

// MakeRoom ends a connection that has not said anything where there is no room for
// another one, the oldest of the source that has most, and reports whether one has to go.
func (s *Set) MakeRoom() bool { return s.conns.MakeRoom() }

// Return gives back what Acquire took, where no connection came of it.
func (s *Set) Return() {
	s.conns.ReleasePreAuth()
	s.conns.Release()
}

// Release gives the place of a connection back, at the end of the tunnel that took it.
func (s *Set) Release() { s.conns.Release() }

// Len returns how many places are taken.
func (s *Set) Len() int { return s.conns.Len() }

// PreAuth returns how many of them are by connections that have not shown who they are.
func (s *Set) PreAuth() int { return s.conns.PreAuth() }

// PreAuthShare returns how many of those one source may have.
func (s *Set) PreAuthShare() int { return s.preAuth.Share() }

// PreAuthSources returns how many sources have any.
func (s *Set) PreAuthSources() int { return s.preAuth.Sources() }

// Add makes a connection of what was accepted. Where Close has been called it closes it
// and returns nil.
func (s *Set) Add(raw net.Conn) *Conn {
	c := &Conn{Conn: raw, raw: raw, set: s, preAuth: true}
	c.stream.Init(raw)
	if peer, ok := raw.RemoteAddr().(*net.TCPAddr); ok {
		ap := peer.AddrPort()
		c.Client = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
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

// AddSocket makes a connection of a socket that an event loop has accepted and that
// evict ends; Attach brings a net.Conn for it. Nil: Close has been called.
func (s *Set) AddSocket(from netip.AddrPort) *Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.serving.Add(1)
	return &Conn{set: s, Client: from, preAuth: true}
}

// track takes a connection that has been counted already into those that Close closes;
// false: Close has been called.
func (s *Set) track(c *Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[c] = struct{}{}
	return !s.closed
}

// untrack takes a connection out, at its end or when a tunnel takes it over.
func (s *Set) untrack(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
}

// Closed reports whether Close has been called.
func (s *Set) Closed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// Close closes every connection that is not a tunnel, and those that come.
func (s *Set) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for c := range s.open {
		// A deadline would not do: whoever serves the connection sets its own.
		_ = c.raw.Close()
	}
}

// CloseWaiting closes the connections that wait for their next request and whose client
// certificate does not hold any more, by the table now in force.
func (s *Set) CloseWaiting(t *identity.Table, now time.Time) {
	for _, c := range s.certified() {
		if !c.Chain.Valid(t, now) {
			_ = c.raw.Close()
		}
	}
}

// certified returns the connections that wait for their next request and have shown a
// certificate.
func (s *Set) certified() (all []*Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		if c.quiet.Load() && c.Chain != nil {
			all = append(all, c)
		}
	}
	return all
}

// Wait returns when nobody serves a connection any more.
func (s *Set) Wait() { s.serving.Wait() }
