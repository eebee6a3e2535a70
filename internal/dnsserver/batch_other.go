//go:build !linux

package dnsserver

import (
	"net"
	"net/netip"
	"syscall"
)

// batchSize is how many packets one read brings.
const batchSize = 1

// maxSockets is one: elsewhere sockets that share an address do not share its load.
const maxSockets = 1

// reusePort does nothing: one socket needs none.
func reusePort(string, string, syscall.RawConn) error { return nil }

// batch reads and writes one packet at a time.
type batch struct {
	c      *net.UDPConn
	buf    [maxQuestion + 1]byte
	out    [replyBytes]byte
	n      int
	from   netip.AddrPort
	answer []byte
}

func newBatch(s *socket) (*batch, error) { return &batch{c: s.c}, nil }

// read waits for a packet.
func (b *batch) read() (int, error) {
	b.answer = nil
	n, from, err := b.c.ReadFromUDPAddrPort(b.buf[:])
	if err != nil {
		return 0, err
	}
	b.n, b.from = n, from
	return 1, nil
}

// packet returns the packet, who sent it, and whether it is all there.
func (b *batch) packet(int) (pkt []byte, from netip.AddrPort, whole bool) {
	return b.buf[:b.n], netip.AddrPortFrom(b.from.Addr().Unmap(), b.from.Port()), b.n <= maxQuestion
}

// buffer returns the empty buffer for the answer.
func (b *batch) buffer(int) []byte { return b.out[:0] }

// origin returns where the answer goes.
func (b *batch) origin(int) *origin { return &origin{b.from} }

// reply queues the answer.
func (b *batch) reply(_ int, answer []byte) { b.answer = answer }

// flush sends the answer; a client that cannot be reached asks again or is gone.
func (b *batch) flush() {
	if len(b.answer) > 0 {
		_, _ = b.c.WriteToUDPAddrPort(b.answer, b.from)
	}
}

// transient reports whether an error of the socket may be about one packet.
func transient(error) bool { return false }
