package dnsfilter

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pires/go-proxyproto"
)

// connFlights is how many questions of one connection may wait at a time; the
// next one is read when one of them is answered.
const connFlights = 32

// conn is one TCP connection. One goroutine reads it; answers that wait come
// from others, in any order (RFC 7766, section 6.2.1.1).
type conn struct {
	net.Conn
	server *Server
	client netip.AddrPort // as the PROXY header says, else the peer
	in     *bufio.Reader

	writing sync.Mutex
	flights sync.WaitGroup
	tokens  chan struct{}
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

// admit starts serving a connection, or closes it where a limit is met.
func (s *Server) admit(raw net.Conn) {
	c := &conn{Conn: raw, server: s, in: bufio.NewReaderSize(raw, 512), tokens: make(chan struct{}, connFlights)}
	if peer, ok := raw.RemoteAddr().(*net.TCPAddr); ok {
		ap := peer.AddrPort()
		c.client = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	switch {
	case !s.conns.enter(raw):
		s.metrics.refused.WithLabelValues(causeTotal).Inc()
		_ = raw.Close()
	case !s.work():
		s.conns.leave(raw)
		_ = raw.Close()
	default:
		s.metrics.conns.Inc()
		go c.serve()
	}
}

// serve serves a connection to its end.
func (c *conn) serve() {
	s := c.server
	defer func() {
		c.flights.Wait()
		_ = c.Close()
		s.conns.leave(c.Conn)
		s.metrics.conns.Dec()
		s.working.Done()
	}()
	if !c.setDeadline() || !c.readPreamble() {
		return
	}
	if !s.conns.claim(c.client.Addr()) {
		s.metrics.refused.WithLabelValues(causePerClient).Inc()
		return
	}
	defer s.conns.release(c.client.Addr())
	var x exchange
	for c.serveQuestion(&x) && c.setDeadline() {
	}
}

// setDeadline sets the deadline for the next question. It returns false where the server
// takes no more.
func (c *conn) setDeadline() bool {
	_ = c.SetReadDeadline(time.Now().Add(c.server.opt.Limits.ConnIdle))
	return !c.server.conns.hurried.Load()
}

// readPreamble finds out who the client is and whether it may ask.
func (c *conn) readPreamble() bool {
	s := c.server
	if fromBalancer(s.opt.ProxyProtocolFrom, c.client.Addr()) {
		if err := c.readProxyHeader(); err != nil {
			s.metrics.drop(causeProxy)
			return false
		}
	}
	if !s.mayAsk(c.client.Addr()) {
		s.metrics.drop(causeClient)
		return false
	}
	return true
}

// fromBalancer reports whether a PROXY header is to be expected.
func fromBalancer(balancers []netip.Prefix, a netip.Addr) bool {
	for _, p := range balancers {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// readProxyHeader reads the PROXY protocol header that a load balancer must
// send. A LOCAL one, of a health check, leaves the peer's own address.
func (c *conn) readProxyHeader() error {
	h, err := proxyproto.Read(c.in)
	if err != nil {
		return fmt.Errorf("reading the PROXY header: %w", err)
	}
	if h.Command.IsLocal() {
		return nil
	}
	source, _, ok := h.TCPAddrs()
	if !ok {
		return fmt.Errorf("reading the PROXY header: %w", proxyproto.ErrUnsupportedAddressFamilyAndProtocol)
	}
	ap := source.AddrPort()
	c.client = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	return nil
}

// serveQuestion reads one question and answers it, or starts the goroutine that
// does. It returns whether another may follow. The deadline is for the whole
// question, however slowly its bytes come.
func (c *conn) serveQuestion(x *exchange) bool {
	var prefix [2]byte
	if _, err := io.ReadFull(c.in, prefix[:]); err != nil {
		return false
	}
	size := int(binary.BigEndian.Uint16(prefix[:]))
	if size > maxQuestion || size < headerLen {
		c.server.metrics.drop(map[bool]string{true: causeShort, false: causeTruncated}[size < headerLen])
		return false
	}
	var room [maxQuestion]byte
	pkt := room[:size]
	if _, err := io.ReadFull(c.in, pkt); err != nil {
		return false
	}
	reply, o := c.server.handleFast(x, pkt, c.client, time.Now(), true, make([]byte, 0, plainUDP))
	switch o {
	case decided:
		return c.answer(reply)
	case pending:
		c.tokens <- struct{}{}
		c.flights.Add(1)
		go c.do(x.handOver(pkt))
	}
	return true
}

// do is the goroutine of a question that waits.
func (c *conn) do(x *exchange, pkt []byte) {
	defer func() {
		<-c.tokens
		c.flights.Done()
	}()
	if reply := c.server.handlePending(x, pkt, c.client, true); len(reply) > 0 {
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
	_ = c.SetWriteDeadline(time.Now().Add(c.server.opt.Limits.ConnIdle))
	if _, err := c.Write(framed); err != nil {
		_ = c.Close()
		return false
	}
	return true
}

// connections are the open ones, in all and by client.
type connections struct {
	hurried atomic.Bool // no more questions are read

	mu        sync.Mutex
	most      int
	perClient int
	open      map[net.Conn]struct{}
	clients   map[netip.Addr]int
}

// init sets the limits.
func (c *connections) init(most, perClient int) {
	c.most, c.perClient = most, perClient
	c.open, c.clients = map[net.Conn]struct{}{}, map[netip.Addr]int{}
}

// enter takes a connection in; false: there are too many.
func (c *connections) enter(raw net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) >= c.most {
		return false
	}
	c.open[raw] = struct{}{}
	return true
}

// leave takes it out.
func (c *connections) leave(raw net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, raw)
}

// claim gives a connection to a client; false: it has too many.
func (c *connections) claim(client netip.Addr) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.clients[client] >= c.perClient {
		return false
	}
	c.clients[client]++
	return true
}

// release takes it back.
func (c *connections) release(client netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.clients[client]--; c.clients[client] == 0 {
		delete(c.clients, client)
	}
}

// drain ends the reading of all connections.
func (c *connections) drain() {
	c.hurried.Store(true)
	c.mu.Lock()
	defer c.mu.Unlock()
	for raw := range c.open {
		_ = raw.SetReadDeadline(time.Unix(1, 0))
	}
}

// close closes all connections.
func (c *connections) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for raw := range c.open {
		_ = raw.Close()
	}
}
