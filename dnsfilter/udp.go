package dnsfilter

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
)

const (
	// maxQuestion is the largest packet that is taken for a question; real ones
	// are under 400 bytes, with padding under 600.
	maxQuestion = 2048
	// replyRoom is the room for an answer over UDP.
	replyRoom = ourUDP
)

// udpSocket is one UDP socket and who still writes to it.
type udpSocket struct {
	*socket
	socks *Sockets
}

// group is the packets of one read on their way to their answers. It is for one
// goroutine and is used again.
type group struct {
	exchanges [batchSize]exchange
	outcomes  [batchSize]outcome
	events    []*audit.Event // of those that are recorded
}

// readUDP is the goroutine that reads one socket: it answers what needs no
// waiting itself, many packets to a system call, and starts a goroutine for
// each question that waits. It ends when the reads are stopped.
func (s *Server) readUDP(c udpSocket, errs chan<- error) {
	errs <- s.serveUDP(c)
}

func (s *Server) serveUDP(c udpSocket) error {
	b, err := newBatch(c.socket)
	if err != nil {
		return err
	}
	g := &group{}
	for {
		n, err := b.read()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed):
			return nil
		case err != nil && !transient(err):
			return err
		}
		s.serveGroup(c, b, g, n, time.Now())
	}
}

// serveGroup answers n packets: it decides all of them, then writes the records
// of all by one write, and only then answers.
func (s *Server) serveGroup(c udpSocket, b *batch, g *group, n int, now time.Time) {
	g.events = g.events[:0]
	for i := range n {
		x := &g.exchanges[i]
		g.outcomes[i] = s.decidePacket(c, b, i, x, now)
		if g.outcomes[i] == decided && x.recorded() {
			g.events = append(g.events, &x.event)
		}
	}
	err := s.record(g.events)
	for i := range n {
		if g.outcomes[i] == decided {
			pkt, _, _ := b.packet(i)
			b.reply(i, s.answer(&g.exchanges[i], pkt, err, b.room(i)))
		}
	}
	b.flush()
}

// decidePacket decides packet i of a batch, or starts the goroutine that
// answers it.
func (s *Server) decidePacket(c udpSocket, b *batch, i int, x *exchange, now time.Time) outcome {
	pkt, client, whole := b.packet(i)
	if !whole {
		s.metrics.drop(causeTruncated)
		return drop
	}
	o := s.decide(x, pkt, client, now, false)
	if o == pending {
		c.socks.flights.Add(1)
		waiting, own := x.handOver(pkt)
		go s.doUDP(c, waiting, own, client, b.origin(i))
	}
	return o
}

// doUDP is the goroutine of a question that waits.
func (s *Server) doUDP(c udpSocket, x *exchange, pkt []byte, client netip.AddrPort, to *origin) {
	defer c.socks.flights.Done()
	if reply := s.handlePending(x, pkt, client, false); len(reply) > 0 {
		c.write(reply, to)
	}
}
