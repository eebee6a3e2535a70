package proxy

import (
	"crypto/tls"
	"errors"
	"net/http"
	"runtime"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/clientconn"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/exchange"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/forward"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/gate"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/httphead"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// session is one client connection and the request on it, as one goroutine serves them.
type session struct {
	*clientconn.Conn
	server  *Server
	plain   *forward.Client
	current *exchange.Exchange // the request that is being served; nil: none yet
}

// serveConn serves a connection to its end, or until it becomes a tunnel.
func (s *Server) serveConn(conn *clientconn.Conn, tlsConfig *tls.Config) {
	c := &session{Conn: conn, server: s, plain: s.plain.Client()}
	defer s.shared.Finish(conn, &c.current)
	defer c.plain.Close()
	growStack()
	if reason, ok := c.ReadPreamble(tlsConfig); !ok {
		c.recordSilentRefusal(reason)
		return
	}
	for c.serveRequest() {
		c.AwaitNext()
	}
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

// recordSilentRefusal records a connection that is closed without an answer because
// its PROXY header is missing or wrong, or its certificate does not hold.
func (c *session) recordSilentRefusal(r verdict.Reason) {
	if r == verdict.ReasonNone || !c.Unlist() {
		return
	}
	x := c.server.shared.Begin(c.Conn, gate.Plain, &httphead.Head{})
	// The connection ends in any case; Record counts what it cannot write, and may wait
	// for a second.
	c.Free()
	c.Identified()
	_ = x.Record(audit.Refused, verdict.Deny, r)
}

// serveRequest serves one request. It returns whether another may follow.
func (c *session) serveRequest() (again bool) {
	raw, err := c.ReadHead()
	if !c.Unlist() {
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
	x := c.server.shared.Begin(c.Conn, front, h)
	c.current = x
	if front == gate.Connect {
		c.server.serveConnect(x)
		return false
	}
	if !c.plain.Serve(x) {
		return false
	}
	c.current = nil // the next request may be a minute away
	x.Recycle()
	return true
}

// refuseHead refuses a request whose head is malformed, as far as it was understood.
func (c *session) refuseHead(h *httphead.Head, err error) {
	x := c.server.shared.Begin(c.Conn, gate.Plain, h)
	c.current = x
	x.Refuse(verdict.ReasonBadRequest, err)
	x.SendRefusal()
}
