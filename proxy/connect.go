package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egress"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hello"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/tunnel"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// established is the answer to a CONNECT that may pass. It has no fields: what
// follows it is the tunnel (RFC 9110, section 9.3.6).
const established = "HTTP/1.1 200 Connection established\r\n\r\n"

// pseudonym names the proxy in Via and Proxy-Status. All proxies of the
// project share it, so that a loop through several tasks is seen as one.
const pseudonym = "egress"

// neverBlocks is how much a socket that has just connected takes without
// waiting: less than the smallest send buffer of Linux.
const neverBlocks = 4 << 10

// connect walks a CONNECT from the target to the tunnel. When it returns the
// connection is refused and done with, or a tunnel owns it.
func (x *exchange) connect() {
	x.event.Protocol = protocolConnect
	ctx, cancel := x.setUp()
	defer cancel()
	reason := x.parseConnect()
	if reason == verdict.ReasonNone {
		reason = x.judge(ctx)
	}
	x.dialAndOpen(ctx, reason, nil)
}

// setUp bounds lookup and dial together, from the beginning of the exchange.
func (x *exchange) setUp() (context.Context, context.CancelFunc) {
	return context.WithDeadline(x.server.base, x.start.Add(x.server.opt.Limits.DialTimeout))
}

// dialAndOpen dials what has been judged, unless there is a reason to refuse it, and
// goes on to the tunnel. An attempt that is under way already may be nil.
func (x *exchange) dialAndOpen(ctx context.Context, reason verdict.Reason, under *egress.Inflight) {
	var origin net.Conn
	if reason == verdict.ReasonNone {
		origin, reason = x.dial(ctx, under)
	}
	if reason == verdict.ReasonNone {
		if reason = x.permit(); reason != verdict.ReasonNone {
			_ = origin.Close()
		}
	}
	if reason != verdict.ReasonNone {
		x.refuse(reason, nil)
		return
	}
	x.tunnel(origin)
}

// parseConnect reads the target of a CONNECT. Only the request-target counts:
// Host may be absent or differ, and a Connection field changes nothing. Content
// would be tunnel bytes to one reader and a body to another, so it is refused.
func (x *exchange) parseConnect() verdict.Reason {
	t, err := hostname.ParseTarget(x.head.Target)
	if err != nil {
		return verdict.ReasonBadTarget
	}
	x.setTarget(t)
	if x.head.HasContent() {
		return verdict.ReasonBadRequest
	}
	if x.head.PassedBy(pseudonym) {
		return verdict.ReasonLoop
	}
	return verdict.ReasonNone
}

// tunnel answers 200, checks the ClientHello where the rule wants it, and
// hands both connections over.
func (x *exchange) tunnel(origin net.Conn) {
	c := x.conn
	until := time.Now().Add(x.server.opt.Limits.HelloTimeout)
	if c.reused {
		// Replies before this one may still fill the socket's buffer; on a
		// fresh connection these few bytes cannot block.
		_ = c.SetWriteDeadline(until)
	}
	if _, err := io.WriteString(c.Conn, established); err != nil {
		x.abandon(origin, tunnel.Error, 0)
		return
	}
	x.inspect(origin, until)
}

// inspect goes on behind the 200.
func (x *exchange) inspect(origin net.Conn, until time.Time) {
	_ = x.conn.SetReadDeadline(until)
	if x.wantsHello() && !x.checkHello(origin) {
		return
	}
	sent, err := x.forwardEarly(origin)
	if err != nil {
		x.abandon(origin, tunnel.Error, sent)
		return
	}
	x.startTunnel(origin, sent)
}

// wantsHello reports whether the tunnel must begin with a ClientHello for the
// host. A rule that is only reported on has no say about TLS: report mode is
// for finding out what a function needs, protocols where the server speaks
// first included.
func (x *exchange) wantsHello() bool {
	return x.decision.Verdict == verdict.Allow && x.decision.Rule.TLS() == policy.TLSVerify
}

// checkHello reads the client's first bytes, wants a ClientHello for the host
// in them, and returns whether the tunnel goes on. Nothing has reached the
// origin before that.
func (x *exchange) checkHello(origin net.Conn) bool {
	c := x.conn
	if c.buf == nil {
		c.buf = c.server.buffers.Get().(*[]byte)
	}
	first, h, err := hello.Read(&memGuardReader{c: c}, *c.buf)
	if cap(first) != cap(*c.buf) {
		c.free()
		c.buf = &first
	}
	*c.buf = first
	x.event.SNI, x.event.HasSNI = h.ServerName(), h.HasSNI
	if err == nil {
		err = h.Check(x.target.Host.String())
	}
	if err == nil {
		x.verified = true
		return true
	}
	reason := helloReason(err)
	if reason == verdict.ReasonNone {
		x.abandon(origin, tunnel.Client, 0)
		return false
	}
	if reason != verdict.ReasonHelloTimeout && reason != verdict.ReasonLimitTotal && x.function.Reports(x.start) {
		if x.finish(audit.Opened, verdict.Report, reason) == nil {
			return true
		}
		x.abandon(origin, tunnel.Error, 0)
		return false
	}
	_ = origin.Close()
	// The tunnel is open, so there is no reply to write: the record is the
	// answer, and the connection ends.
	_ = x.finish(audit.Refused, verdict.Deny, reason)
	x.release()
	return false
}

// helloReason maps what is wrong with the first bytes to a reason;
// ReasonNone where the client just went away.
func helloReason(err error) verdict.Reason {
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return verdict.ReasonHelloTimeout
	case errors.Is(err, errShortOfMemory):
		return verdict.ReasonLimitTotal
	case errors.Is(err, hello.ErrMissing):
		return verdict.ReasonSNIMissing
	case errors.Is(err, hello.ErrMismatch):
		return verdict.ReasonSNIMismatch
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return verdict.ReasonNone
	case errors.Is(err, hello.ErrNotTLS):
		return verdict.ReasonNotTLS
	default: // a reset
		return verdict.ReasonNone
	}
}

// forwardEarly writes what the client has sent already to the origin.
func (x *exchange) forwardEarly(origin net.Conn) (int64, error) {
	early := x.conn.buffered()
	if len(early) == 0 {
		return 0, nil
	}
	if len(early) > neverBlocks {
		_ = origin.SetWriteDeadline(time.Now().Add(x.server.opt.Limits.HelloTimeout))
	}
	n, err := origin.Write(early)
	return int64(n), err
}

// abandon ends an opened exchange that never became a tunnel.
func (x *exchange) abandon(origin net.Conn, why tunnel.Cause, sent int64) {
	_ = origin.Close()
	x.ended(tunnel.Result{Up: sent, Ended: why})
}

// startTunnel gives both connections to the tunnel.
func (x *exchange) startTunnel(origin net.Conn, sent int64) {
	client := x.conn.Conn
	x.startedTunnel(sent, func(done func(tunnel.Result)) *tunnel.Tunnel {
		return x.server.tunnels.Start(tunnel.Params{Client: client, Origin: origin, Value: x, Done: done})
	})
}

// startedTunnel starts a tunnel and lets go of all that only the set-up needed,
// because a tunnel may stay for hours. sent is what the origin has had already.
func (x *exchange) startedTunnel(sent int64, start func(done func(tunnel.Result)) *tunnel.Tunnel) {
	c := x.conn
	c.taken = true
	c.free()
	x.server.forget(c)
	judgedBy := x.policy
	x.head, x.conn, x.addresses = nil, nil, nil
	x.policy, x.identities, x.function, x.decision = nil, nil, nil, policy.Decision{}
	x.series().tunnels.Inc()
	t := start(func(r tunnel.Result) {
		r.Up += sent
		x.series().tunnels.Dec()
		x.server.conns.Release()
		x.ended(r)
	})
	// A reload between the snapshot and the start has not seen this tunnel.
	if now, _ := x.server.opt.Policy(); now != judgedBy {
		x.server.rejudge(t)
	}
}

// ended writes the last record of what was opened and gives its place back.
func (x *exchange) ended(r tunnel.Result) {
	x.event.Kind = audit.Closed
	x.event.BytesUp, x.event.BytesDown = r.Up, r.Down
	x.event.Ended = r.Ended.String()
	x.event.Duration = time.Since(x.start)
	// Nothing waits for this record; one that cannot be written is counted.
	x.server.opt.Audit.Post(&x.event)
	x.series().moved(r)
	x.release()
}

// stillAllowed reports whether the policy now in force would still permit the tunnel:
// the same caller, the same target, the names and the address that led to.
func (x *exchange) stillAllowed() bool {
	p, identities := x.server.opt.Policy()
	id, err := identities.Identify(x.caller)
	if err != nil || id.Function != x.event.Function {
		return false
	}
	f := p.Function(id.Function)
	now := time.Now()
	d := p.Decide(f, x.target, now)
	if d.Verdict == verdict.Allow && d.Rule.TLS() == policy.TLSVerify && !x.verified && !f.Reports(now) {
		return false
	}
	if _, denied := deniesAny(p, x.aliases); denied {
		return false
	}
	return d.PermitsAddress(x.event.Dialed.Addr())
}
