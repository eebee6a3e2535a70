package dnsfilter

import (
	"context"
	"net/netip"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/dnsfilter/wire"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/distinct"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/dnsserver"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/fair"
)

// Fast is the fast path alone: its answer, and whether it took the packet.
func (s *Server) Fast(pkt []byte, client netip.AddrPort, now time.Time, tcp bool) ([]byte, bool) {
	var x exchange
	if !x.decideFast(s, pkt, client, now, tcp) {
		return nil, false
	}
	var err error
	if x.recorded() {
		err = s.record([]*audit.Event{&x.Event})
	}
	return s.answer(&x, pkt, err, nil), true
}

// Slow is the slow path alone, for what the cache lacks too.
func (s *Server) Slow(pkt []byte, client netip.AddrPort, now time.Time, tcp bool) []byte {
	q := &question{server: s}
	q.x.question = q
	return q.x.answerSlow(context.Background(), s, pkt, client, now, tcp)
}

// Loop is the way of a packet as the readers of sockets take it, with memory
// that is used again.
type Loop struct {
	s       *Server
	handle  dnsserver.Handler
	packets [1]dnsserver.Packet
	out     []byte
	waits   func(context.Context) []byte              // of a question that waits
	later   func(answer func(context.Context) []byte) // bound once: a method value allocates
}

// NewLoop returns one that has used no memory yet.
func (s *Server) NewLoop() *Loop {
	l := &Loop{s: s, handle: s.newHandler(), out: make([]byte, 0, wire.MaxUDP)}
	l.later = func(answer func(context.Context) []byte) { l.waits = answer }
	return l
}

// Handle returns the answer to a packet, nil for silence. It is valid until the
// next call.
func (l *Loop) Handle(pkt []byte, client netip.AddrPort, tcp bool) []byte {
	if !l.s.server.Eligible(pkt, client.Addr()) {
		return nil
	}
	l.waits = nil
	l.packets[0] = dnsserver.Packet{Data: pkt, Client: client, TCP: tcp, Answer: l.out, Later: l.later}
	l.handle(l.packets[:])
	if l.waits != nil {
		return l.waits(context.Background())
	}
	return l.packets[0].Answer
}

// Deliver gives a packet to a handler of its own as a reader of UDP does, and calls
// answered with the answer, nil for silence, at once or later.
func (s *Server) Deliver(pkt []byte, client netip.AddrPort, answered func([]byte)) {
	later := false
	packets := []dnsserver.Packet{{Data: pkt, Client: client, Later: func(answer func(context.Context) []byte) {
		later = true
		go func() { answered(answer(context.Background())) }()
	}}}
	s.newHandler()(packets)
	if !later {
		answered(packets[0].Answer)
	}
}

// Holds returns how many places are taken, and of how many callers there is something.
func (s *Server) Holds() (places, callers int) {
	return s.pending.Taken() + s.refusals.Taken(), s.pending.Callers() + s.refusals.Callers()
}

// RememberNames fills the memory for distinct names, so that there is no room.
func (s *Server) RememberNames() {
	s.opt.Names = distinct.New(distinct.Options{Most: 1})
	s.opt.Names.Allow(fair.Caller{}, "", "", time.Now())
}
