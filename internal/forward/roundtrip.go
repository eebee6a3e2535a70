package forward

import (
	"context"
	"errors"
	"hash/maphash"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"strings"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/admission"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egress"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/exchange"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/gate"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// requestKey is the context key of the request that a round trip is for,
// attemptKey that of the attempt.
type (
	requestKey struct{}
	attemptKey struct{}
)

// poolSeed spreads the pools of functions over the addresses of a host.
var poolSeed = maphash.MakeSeed()

// attempt is a round trip to one address.
type attempt struct {
	permits func(netip.AddrPort) bool
	to      netip.AddrPort
	own     *ownOrigins       // whose the connection is to be; nil: its function's
	dial    admission.DialKey // of its own: the exchange may be over before a dial is
	dialBy  time.Time
}

// newTransport makes the way out for plain HTTP. Its pool has connections by
// checked address, never by name, and by whose they are, so that one is only ever
// used by requests of the same function that were permitted to reach that address
// themselves.
func (s *Server) newTransport(pooled int) *http.Transport {
	return &http.Transport{
		Proxy:                  nil,
		DialContext:            s.dialPlain,
		DisableCompression:     true,
		MaxIdleConns:           pooled,
		MaxIdleConnsPerHost:    64,
		IdleConnTimeout:        30 * time.Second,
		ResponseHeaderTimeout:  s.Limits.IdleTimeout,
		MaxResponseHeaderBytes: int64(s.Limits.HeaderBytes),
		ForceAttemptHTTP2:      false,
	}
}

// dialError marks an error of the dial, after which no byte was sent.
type dialError struct{ error }

func (e *dialError) Unwrap() error { return e.error }

// dialPlain connects to the address that an attempt is for. What the transport
// takes for an address is the name of a pool.
func (s *Server) dialPlain(ctx context.Context, _, _ string) (net.Conn, error) {
	at, ok := ctx.Value(attemptKey{}).(attempt)
	if !ok {
		return nil, &dialError{egress.ErrNotPermitted}
	}
	if reason := s.Dials.Begin(at.dial); reason != verdict.ReasonNone {
		return nil, &dialError{&admission.LimitError{Reason: reason}}
	}
	defer s.Dials.End(at.dial)
	ctx, cancel := context.WithDeadline(ctx, at.dialBy)
	defer cancel()
	c, err := s.Dialer.One(ctx, at.to, at.permits)
	if err != nil {
		return nil, &dialError{err}
	}
	origin := &originConn{Conn: c, idle: s.Limits.IdleTimeout, own: at.own}
	if at.own != nil && !at.own.add(origin) {
		_ = c.Close()
		return nil, &dialError{net.ErrClosed}
	}
	return origin, nil
}

// traced returns a context for requests whose answers' heads are bounded.
func traced(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) {
		if c, ok := got.Conn.(*originConn); ok {
			c.expecting.Store(true)
		}
	}})
}

// errOrigin is a response that cannot be handed on.
var errOrigin = errors.New("origin's response is not usable")

// RoundTrip sends one request to the checked addresses, in turn while the dial fails.
// It is what the Handler has to call; a failure is kept in the request, and nothing
// that the Handler writes of it reaches the client. What comes by another way than
// [Client.Serve] is egress.ErrNotPermitted.
func (s *Server) RoundTrip(r *http.Request) (*http.Response, error) {
	x, ok := r.Context().Value(requestKey{}).(*plainRequest)
	if !ok {
		return nil, egress.ErrNotPermitted
	}
	resp, err := s.tryAddresses(x, r)
	if err == nil && !passable(resp.StatusCode) {
		_ = resp.Body.Close()
		err = errOrigin
	}
	if err != nil {
		x.failure = roundTripReason(err)
		if body, ok := r.Body.(*requestBody); ok && body.failed.Load() {
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
	resp.Header.Add("Via", "1.1 "+gate.Pseudonym)
	resp.Trailer = nil
	resp.Body = &responseBody{ReadCloser: resp.Body, of: x}
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
func (s *Server) tryAddresses(x *plainRequest, r *http.Request) (resp *http.Response, err error) {
	err = egress.ErrNotPermitted
	began := time.Now()
	pool, own := x.poolOf(r.Header)
	// The same for all of a pool, or its connections would not be used again.
	all := s.Dialer.Order(x.Addresses, x.Target.Port, uint32(maphash.String(poolSeed, pool)))
	end := x.Start.Add(s.Limits.DialTimeout + x.Recording) // that wait is not the host's
	for i, a := range all {
		timeout := time.Until(end) / time.Duration(len(all)-i)
		ctx := context.WithValue(r.Context(), attemptKey{}, attempt{
			permits: x.Permits, to: a, own: own, dial: x.DialKey(), dialBy: time.Now().Add(timeout),
		})
		out, target := r.WithContext(ctx), *r.URL
		target.Host = pool + "@" + a.String()
		out.URL = &target
		out.Close = x.Head.HasContent() && !hasContentByCustom(x.Head.Method)
		if body, ok := r.Body.(*requestBody); ok {
			out.Body = body.attempt()
		}
		x.Event.Dialed = a
		resp, err = s.transport.RoundTrip(out)
		var dial *dialError
		if !errors.As(err, &dial) {
			return resp, err
		}
	}
	if len(all) > 0 {
		x.DialFailed(err, time.Since(began))
	}
	return nil, err
}

// hasContentByCustom reports whether requests of the method have content. Where
// one has that should not, origins leave it unread and take it for the next request
// (RFC 9110, section 9.3.1), so its connection is not used for another.
func hasContentByCustom(method string) bool {
	switch method {
	case http.MethodPost, http.MethodPut, http.MethodPatch:
		return true
	default:
		return false
	}
}

// roundTripReason maps the error of a round trip to a reason.
func roundTripReason(err error) verdict.Reason {
	var dial *dialError
	if errors.As(err, &dial) || errors.Is(err, egress.ErrNotPermitted) {
		return exchange.DialReason(err)
	}
	return verdict.ReasonOriginFailed
}

// responseBody notes when the origin's body breaks off, so that the client
// does not take what came for the whole.
type responseBody struct {
	io.ReadCloser
	of *plainRequest
}

// Read reads on and keeps the failure.
func (b *responseBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.of.failure = verdict.ReasonOriginFailed
	}
	return n, err
}
