// Package dnsserver reads DNS questions from sockets and sends the answers: UDP,
// many packets to a system call, and TCP, with PROXY protocol headers.
//
// What it does: it drops what comes from elsewhere than the clients, what is a
// response and what has no header, gives all else to a Handler, the packets of
// one read of a socket together, and sends what that answers, at once or later.
// It bounds connections and their time, and ends in order.
//
// What it does not do: it reads only the header of a packet, knows neither names
// nor policies, and recovers no panics.
//
//	s := dnsserver.New(dnsserver.Options{NewHandler: newHandler, Clients: clients})
//	socks, err := dnsserver.Listen(ctx, addr, 0)
//	err = s.Serve(socks) // until Shutdown
package dnsserver

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/fair"
)

// headerLen is the length of a message's header (RFC 1035, section 4.1.1), and
// bitQR its bit, in the third byte, that says that it is a response.
const (
	headerLen = 12
	bitQR     = 0x80
)

// Packet is a question on its way to its answer.
type Packet struct {
	// Data is the question, of a whole header at least. It is valid until the
	// handler returns.
	Data []byte
	// Client is who asks: over TCP as the PROXY header says, where there is one.
	Client netip.AddrPort
	// TCP: it came over TCP, and so does its answer.
	TCP bool
	// Answer is empty, with room to append to; what the handler leaves there is
	// sent. Still empty: there is no answer, or not yet.
	Answer []byte
	// Later has a goroutine call answer and send what it returns; nothing: no
	// answer. It may wait for a place first, where a connection has many such
	// questions already. The context ends when Shutdown gives up.
	Later func(answer func(context.Context) []byte)
}

// Handler answers packets that came together. It is called by one goroutine, must
// not wait, and keeps nothing of the packets.
type Handler func(packets []Packet)

// Options is what a Server is made of. NewHandler is required.
type Options struct {
	// NewHandler returns a handler for one reader: a UDP socket, or a TCP
	// connection.
	NewHandler func() Handler

	// Clients are the addresses that may ask at all; others get no answer.
	// Empty: nobody.
	Clients []netip.Prefix
	// ProxyProtocolFrom are the load balancers: a TCP connection from there
	// must begin with a PROXY protocol header, from elsewhere it must not.
	// Empty: nobody.
	ProxyProtocolFrom []netip.Prefix

	Conns    int           // bounds the TCP connections, of which one source may have a quarter; zero or less: 4,096
	ConnIdle time.Duration // for a whole question, and for taking an answer; zero or less: 8 s

	Registerer prometheus.Registerer // takes the metrics; nil: they are not registered
	Logger     *slog.Logger          // operational messages; nil discards them
}

// Server serves sockets. Make one with New; its methods may be called from many
// goroutines.
type Server struct {
	opt      Options
	log      *slog.Logger
	metrics  *metrics
	conns    connections
	crowding fair.CrowdingLog

	base context.Context // ends when Shutdown gives up
	stop context.CancelFunc

	mu      sync.Mutex
	closing bool
	socks   map[*Sockets]struct{}
	working sync.WaitGroup // readers, connections and questions in flight
}

// New makes a Server of the options.
func New(o Options) *Server {
	o.ConnIdle = cmp.Or(max(0, o.ConnIdle), 8*time.Second)
	s := &Server{opt: o, log: o.Logger, metrics: newMetrics(o.Registerer), socks: map[*Sockets]struct{}{}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.conns.init(cmp.Or(max(0, o.Conns), 4096))
	s.conns.places.Measure(o.Registerer, "dns_connections")
	s.crowding.Row, s.crowding.Log = "dns_connections", s.log
	s.base, s.stop = context.WithCancel(context.Background())
	return s
}

// Serve answers what comes in on the sockets until Shutdown closes them; then
// it returns nil. An error is one of a socket that retrying does not cure; all
// sockets are closed then. It takes the sockets over.
func (s *Server) Serve(socks *Sockets) error {
	defer socks.Close()
	if !s.add(socks) {
		return nil
	}
	defer s.remove(socks)
	readers := len(socks.udp) + 1
	errs := make(chan error, readers)
	for _, c := range socks.udp {
		go s.readUDP(c, errs)
	}
	go s.acceptTCP(socks.tcp, errs)
	var first error
	for range readers {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
		socks.stopReads()
	}
	socks.pending.Wait()
	return first
}

// add adds sockets to those that Shutdown closes; false: it has been called.
func (s *Server) add(socks *Sockets) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.socks[socks] = struct{}{}
	s.working.Add(1)
	return true
}

// remove takes them out.
func (s *Server) remove(socks *Sockets) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.socks, socks)
	s.working.Done()
}

// begin counts work that Shutdown waits for; false: it is too late.
func (s *Server) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.working.Add(1)
	return true
}

// Shutdown stops taking questions, waits until those in flight are answered or
// ctx ends, then gives the rest up. It returns when the last goroutine has
// ended; Serve has then let go of its sockets.
func (s *Server) Shutdown(ctx context.Context) {
	s.mu.Lock()
	s.closing = true
	for socks := range s.socks {
		socks.stopReads()
	}
	s.mu.Unlock()
	s.conns.drain()
	defer context.AfterFunc(ctx, func() {
		s.stop()
		s.conns.close()
	})()
	s.working.Wait()
	s.stop()
}

// Eligible reports whether a packet from that client is worth an answer, and counts
// it where it is not. Nothing is answered to who may not ask, and nothing to a
// response, so that two servers cannot keep each other busy.
func (s *Server) Eligible(pkt []byte, client netip.Addr) bool {
	switch {
	case !contains(s.opt.Clients, client):
		s.metrics.countDropped(causeClient)
	case len(pkt) < headerLen:
		s.metrics.countDropped(causeShort)
	case pkt[2]&bitQR != 0:
		s.metrics.countDropped(causeResponse)
	default:
		return true
	}
	return false
}

// contains reports whether the address is in one of the prefixes.
func contains(prefixes []netip.Prefix, a netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
