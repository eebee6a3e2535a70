package proxy

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/gate"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/httphead"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/tunnel"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// servePlain walks a plain HTTP request from the target to the last byte of
// the response. It returns whether the connection can take another.
func (x *exchange) servePlain() (again bool) {
	var p plainRequest
	for {
		switch x.next() {
		case gate.Content:
			x.readRequest(&p)
		case gate.Lookup:
			x.lookup(x.server.base)
		case gate.Open:
			x.Give(x.permit())
		case gate.Forward:
			if p.request == nil {
				p.request = x.Head.Request()
			}
			if len(x.conn.buffered()) == 0 {
				x.conn.free() // the origin may take its time
			}
			return x.forward(&p)
		default:
			x.refuse()
			return false
		}
	}
}

// plainRequest is a plain HTTP request as net/http reads it.
type plainRequest struct {
	request *http.Request
	reader  *bufio.Reader // stands behind the head; nil: there is no body
}

// readRequest makes net/http's request of a head with content behind it. The reader
// stands behind the head and belongs to the content. Our own grammar is the stricter
// one; an error is of what it may not know.
func (x *exchange) readRequest(p *plainRequest) {
	p.reader = bufio.NewReader(io.MultiReader(strings.NewReader(x.Head.Raw), x.conn))
	var err error
	if p.request, err = http.ReadRequest(p.reader); err != nil {
		x.Refuse(verdict.ReasonBadRequest, httphead.ErrMalformed)
		return
	}
	x.Give(verdict.ReasonNone)
}

// forward sends the request on through goproxy and returns whether the
// connection can take another request.
func (x *exchange) forward(p *plainRequest) (again bool) {
	w := &response{
		exchange: x, conn: x.conn, head: p.request.Method == http.MethodHead,
		chunkable: x.Head.Minor == 1, persist: x.Head.Persistent(),
	}
	body := newRequestBody(x, p, w)
	ctx, cancel := context.WithTimeout(context.WithValue(x.server.plain, exchangeKey{}, x), x.server.opt.Limits.Lifetime)
	defer cancel()
	x.server.goproxy.ServeHTTP(w, x.outbound(p.request.WithContext(ctx), body))
	cancel()
	body.stop()
	if x.failure != verdict.ReasonNone && !w.started {
		x.Refuse(x.failure, nil)
		x.refuse()
		return false
	}
	if !x.finishPlain(w, body) {
		return false
	}
	if p.reader != nil {
		rest, _ := p.reader.Peek(p.reader.Buffered())
		x.conn.unread(rest)
	}
	return true
}

// finishPlain ends the response, records how it went, and returns whether
// client and proxy agree on where the next request begins.
func (x *exchange) finishPlain(w *response, body *requestBody) (again bool) {
	whole := w.finish() == nil
	result := tunnel.Result{Up: body.moved.Load(), Down: w.moved, Ended: tunnel.Origin}
	if !whole {
		result.Ended = tunnel.Error
	}
	x.ended(result)
	if !whole {
		w.abort()
		return false
	}
	if !w.persist {
		x.conn.lingeringClose()
		return false
	}
	return true
}

// outbound turns the client's request into the one for the origin: target and
// Host from the request line, hop-by-hop fields gone, Via added.
func (x *exchange) outbound(r *http.Request, body *requestBody) *http.Request {
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
