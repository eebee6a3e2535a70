package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/elazarl/goproxy"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// exchangeKey is the context key of the exchange that a round trip is for,
// attemptKey that of the attempt.
type (
	exchangeKey struct{}
	attemptKey  struct{}
)

// attempt is a round trip to one address.
type attempt struct {
	exchange *exchange
	dial     dialKey // of its own: the exchange may be over before a dial is
	dialBy   time.Time
}

// newTransport makes the way out for plain HTTP. Requests are sent to checked
// addresses, never to names, so that a pooled connection is only ever used by
// requests that were permitted to reach its address themselves.
func (s *Server) newTransport(pooled int) *http.Transport {
	return &http.Transport{
		Proxy:                  nil,
		DialContext:            s.dialPlain,
		DisableCompression:     true,
		MaxIdleConns:           pooled,
		MaxIdleConnsPerHost:    64,
		IdleConnTimeout:        30 * time.Second,
		ResponseHeaderTimeout:  s.opt.Limits.IdleTimeout,
		MaxResponseHeaderBytes: 64 << 10,
		ForceAttemptHTTP2:      false,
	}
}

// dialError marks an error of the dial, after which no byte was sent.
type dialError struct{ error }

func (e *dialError) Unwrap() error { return e.error }

// dialPlain connects to the address that a round trip was sent to.
func (s *Server) dialPlain(ctx context.Context, _, addr string) (net.Conn, error) {
	at, ok := ctx.Value(attemptKey{}).(attempt)
	ap, err := netip.ParseAddrPort(addr)
	if !ok || err != nil {
		return nil, &dialError{errNotPermitted}
	}
	if reason := s.dialing.begin(at.dial); reason != verdict.ReasonNone {
		s.metrics.notDialed(reason, false)
		return nil, &dialError{&limitError{reason}}
	}
	defer s.dialing.end(at.dial)
	ctx, cancel := context.WithDeadline(ctx, at.dialBy)
	defer cancel()
	c, err := dialOne(ctx, ap, at.exchange.permits)
	if err != nil {
		s.metrics.notDialed(dialReason(err), true)
		return nil, &dialError{err}
	}
	return &idleConn{Conn: c, idle: s.opt.Limits.IdleTimeout}, nil
}

// idleConn ends a connection to an origin that neither takes nor gives: while
// a body goes up nothing need come down, so a write gives the reads more time.
type idleConn struct {
	net.Conn
	idle time.Duration
}

// Read reads within the idle time.
func (c *idleConn) Read(p []byte) (int, error) {
	_ = c.SetReadDeadline(time.Now().Add(c.idle))
	return c.Conn.Read(p)
}

// Write writes within the idle time.
func (c *idleConn) Write(p []byte) (int, error) {
	_ = c.SetDeadline(time.Now().Add(c.idle))
	return c.Conn.Write(p)
}

// errOrigin is a response that cannot be handed on.
var errOrigin = errors.New("origin's response is not usable")

// roundTrip sends one request to the checked addresses, in turn while the dial
// fails. It is what goproxy calls; a failure is kept in the exchange, and
// nothing of it is written to the client by goproxy.
func (s *Server) roundTrip(r *http.Request, _ *goproxy.ProxyCtx) (*http.Response, error) {
	x, ok := r.Context().Value(exchangeKey{}).(*exchange)
	if !ok {
		return nil, errNotPermitted
	}
	resp, err := s.tryAddresses(x, r)
	if err == nil && !passable(resp.StatusCode) {
		_ = resp.Body.Close()
		err = errOrigin
	}
	if err != nil {
		x.failure = roundTripReason(err)
		if body, ok := r.Body.(*requestBody); ok && body.broken.Load() {
			x.failure = verdict.ReasonBadRequest
		}
		return nil, err
	}
	stripHopByHop(resp.Header)
	for name := range resp.Header {
		if strings.HasPrefix(name, "X-Egress-") {
			delete(resp.Header, name) // ours alone: they tell a refusal from an answer
		}
	}
	resp.Header.Add("Via", "1.1 "+pseudonym)
	resp.Trailer = nil
	resp.Body = &responseBody{ReadCloser: resp.Body, exchange: x}
	return resp, nil
}

// passable reports whether a response with the status can be handed on: an
// upgrade was not asked for, a 407 would pass for our own, and what is no
// final status has no end that both sides agree on.
func passable(status int) bool {
	return status >= http.StatusOK && status != http.StatusProxyAuthRequired
}

// tryAddresses sends the request to the first address that can be dialed. Each
// has its share of what is left of the time to dial.
func (s *Server) tryAddresses(x *exchange, r *http.Request) (resp *http.Response, err error) {
	err = errNotPermitted
	all := spread(x.addresses, x.target.Port)
	end := x.start.Add(s.opt.Limits.DialTimeout + x.recording) // that wait is not the host's
	for i, a := range all {
		share := time.Until(end) / time.Duration(len(all)-i)
		ctx := context.WithValue(r.Context(), attemptKey{}, attempt{exchange: x, dial: dialKey{x.account, x.target}, dialBy: time.Now().Add(share)})
		out, target := r.WithContext(ctx), *r.URL
		target.Host = a.String()
		out.URL = &target
		if body, ok := r.Body.(*requestBody); ok {
			out.Body = body.attempt()
		}
		x.event.Dialed = a
		resp, err = s.transport.RoundTrip(out)
		var dial *dialError
		if !errors.As(err, &dial) {
			break
		}
	}
	return resp, err
}

// roundTripReason maps the error of a round trip to a reason.
func roundTripReason(err error) verdict.Reason {
	var dial *dialError
	if errors.As(err, &dial) || errors.Is(err, errNotPermitted) {
		return dialReason(err)
	}
	return verdict.ReasonOriginFailed
}

// responseBody notes when the origin's body breaks off, so that the client
// does not take what came for the whole.
type responseBody struct {
	io.ReadCloser
	exchange *exchange
}

// Read reads on and keeps the failure.
func (b *responseBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.exchange.failure = verdict.ReasonOriginFailed
	}
	return n, err
}
