package dnsserver

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/fair"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/proxyheader"
)

// connPending is how many questions of one connection may wait at a time; the
// next one is read when one of them is answered.
const connPending = 32

// plainReply is the room for an answer over TCP to begin with.
const plainReply = 512

// conn is one TCP connection. One goroutine reads it; answers that wait come
// from others, in any order (RFC 7766, section 6.2.1.1).
type conn struct {
	net.Conn
	server *Server
	client netip.AddrPort // as the PROXY header says, else the peer
	in     *bufio.Reader
	place  fair.Place

	writing sync.Mutex
	pending sync.WaitGroup
	tokens  chan struct{}

	handle  Handler
	packets [1]Packet // the question that was read last
}

// acceptTCP is the goroutine that accepts connections until the listener closes.
func (s *Server) acceptTCP(ln *net.TCPListener, errs chan<- error) {
	const longest = time.Second
	for pause := 5 * time.Millisecond; ; {
		raw, err := ln.Accept()
		var temporary interface{ Temporary() bool }
		switch {
		case err == nil:
			pause = 5 * time.Millisecond
			s.admit(raw)
			continue
		case errors.Is(err, net.ErrClosed):
			errs <- nil
			return
		case !errors.As(err, &temporary) || !temporary.Temporary():
			errs <- err
			return
		}
		// Descriptors or memory have run out: what is open will close.
		s.log.Warn("accepting a connection failed, retrying", "error", err, "pause", pause)
		select {
		case <-time.After(pause):
			pause = min(2*pause, longest)
		case <-s.base.Done():
		}
	}
}

// admit starts serving a connection, or closes it where its client has too many that do not
// end.
func (s *Server) admit(raw net.Conn) {
	c := &conn{Conn: raw, server: s, in: bufio.NewReaderSize(raw, 512), tokens: make(chan struct{}, connPending), handle: s.opt.NewHandler()}
	if peer, ok := raw.RemoteAddr().(*net.TCPAddr); ok {
		ap := peer.AddrPort()
		c.client = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	switch {
	case !s.acquire(c):
		_ = raw.Close()
	case !s.begin():
		s.conns.places.Release(&c.place)
		_ = raw.Close()
	default:
		s.conns.add(c)
		s.metrics.conns.Inc()
		go c.serve()
	}
}

// serve serves a connection to its end.
func (c *conn) serve() {
	s := c.server
	defer func() {
		c.pending.Wait()
		_ = c.Close()
		s.conns.remove(c)
		s.metrics.conns.Dec()
		s.working.Done()
	}()
	if !c.setDeadline() || !c.readPreamble() {
		return
	}
	for c.serveQuestion() && c.setDeadline() {
	}
}

// setDeadline sets the deadline for the next question. It returns false where the server
// takes no more.
func (c *conn) setDeadline() bool {
	_ = c.SetReadDeadline(time.Now().Add(c.server.opt.ConnIdle))
	return !c.server.conns.draining.Load()
}

// readPreamble finds out who the client is and whether it may ask.
func (c *conn) readPreamble() bool {
	s := c.server
	if contains(s.opt.ProxyProtocolFrom, c.client.Addr()) {
		if err := c.readProxyHeader(); err != nil {
			s.metrics.countDropped(causeProxy)
			return false
		}
		// It was the balancer's until now.
		s.conns.places.Release(&c.place)
		if !s.acquire(c) {
			return false
		}
	}
	if !contains(s.opt.Clients, c.client.Addr()) {
		s.metrics.countDropped(causeClient)
		return false
	}
	return true
}

// readProxyHeader reads the PROXY protocol header that a load balancer must
// send. One of the balancer's own connection leaves its address.
func (c *conn) readProxyHeader() error {
	from, err := proxyheader.Read(c.in)
	if err == nil && from.IsValid() {
		c.client = from
	}
	return err
}

// serveQuestion reads one question and answers it, or starts the goroutine that
// does. It returns whether another may follow. The deadline is for the whole
// question, however slowly its bytes come.
func (c *conn) serveQuestion() bool {
	var prefix [2]byte
	if _, err := io.ReadFull(c.in, prefix[:]); err != nil {
		return false
	}
	size := int(binary.BigEndian.Uint16(prefix[:]))
	if size > maxQuestion || size < headerLen {
		c.server.metrics.countDropped(map[bool]string{true: causeShort, false: causeTruncated}[size < headerLen])
		return false
	}
	var buf [maxQuestion]byte
	pkt := buf[:size]
	if _, err := io.ReadFull(c.in, pkt); err != nil {
		return false
	}
	c.server.conns.places.Renew(&c.place) // it is not idle
	if !c.server.Eligible(pkt, c.client.Addr()) {
		return true
	}
	c.packets[0] = Packet{Data: pkt, Client: c.client, TCP: true, Answer: make([]byte, 0, plainReply), Later: c.later}
	c.handle(c.packets[:])
	if reply := c.packets[0].Answer; len(reply) > 0 {
		return c.answer(reply)
	}
	return true
}

// later starts the goroutine of a question that waits, as soon as there is a place
// for it.
func (c *conn) later(answer func(context.Context) []byte) {
	c.tokens <- struct{}{}
	c.pending.Add(1)
	go c.answerLater(answer)
}

// answerLater is that goroutine.
func (c *conn) answerLater(answer func(context.Context) []byte) {
	defer func() {
		<-c.tokens
		c.pending.Done()
	}()
	if reply := answer(c.server.base); len(reply) > 0 {
		c.answer(reply)
	}
}

// answer writes an answer behind its length. A client that does not take it in
// time is cut off.
func (c *conn) answer(reply []byte) bool {
	framed := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(reply)), uint16(len(reply)))
	framed = append(framed, reply...)
	c.writing.Lock()
	defer c.writing.Unlock()
	_ = c.SetWriteDeadline(time.Now().Add(c.server.opt.ConnIdle))
	if _, err := c.Write(framed); err != nil {
		_ = c.Close()
		return false
	}
	return true
}
