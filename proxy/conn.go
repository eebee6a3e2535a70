package proxy

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/admission"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/gate"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/httphead"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

const (
	// headBuffer is the room that a head gets at first; nearly all fit.
	headBuffer = 4 << 10
	// keepAlive is how long a plain HTTP connection may wait for its next request.
	keepAlive = 60 * time.Second
)

// conn is one client connection until it is closed or becomes a tunnel. One
// goroutine serves it.
type conn struct {
	net.Conn // what requests are read from: TCP, or TLS over it

	raw         net.Conn // as it was accepted; the one field that others than its goroutine use
	server      *Server
	client      netip.AddrPort // as the PROXY header says, else the peer
	certificate []string       // names of the verified client certificate; nil: none
	buf         *[]byte        // pooled; what has been read and not been consumed; nil: nothing
	preAuth     bool           // its caller is not known, and it holds a place for that
	entry       admission.PreAuthEntry
	listed      bool        // has an entry among those of its source, or had one until it was evicted
	balanced    bool        // its PROXY header has been read
	onLoop      *connectOp  // began on an event loop; nil: by a goroutine
	idle        bool        // holds one of server.keepAlive
	reused      bool        // a request has been served on it
	current     *exchange   // the request that is being served; nil: none yet
	own         *ownOrigins // connections to origins that are this one's alone; nil: none
	taken       bool        // a tunnel owns the connection now
}

// Read reads what was buffered first, then from the connection.
func (c *conn) Read(p []byte) (int, error) {
	if c.buf != nil && len(*c.buf) > 0 {
		n := copy(p, *c.buf)
		c.consume(n)
		return n, nil
	}
	return c.Conn.Read(p)
}

// consume drops the first n bytes of the buffer.
func (c *conn) consume(n int) {
	b := *c.buf
	*c.buf = b[:copy(b, b[n:])]
}

// unread puts bytes back in front of what is buffered.
func (c *conn) unread(b []byte) {
	if len(b) == 0 {
		return
	}
	if c.buf == nil {
		c.buf = c.server.buffers.Get().(*[]byte)
	}
	*c.buf = append(append(make([]byte, 0, len(b)+len(*c.buf)), b...), *c.buf...)
}

// buffered returns what has been read and not been consumed.
func (c *conn) buffered() []byte {
	if c.buf == nil {
		return nil
	}
	return *c.buf
}

// free gives the buffer back to the pool.
func (c *conn) free() {
	if c.buf != nil && cap(*c.buf) == headBuffer {
		*c.buf = (*c.buf)[:0]
		c.server.buffers.Put(c.buf)
	}
	c.buf = nil
}

// identified gives back the place that a connection has until its caller is known.
func (c *conn) identified() {
	if c.preAuth {
		c.preAuth = false
		c.unlist()
		c.server.conns.ReleasePreAuth()
	}
}

// serveConn serves a connection to its end, or until it becomes a tunnel.
func (s *Server) serveConn(c *conn, tlsConfig *tls.Config) {
	defer c.served()
	growStack()
	_ = c.SetReadDeadline(time.Now().Add(s.opt.Limits.HeaderTimeout))
	c.serveRequests(tlsConfig)
}

// serveRequests serves what comes on a connection, from its first byte.
func (c *conn) serveRequests(tlsConfig *tls.Config) {
	if !c.readPreamble(tlsConfig) {
		return
	}
	for c.serveRequest() {
		c.reused = true
		_ = c.SetReadDeadline(time.Now().Add(keepAlive))
	}
}

// served is what is deferred by the goroutine that serves a connection.
func (c *conn) served() {
	if p := recover(); p != nil {
		c.panicked(p)
	}
	c.identified()
	c.free()
	c.own.close()
	if !c.taken {
		_ = c.Close()
		c.server.conns.Release()
	}
	c.releaseKeepAlive()
	c.server.untrack(c)
	c.server.serving.Done()
}

// panicked keeps a bug in serving one connection from ending all others.
func (c *conn) panicked(p any) {
	c.reportPanic(p)
	if c.current != nil && !c.taken {
		c.current.release()
	}
}

// reportPanic counts and logs a panic.
func (c *conn) reportPanic(p any) {
	c.server.metrics.panics.Inc()
	c.server.log.Error("serving a connection panicked; it is closed", "panic", p, "stack", string(debug.Stack()))
}

// growStack makes the goroutine's stack as large as serving a request needs,
// in one step while there is nothing on it: otherwise it is copied three times
// on the way down, frame by frame.
//
//go:noinline
func growStack() {
	var frame [stackBytes]byte
	runtime.KeepAlive(&frame)
}

// stackBytes is what serving a CONNECT takes of the stack, roughly.
const stackBytes = 6 << 10

// readPreamble does what comes before the first request: it reads the PROXY header of
// a load balancer and shakes hands where the listener is TLS.
func (c *conn) readPreamble(tlsConfig *tls.Config) bool {
	// A loop has set it, and others may look at that by now.
	if peer, ok := c.RemoteAddr().(*net.TCPAddr); ok && c.onLoop == nil {
		ap := peer.AddrPort()
		c.client = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	if !c.balanced && c.server.fromBalancer(c.client.Addr()) {
		if err := c.readProxyHeader(); err != nil {
			if !errors.Is(err, errNoByte) {
				c.recordSilentRefusal(verdict.ReasonBadRequest)
			}
			return false
		}
	}
	if !c.listed {
		c.list()
	}
	return tlsConfig == nil || c.handshake(tlsConfig)
}

// handshake makes the connection a TLS one, within the deadline for the head.
// Names are taken from a certificate that was verified, whatever the config
// asks of clients; one that was shown and was not verified names nobody.
func (c *conn) handshake(config *tls.Config) bool {
	// A peer that takes nothing must not hold the handshake either.
	_ = c.SetWriteDeadline(time.Now().Add(c.server.opt.Limits.HeaderTimeout))
	under := c.Conn
	if len(c.buffered()) > 0 {
		under = &replayConn{Conn: c.Conn, ahead: bytes.Clone(c.buffered())}
	}
	c.free()
	tc := tls.Server(under, config)
	if err := tc.HandshakeContext(c.server.base); err != nil {
		var unverified *tls.CertificateVerificationError
		if errors.As(err, &unverified) {
			c.recordSilentRefusal(verdict.ReasonIdentityRejected)
		}
		return false
	}
	_ = c.SetWriteDeadline(time.Time{})
	switch state := tc.ConnectionState(); {
	case len(state.VerifiedChains) > 0:
		c.certificate = identity.CertificateNames(state.VerifiedChains[0][0])
	case len(state.PeerCertificates) > 0:
		c.certificate = []string{}
	}
	c.Conn = tc
	return true
}

// replayConn is the raw connection under TLS, with what the PROXY header's
// reader had read ahead.
type replayConn struct {
	net.Conn
	ahead []byte
}

// Read reads what was read ahead first.
func (r *replayConn) Read(p []byte) (int, error) {
	if len(r.ahead) > 0 {
		n := copy(p, r.ahead)
		r.ahead = r.ahead[n:]
		return n, nil
	}
	return r.Conn.Read(p)
}

// CloseWrite passes the end of the TLS stream on to the socket.
func (r *replayConn) CloseWrite() error {
	if t, ok := r.Conn.(*net.TCPConn); ok {
		return t.CloseWrite()
	}
	return nil
}

// recordSilentRefusal records a connection that is closed without an answer because
// its PROXY header is missing or wrong, or its certificate does not hold.
func (c *conn) recordSilentRefusal(r verdict.Reason) {
	if !c.unlist() {
		return
	}
	x := c.newExchange(gate.Plain, &httphead.Head{})
	// The connection ends in any case; record counts what it cannot write.
	_ = x.record(audit.Refused, verdict.Deny, r)
}

// serveRequest serves one request. It returns whether another may follow.
func (c *conn) serveRequest() (again bool) {
	raw, err := c.readHead()
	if !c.unlist() {
		return false
	}
	if err != nil {
		if errors.Is(err, httphead.ErrTooLarge) || errors.Is(err, httphead.ErrMalformed) {
			c.refuseHead(&httphead.Head{}, err)
		}
		return false
	}
	h, err := httphead.Parse(raw)
	if err != nil {
		c.refuseHead(h, err)
		return false
	}
	front := gate.Plain
	if h.Method == http.MethodConnect {
		front = gate.Connect
	}
	x := c.newExchange(front, h)
	c.current = x
	if front == gate.Connect {
		x.serveConnect()
		return false
	}
	return x.servePlain()
}

// refuseHead refuses a request whose head is malformed, as far as it was understood.
func (c *conn) refuseHead(h *httphead.Head, err error) {
	x := c.newExchange(gate.Plain, h)
	c.current = x
	x.Refuse(verdict.ReasonBadRequest, err)
	x.refuse()
}

// readHead reads until the empty line that ends a head, within the deadline
// that is set and the bytes that are allowed.
func (c *conn) readHead() (string, error) {
	if c.buf == nil {
		c.buf = c.server.buffers.Get().(*[]byte)
	}
	seen := 0
	for {
		b := *c.buf
		if n := httphead.End(b, seen); n > 0 {
			raw := string(b[:n])
			c.consume(n)
			if n > c.server.opt.Limits.HeaderBytes {
				return "", httphead.ErrTooLarge
			}
			return raw, nil
		}
		if len(b) >= c.server.opt.Limits.HeaderBytes {
			return "", httphead.ErrTooLarge
		}
		if httphead.CannotBeHTTP(b, seen) {
			return "", httphead.ErrMalformed
		}
		seen = len(b)
		if len(b) == cap(b) {
			b = append(make([]byte, 0, 2*cap(b)), b...)
			c.free()
			c.buf = &b
		}
		n, err := c.Conn.Read(b[len(b):cap(b)])
		*c.buf = b[:len(b)+n]
		if n == 0 && err != nil {
			return "", err
		}
	}
}

// headStatus maps what is wrong with a head to a status.
func headStatus(err error) (int, bool) {
	switch {
	case errors.Is(err, httphead.ErrTooLarge), errors.Is(err, httphead.ErrTooManyFields):
		return http.StatusRequestHeaderFieldsTooLarge, true
	case errors.Is(err, httphead.ErrVersion):
		return http.StatusHTTPVersionNotSupported, true
	case errors.Is(err, httphead.ErrCoding):
		return http.StatusNotImplemented, true
	case errors.Is(err, httphead.ErrExpectation):
		return http.StatusExpectationFailed, true
	default:
		return 0, false
	}
}
