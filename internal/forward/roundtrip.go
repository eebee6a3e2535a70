package forward

import (
	"context"
	"errors"
	"net/http"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egress"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hop"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/httphead"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/origin"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

var (
	// errFailed is a round trip that has failed; the reason is in its request.
	errFailed = errors.New("the round trip has failed")
	// errOrigin is an answer that cannot be handed on.
	errOrigin = errors.New("origin's answer is not usable")
)

// RoundTrip sends one request to one of the checked addresses, and returns when the head
// of its answer is there. It is what the Handler has to call; a failure is kept in the
// request, and nothing that the Handler writes of it reaches the client. What comes by
// another way than [Client.Serve] is egress.ErrNotPermitted.
func (s *Server) RoundTrip(r *http.Request) (*http.Response, error) {
	h, ok := r.Context().Value(handledKey{}).(*handled)
	if !ok || h.of == nil {
		return nil, egress.ErrNotPermitted
	}
	x := h.of
	if err := x.trip(); err != nil {
		if x.failure == verdict.ReasonNone {
			x.upload.stop()
			x.failure = x.failureOf()
		}
		return nil, errFailed
	}
	s.putBuffer(x.out)
	x.out = nil
	x.reply = http.Response{
		StatusCode: x.answer.head.Status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h.fields, Body: content{&x.answer}, Request: r,
	}
	return &x.reply, nil
}

// failureOf says why a request has failed behind the dial.
func (x *plainRequest) failureOf() verdict.Reason {
	if x.upload.failed.Load() || x.watch.ClientWasIdle() {
		return verdict.ReasonBadRequest
	}
	return verdict.ReasonOriginFailed
}

// trip sends the request until there is the head of an answer. A connection that has
// answered before may be one that its origin is closing at this moment: then a request
// that can be repeated goes over a new one (RFC 9110, section 9.2.2). One that cannot goes
// over a new one at once, unless it has to take the one that its client has authenticated;
// that is given up for another where not one byte has been taken.
func (x *plainRequest) trip() error {
	if x.upload.failed.Load() {
		return errFailed
	}
	owner := x.owner()
	repeatable := x.upload.whole.Load() && httphead.IsIdempotent(x.Head.Method)
	again := false
	for reuse := repeatable || x.client.own != nil; ; reuse = false {
		if err := x.connect(owner, reuse); err != nil {
			return err
		}
		if !again {
			x.Answered() // as far as it is the proxy's: what comes is the origin's
		}
		again = true
		taken, err := x.send()
		if err == nil {
			return nil
		}
		if taken > 0 && !repeatable || !x.mayRepeat() {
			return err
		}
		x.closeConn()
	}
}

// mayRepeat reports whether a request may be sent again that has got no answer: on a new
// connection, where the one that failed has answered another request before.
func (x *plainRequest) mayRepeat() bool {
	_, aborted := x.watch.Ended()
	return x.reused && !aborted && !x.conn.Answered() && x.upload.done == nil
}

// connect brings a connection to the origin: one that waits, where reuse says so, or a new
// one.
func (x *plainRequest) connect(owner string, reuse bool) error {
	s := x.client.server
	if reuse {
		for _, a := range x.DialOrder() {
			if c := s.pool.Acquire(origin.Key{Owner: owner, To: a}); c != nil {
				x.Event.Dialed = a
				return x.setConn(c, true)
			}
		}
	}
	ctx, cancel := context.WithDeadline(s.Base, x.Start.Add(s.Limits.DialTimeout+x.Recording)) // that wait is not the host's
	defer cancel()
	if !x.watch.WaitsFor(cancel, nil) {
		return errFailed
	}
	c, reason := x.Dial(ctx, nil)
	if reason != verdict.ReasonNone {
		x.watch.WaitsFor(nil, nil)
		x.failure = reason
		return errFailed
	}
	return x.setConn(s.pool.Add(c, origin.Key{Owner: owner, To: x.Event.Dialed}), false)
}

// setConn takes a connection for the request.
func (x *plainRequest) setConn(c *origin.Conn, reused bool) error {
	x.conn, x.reused = c, reused
	c.Begin()
	if !x.watch.WaitsFor(nil, c) {
		return errFailed
	}
	return nil
}

// closeConn closes the connection to the origin.
func (x *plainRequest) closeConn() {
	if x.conn != nil {
		x.watch.WaitsFor(nil, nil)
		_ = x.conn.Close()
		x.conn = nil
	}
}

// releaseConn gives the connection to the origin back where it can take another request:
// request and answer are over, and neither side has said that it is the last one.
func (x *plainRequest) releaseConn() {
	a := &x.answer
	if x.conn == nil || x.once || !a.ended || a.byEnd || !a.head.Persistent() || !x.upload.sent {
		x.closeConn()
		return
	}
	x.watch.WaitsFor(nil, nil)
	if _, aborted := x.watch.Ended(); aborted {
		x.closeConn()
		return
	}
	if x.client.own != nil {
		x.client.own.add(x.conn.To())
	}
	x.client.server.pool.Release(x.conn)
	x.conn = nil
}

// send sends the request and reads the head of its answer. Interim answers go on to the
// client. It returns how many bytes the connection has taken.
func (x *plainRequest) send() (taken int, err error) {
	taken, unsent := x.conn.Write(*x.out)
	if unsent == nil {
		x.upload.begin()
	}
	// An origin may have answered without waiting for all of the request.
	if err := x.readAnswer(); err != nil {
		return taken, err
	}
	return taken, nil
}

// readAnswer reads the head of the final answer.
func (x *plainRequest) readAnswer() error {
	limits := origin.Limits{Bytes: x.client.server.Limits.HeaderBytes, Fields: httphead.MaxFields}
	for {
		a, err := x.conn.ReadAnswer(&limits)
		switch {
		case err != nil:
			return err
		case a.Status == http.StatusSwitchingProtocols && x.upgrade && switches(&x.options, &a):
			x.answer.head = a
			return nil
		case a.Status == http.StatusSwitchingProtocols, a.Status == http.StatusProxyAuthRequired:
			// An upgrade was not asked for; a 407 would pass for our own.
			return errOrigin
		case a.Status >= http.StatusOK:
			x.answer.head = a
			return nil
		}
		if err := x.answer.interim(&a); err != nil {
			return err
		}
	}
}

// switches reports whether a 101 switches to a protocol that the request named.
func switches(o *hop.Options, a *httphead.Answer) bool {
	return a.Upgrade != "" && httphead.HasOption(o.Upgrade, a.Upgrade)
}
