package forward

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/exchange"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/gate"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/httphead"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/tunnel"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// plainRequest is a plain HTTP request on its way.
type plainRequest struct {
	*exchange.Exchange
	client  *Client
	request *http.Request  // as net/http reads it; nil: not yet
	reader  *bufio.Reader  // stands behind the head; nil: there is no body
	failure verdict.Reason // of what was permitted; ReasonNone: none
	revoked bool           // inflight's: a policy that came meanwhile refuses it
}

// Serve walks a plain HTTP request from the target to the last byte of the response. It
// returns whether the connection can take another.
func (c *Client) Serve(e *exchange.Exchange) (again bool) {
	x := &plainRequest{Exchange: e, client: c}
	for {
		switch x.Advance() {
		case gate.Content:
			x.readRequest()
		case gate.Lookup:
			x.LookupHost(c.server.Base)
		case gate.Open:
			x.Give(x.Permit())
		case gate.Forward:
			if x.request == nil {
				x.request = x.Head.Request()
			}
			if len(x.Conn.Buffered()) == 0 {
				x.Conn.Free() // the origin may take its time
			}
			return x.forward()
		default:
			x.SendRefusal()
			return false
		}
	}
}

// readRequest makes net/http's request of a head with content behind it. The reader
// stands behind the head and belongs to the content. Our own grammar is the stricter
// one; an error is of what it may not know.
func (x *plainRequest) readRequest() {
	x.reader = bufio.NewReader(io.MultiReader(strings.NewReader(x.Head.Raw), x.Conn))
	var err error
	if x.request, err = http.ReadRequest(x.reader); err != nil {
		x.Refuse(verdict.ReasonBadRequest, httphead.ErrMalformed)
		return
	}
	x.Give(verdict.ReasonNone)
}

// forward sends the request on through goproxy and returns whether the
// connection can take another request.
func (x *plainRequest) forward() (again bool) {
	w := &response{
		of: x, conn: x.Conn, head: x.request.Method == http.MethodHead,
		chunkable: x.Head.Minor == 1, persist: x.Head.Persistent(),
	}
	s := x.client.server
	body := newRequestBody(x, w)
	ctx, cancel := context.WithTimeout(context.WithValue(s.traced, requestKey{}, x), s.Limits.Lifetime)
	defer cancel()
	s.inflight.add(x, func() { cancel(); body.interrupt(); _ = x.Conn.SetWriteDeadline(longAgo()) })
	defer s.inflight.remove(x) // if a bug throws
	// A reload between the snapshot and this has not seen the request.
	if now, _ := s.Policy(); now != x.Policy {
		s.rejudge(x)
	}
	s.Handler.ServeHTTP(w, x.outbound(x.request.WithContext(ctx), body))
	cancel()
	body.stop()
	if s.inflight.remove(x) {
		x.Ended(tunnel.Result{Up: body.moved.Load(), Down: w.moved, Ended: tunnel.Revoked})
		w.abort()
		return false
	}
	if x.failure != verdict.ReasonNone && !w.started {
		x.Refuse(x.failure, nil)
		x.SendRefusal()
		return false
	}
	if !x.finish(w, body) {
		return false
	}
	if x.reader != nil {
		rest, _ := x.reader.Peek(x.reader.Buffered())
		x.Conn.Unread(rest)
	}
	return true
}

// finish ends the response, records how it went, and returns whether
// client and proxy agree on where the next request begins.
func (x *plainRequest) finish(w *response, body *requestBody) (again bool) {
	whole := w.finish() == nil
	result := tunnel.Result{Up: body.moved.Load(), Down: w.moved, Ended: tunnel.Origin}
	if !whole {
		result.Ended = tunnel.Error
	}
	x.Ended(result)
	if !whole {
		w.abort()
		return false
	}
	if !w.persist {
		x.Conn.LingeringClose(x.Event.Function)
		return false
	}
	return true
}

// outbound turns the client's request into the one for the origin: target and
// Host from the request line, hop-by-hop fields gone, Via added.
func (x *plainRequest) outbound(r *http.Request, body *requestBody) *http.Request {
	version := "1.1 "
	if x.Head.Minor == 0 {
		version = "1.0 "
	}
	r.URL, r.Host = x.URL, x.URL.Host
	r.Trailer = nil
	r.Close = false
	r.Body = http.NoBody
	if body.src != http.NoBody {
		r.Body = body
	}
	stripHopByHop(r.Header)
	r.Header.Del("Expect")
	r.Header.Add("Via", version+gate.Pseudonym)
	if _, ok := r.Header["User-Agent"]; !ok {
		r.Header["User-Agent"] = nil // keeps net/http from adding its own
	}
	return r
}

// protected fields survive being named in Connection: a client that names them
// would make the message mean something else behind the proxy.
var protected = []string{"Authorization", "Content-Length", "Content-Type", "Cookie", "Host", "Transfer-Encoding"}

// hopByHop are the fields that end here whether or not Connection names them
// (RFC 9110, section 7.6.1).
var hopByHop = []string{
	"Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings",
}

// stripHopByHop takes out what belongs to one hop: the known fields, those
// that Connection names, and every Proxy-*.
func stripHopByHop(h http.Header) {
	for _, value := range h["Connection"] {
		for name := range strings.SplitSeq(value, ",") {
			name = http.CanonicalHeaderKey(strings.Trim(name, " \t"))
			if !slices.Contains(protected, name) {
				delete(h, name)
			}
		}
	}
	for _, name := range hopByHop {
		delete(h, name)
	}
	for name := range h {
		if strings.HasPrefix(name, "Proxy-") {
			delete(h, name)
		}
	}
}
