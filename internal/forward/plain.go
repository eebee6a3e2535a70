package forward

import (
	"context"
	"net/http"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/exchange"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/gate"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hop"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/httphead"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/inflight"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/origin"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/tunnel"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// plainRequest is a plain HTTP request on its way. The goroutine of its client has it
// alone, but for what upload and watch say.
type plainRequest struct {
	*exchange.Exchange
	client   *Client
	options  hop.Options
	upgrade  bool           // it may become a tunnel
	once     bool           // its connection to the origin is used for no other request
	failure  verdict.Reason // of what was permitted; ReasonNone: none
	upload   upload
	answer   answer
	watch    inflight.Request
	handled  *handled      // as the Handler is given it; made once
	reply    http.Response // what the Handler is given
	unshared bool          // it is over, and nobody else has it

	conn   *origin.Conn // nil: none
	reused bool         // conn has answered another request before
	out    *[]byte      // pooled: the head as it goes on, and the beginning of the content
}

// Serve walks a plain HTTP request from the target to the last byte of the answer. It
// returns whether the connection can take another.
func (c *Client) Serve(e *exchange.Exchange) (again bool) {
	for {
		switch e.Advance() {
		case gate.Token:
			c.verifyToken(e)
		case gate.Lookup:
			e.LookupHost(c.server.Base)
		case gate.Open:
			e.Give(e.Permit())
		case gate.Forward:
			return c.forward(e)
		default:
			return e.SendPlainRefusal()
		}
	}
}

// forward sends a request on, by a plainRequest that has served before where there is one.
func (c *Client) forward(e *exchange.Exchange) (again bool) {
	x := c.server.requests.Get().(*plainRequest)
	x.Exchange, x.client = e, c
	again = x.forward()
	x.recycle()
	return again
}

// recycle lets x serve another request, of whatever function, unless somebody may still have
// found this one.
func (x *plainRequest) recycle() {
	if s := x.client.server; x.unshared {
		*x = plainRequest{handled: x.handled}
		s.requests.Put(x)
	}
}

// verifyToken has a token of AWS verified, within the time that a request has for its
// lookup and dial.
func (c *Client) verifyToken(e *exchange.Exchange) {
	s := c.server
	ctx, cancel := context.WithDeadline(s.Base, e.Start.Add(s.Limits.DialTimeout))
	defer cancel()
	e.VerifyToken(ctx)
}

// forward sends the request on through the handler, and returns whether the connection
// can take another.
func (x *plainRequest) forward() (again bool) {
	s := x.client.server
	x.options = hop.Read(httphead.Fields(x.Head.Raw))
	x.upgrade = x.upgrades()
	x.once = x.Head.HasContent() && !httphead.HasContentByCustom(x.Head.Method)
	x.upload.init(x)
	x.answer.x = x
	x.watch.Client, x.watch.Start, x.watch.Value = x.Conn, x.Start, x.Exchange
	if !s.open.Add(&x.watch) {
		x.Refuse(verdict.ReasonOriginFailed, nil) // the answer says that the proxy stops
		x.SendRefusal()
		return false
	}
	defer x.abandon()
	// A reload between the snapshot and this has not seen the request.
	if now, _ := s.Policy(); now != x.Policy {
		s.rejudge(&x.watch)
	}
	x.compose()
	s.Handler.ServeHTTP(&x.answer, x.handle())
	if x.answer.begun && x.answer.head.Status == http.StatusSwitchingProtocols {
		x.becomeTunnel()
		return false
	}
	return x.finish()
}

// abandon gives up what is left, which without a bug is nothing.
func (x *plainRequest) abandon() {
	x.unshared = x.client.server.open.Remove(&x.watch)
	x.unhandle()
	x.upload.stop()
	x.closeConn()
	x.answer.release()
}

// compose makes what goes to the origin first: the head, and what has come of the content.
func (x *plainRequest) compose() {
	x.out = x.client.server.heads.Get().(*[]byte)
	b := hop.AppendRequest((*x.out)[:0], hop.Request{
		Head: x.Head, Options: &x.options, Path: x.Path, Authority: x.Authority,
		Port80: x.Target.Port == 80, Upgrade: x.upgrade, Via: via(x.Head.Minor),
	})
	switch {
	case x.upgrade:
		b = hop.AppendField(b, "Connection", "Upgrade")
	case x.once:
		b = hop.AppendField(b, "Connection", "close")
	}
	*x.out = x.upload.appendFirst(append(b, "\r\n"...))
	if len(x.Conn.Buffered()) == 0 {
		x.Conn.Free() // the origin may take its time
	}
}

// finish ends the answer, records how it went, and returns whether client and proxy agree
// on where the next request begins.
func (x *plainRequest) finish() (again bool) {
	x.upload.stop()
	x.releaseConn()
	x.answer.end()
	x.client.server.open.Remove(&x.watch)
	cause, aborted := x.watch.Ended()
	switch {
	case x.answer.whole:
		x.Ended(x.result(tunnel.Origin))
		if aborted || !x.answer.persist {
			x.Conn.LingeringClose(x.Event.Function)
			return false
		}
		return true
	case !x.answer.begun && (!aborted || cause != tunnel.Client && cause != tunnel.Revoked):
		if x.failure == verdict.ReasonNone {
			x.failure = verdict.ReasonOriginFailed
		}
		x.Refuse(x.failure, nil)
		x.SendRefusal()
		return false
	case !aborted:
		cause = tunnel.Error
	}
	x.Ended(x.result(cause))
	x.answer.abort()
	return false
}

// via is the proxy's entry in Via of a message that came in HTTP/1.minor.
func via(minor int) string {
	if minor == 0 {
		return "1.0 " + gate.Pseudonym
	}
	return "1.1 " + gate.Pseudonym
}

// result is what the last record says.
func (x *plainRequest) result(why tunnel.Cause) tunnel.Result {
	return tunnel.Result{Up: x.watch.Up.Load(), Down: x.watch.Down.Load(), Ended: why}
}
