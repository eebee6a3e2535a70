package connect

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/admission"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egress"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/exchange"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/gate"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hello"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/httphead"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/tunnel"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// established is the answer to a CONNECT that may pass. It has no fields: what
// follows it is the tunnel (RFC 9110, section 9.3.6).
const established = "HTTP/1.1 200 Connection established\r\n\r\n"

// neverBlocks is how much a socket that has just connected takes without
// waiting: less than the smallest send buffer of Linux.
const neverBlocks = 4 << 10

// connectRun drives a CONNECT with a goroutine, from wherever its decision stands.
type connectRun struct {
	*exchange.Exchange
	server *Server
	under  *egress.Inflight // an attempt to dial that an event loop has begun; nil: none
	origin net.Conn         // nil until connected
	open   bool             // the 200 has been sent
	other  bool             // the client's first bytes are no ClientHello
	until  time.Time        // when the ClientHello has to be there
}

// Run walks a CONNECT from the target to the tunnel. When it returns the
// connection is refused and done with, or a tunnel owns it.
func (s *Server) Run(x *exchange.Exchange) { (&connectRun{Exchange: x, server: s}).run() }

// run brings what the decision needs until it is over.
func (r *connectRun) run() {
	// Lookup and dial are bounded together, from the beginning of the exchange, and by the
	// client's patience.
	deadline, cancel := context.WithDeadline(r.server.Base, r.Start.Add(r.server.Limits.DialTimeout))
	defer cancel()
	ctx, end := context.WithCancelCause(deadline)
	defer r.whenGone(ctx, end)()
	for goesOn := true; goesOn; {
		switch r.Advance() {
		case gate.Token:
			r.VerifyToken(ctx)
		case gate.Lookup:
			r.LookupHost(ctx)
		case gate.Dial:
			var reason verdict.Reason
			r.origin, reason = r.Dial(ctx, r.under)
			r.Give(reason)
		case gate.Open:
			goesOn = r.opened()
		case gate.Hello:
			goesOn = r.readHello()
		case gate.Tunnel:
			r.tunnel()
			return
		default:
			r.refused()
			return
		}
	}
}

// goneEvery is how often it is looked whether a client that waits is still there. Who gets
// its answer before is never looked at.
const goneEvery = 250 * time.Millisecond

// whenGone ends a context when the client has gone away: nobody would have what is looked
// up or dialed. What it returns ends that, and the context.
func (r *connectRun) whenGone(ctx context.Context, end context.CancelCauseFunc) (stop func()) {
	client := r.Conn
	var mu sync.Mutex // next may fire before it is set
	var next *time.Timer
	mu.Lock()
	defer mu.Unlock()
	next = time.AfterFunc(goneEvery, func() {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case ctx.Err() != nil:
		case client.Gone():
			end(exchange.ErrClientGone)
		default:
			next.Reset(goneEvery)
		}
	})
	return func() {
		end(nil)
		next.Stop()
	}
}

// opened records the permit and answers 200; false: that is the end. The second time it
// records what was let through of the ClientHello.
func (r *connectRun) opened() bool {
	reason := r.Permit()
	if r.open && reason != verdict.ReasonNone {
		r.abandon(tunnel.Error, 0)
		return false
	}
	r.Give(reason)
	if r.open || reason != verdict.ReasonNone {
		return true
	}
	r.open = true
	r.until = time.Now().Add(r.server.Limits.HelloTimeout)
	if r.Conn.Reused {
		// Replies before this one may still fill the socket's buffer; on a
		// fresh connection these few bytes cannot block.
		_ = r.Conn.SetWriteDeadline(r.until)
	}
	if _, err := io.WriteString(r.Conn.Conn, established); err != nil {
		r.abandon(tunnel.Error, 0)
		return false
	}
	r.Answered()
	return true
}

// readHello reads the client's first bytes and gives them; false: the client has gone.
// Nothing has reached the origin before that.
func (r *connectRun) readHello() bool {
	_ = r.Conn.SetReadDeadline(r.until)
	var h hello.Hello
	var err error
	r.Conn.Rebuffer(func(b []byte) (first []byte) {
		first, h, err = hello.Read(r.HelloReader(), b)
		return first
	})
	r.other = isNotTLS(err)
	var timeout net.Error
	var limit *admission.LimitError
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		r.Give(verdict.ReasonHelloTimeout)
	case errors.As(err, &limit):
		r.Give(limit.Reason)
	case err == nil, errors.Is(err, hello.ErrMissing), errors.Is(err, hello.ErrMismatch), r.other:
		r.GiveHello(h, err)
	default: // an end or a reset
		r.abandon(tunnel.Client, 0)
		return false
	}
	return true
}

// isNotTLS reports whether the first bytes were there and are no ClientHello.
func isNotTLS(err error) bool {
	return errors.Is(err, hello.ErrNotTLS) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF)
}

// refused ends a CONNECT that is refused. Where the tunnel is open its 200 has been sent,
// and the connection ends; a client that speaks HTTP in it is answered there.
func (r *connectRun) refused() {
	if r.origin != nil {
		_ = r.origin.Close()
	}
	if !r.open {
		r.SendRefusal()
		return
	}
	method := ""
	if r.other {
		method = r.readRequestLine()
	}
	r.RefuseTunnel(method)
}

// readRequestLine reads to the end of the first line of what is no ClientHello and returns
// its method, if it is the request line of an HTTP/1.x request. What it reads is let go.
func (r *connectRun) readRequestLine() string {
	var line httphead.RequestLine
	for read := 0; read < r.server.Limits.HeaderBytes; {
		b := r.Conn.Buffered()
		read += len(b)
		state := line.Add(b)
		r.Conn.Consume(len(b))
		if state == httphead.LineHTTP {
			return line.Method()
		}
		if state != httphead.LineOpen {
			break
		}
		n, err := r.Conn.Conn.Read(r.Conn.Unfilled())
		r.Conn.Filled(n)
		if n == 0 && err != nil {
			break
		}
	}
	return ""
}

// tunnel forwards what the client has sent already, and gives both connections to a
// tunnel.
func (r *connectRun) tunnel() {
	_ = r.Conn.SetReadDeadline(r.until)
	sent, err := r.forwardEarly()
	if err != nil {
		r.abandon(tunnel.Error, sent)
		return
	}
	client, origin := r.Conn.Conn, r.origin
	r.server.startedTunnel(r.Exchange, sent, func(o *exchange.Open, done func(tunnel.Result)) *tunnel.Tunnel {
		return r.server.tunnels.Start(tunnel.Params{Client: client, Origin: origin, Value: o, Done: done})
	})
}

// forwardEarly writes what the client has sent already to the origin.
func (r *connectRun) forwardEarly() (int64, error) {
	early := r.Conn.Buffered()
	if len(early) == 0 {
		return 0, nil
	}
	if len(early) > neverBlocks {
		_ = r.origin.SetWriteDeadline(time.Now().Add(r.server.Limits.HelloTimeout))
	}
	n, err := r.origin.Write(early)
	return int64(n), err
}

// abandon ends an opened exchange that never became a tunnel.
func (r *connectRun) abandon(why tunnel.Cause, sent int64) {
	_ = r.origin.Close()
	r.Ended(tunnel.Result{Up: sent, Ended: why})
}

// startedTunnel starts a tunnel and lets go of all that only the set-up needed,
// because a tunnel may stay for hours. sent is what the origin has had already.
func (s *Server) startedTunnel(x *exchange.Exchange, sent int64, start func(o *exchange.Open, done func(tunnel.Result)) *tunnel.Tunnel) {
	x.Conn.ToTunnel()
	judgedBy, o := x.Policy, x.Open()
	t := start(o, func(r tunnel.Result) {
		r.Up += sent
		o.Ended(r)
	})
	// A reload between the snapshot and the start has not seen this tunnel.
	if now, _ := s.Policy(); now != judgedBy {
		s.rejudge(t)
	}
}
