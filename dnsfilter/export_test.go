package dnsfilter

import (
	"net/netip"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
)

// Fast is the fast path alone: its answer, and whether it took the packet.
func (s *Server) Fast(pkt []byte, client netip.AddrPort, now time.Time, tcp bool) ([]byte, bool) {
	var x exchange
	if !x.decideFast(s, pkt, client, now, tcp) {
		return nil, false
	}
	var err error
	if x.recorded() {
		err = s.record([]*audit.Event{&x.event})
	}
	return s.answer(&x, pkt, err, nil), true
}

// Slow is the slow path alone, for what the cache lacks too.
func (s *Server) Slow(pkt []byte, client netip.AddrPort, now time.Time, tcp bool) []byte {
	var x exchange
	return x.answerSlow(s.base, s, pkt, client, now, tcp)
}

// Loop is the way of a packet as the readers of sockets take it, with memory
// that is used again.
type Loop struct {
	s   *Server
	x   exchange
	out []byte
}

// NewLoop returns one that has used no memory yet.
func (s *Server) NewLoop() *Loop { return &Loop{s: s, out: make([]byte, 0, replyRoom)} }

// Handle returns the answer to a packet, nil for silence. It is valid until the
// next call.
func (l *Loop) Handle(pkt []byte, client netip.AddrPort, tcp bool) []byte {
	reply, o := l.s.handleFast(&l.x, pkt, client, time.Now(), tcp, l.out)
	switch o {
	case decided:
		return reply
	case pending:
		x, own := l.x.handOver(pkt)
		return l.s.handlePending(x, own, client, tcp)
	default:
		return nil
	}
}

// RememberNames fills the memory for distinct names, so that there is no room.
func (s *Server) RememberNames() { s.names.names = maxDistinct }
