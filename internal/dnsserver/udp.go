package dnsserver

import (
	"context"
	"errors"
	"net"
	"os"
)

const (
	// maxQuestion is the largest packet that is taken for a question; real ones
	// are under 400 bytes, with padding under 600.
	maxQuestion = 2048
	// replyBytes is the room for an answer over UDP: what fits every path
	// unfragmented.
	replyBytes = 1232
)

// udpSocket is one UDP socket and who still writes to it.
type udpSocket struct {
	*socket
	socks *Sockets
}

// udpReader has the packets of one read answered. It is for one goroutine and is
// used again.
type udpReader struct {
	server  *Server
	batch   *batch
	handle  Handler
	packets []Packet
	places  [batchSize]int // of each packet: where it is in the batch
	later   [batchSize]func(func(context.Context) []byte)
}

// readUDP is the goroutine that reads one socket. It ends when the reads are
// stopped.
func (s *Server) readUDP(c udpSocket, errs chan<- error) {
	errs <- s.serveUDP(c)
}

// serveUDP reads one socket, many packets to a system call, and starts a
// goroutine for each question that waits.
func (s *Server) serveUDP(c udpSocket) error {
	b, err := newBatch(c.socket)
	if err != nil {
		return err
	}
	r := &udpReader{server: s, batch: b, handle: s.opt.NewHandler()}
	for i := range r.later {
		r.later[i] = func(answer func(context.Context) []byte) {
			c.socks.pending.Add(1)
			go s.answerUDP(c, b.origin(i), answer)
		}
	}
	for {
		n, err := b.read()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed):
			return nil
		case err != nil && !transient(err):
			return err
		}
		r.serve(n)
	}
}

// serve has the n packets of one read answered together.
func (r *udpReader) serve(n int) {
	r.packets = r.packets[:0]
	for i := range n {
		data, client, whole := r.batch.packet(i)
		if !whole {
			r.server.metrics.countDropped(causeTruncated)
			continue
		}
		if r.server.Eligible(data, client.Addr()) {
			r.places[len(r.packets)] = i
			r.packets = append(r.packets, Packet{Data: data, Client: client, Answer: r.batch.buffer(i), Later: r.later[i]})
		}
	}
	if len(r.packets) == 0 {
		return
	}
	r.handle(r.packets)
	for k := range r.packets {
		r.batch.reply(r.places[k], r.packets[k].Answer)
	}
	r.batch.flush()
}

// answerUDP is the goroutine of a question that waits.
func (s *Server) answerUDP(c udpSocket, to *origin, answer func(context.Context) []byte) {
	defer c.socks.pending.Done()
	if reply := answer(s.base); len(reply) > 0 {
		c.write(reply, to)
	}
}
