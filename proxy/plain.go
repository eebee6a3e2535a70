package proxy

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/httphead"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/tunnel"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// forwardable are the methods of plain HTTP. TRACE would echo what proxies
// added; anything else has no agreed meaning.
var forwardable = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut,
	http.MethodPatch, http.MethodDelete, http.MethodOptions,
}

// servePlain walks a plain HTTP request from the target to the last byte of
// the response. It returns whether the connection can take another.
func (x *exchange) servePlain() (again bool) {
	p, reason, cause := x.parsePlain()
	if reason == verdict.ReasonNone {
		reason = x.judge(x.server.base)
	}
	if reason == verdict.ReasonNone {
		reason = x.permit()
	}
	if reason != verdict.ReasonNone {
		x.refuse(reason, cause)
		return false
	}
	if len(x.conn.buffered()) == 0 {
		x.conn.free() // the origin may take its time
	}
	return x.forward(p)
}

// plainRequest is a plain HTTP request as net/http reads it.
type plainRequest struct {
	request *http.Request
	reader  *bufio.Reader // stands behind the head; nil: there is no body
	url     *url.URL      // the target, with the host in canonical form
}

// parsePlain reads a plain HTTP request. The fields Host and Expect must be
// well-formed, but the target is what the request line says.
func (x *exchange) parsePlain() (*plainRequest, verdict.Reason, error) {
	if !slices.Contains(forwardable, x.head.Method) {
		return nil, verdict.ReasonMethodNotAllowed, nil
	}
	t, rest, reason := httphead.ParseAbsolute(x.head.Target)
	x.setTarget(t)
	if reason != verdict.ReasonNone {
		return nil, reason, nil
	}
	if err := x.head.CheckForward(); err != nil {
		return nil, verdict.ReasonBadRequest, err
	}
	if x.head.PassedBy(pseudonym) {
		return nil, verdict.ReasonLoop, nil
	}
	switch {
	case rest == "" && x.head.Method == http.MethodOptions:
		rest = "*" // the server as a whole (RFC 9112, section 3.2.4)
	case !strings.HasPrefix(rest, "/"):
		rest = "/" + rest
	}
	u, err := url.ParseRequestURI(rest)
	if err != nil {
		return nil, verdict.ReasonBadTarget, nil
	}
	u.Scheme, u.Host = "http", hostField(t)
	if !x.head.HasContent() {
		return &plainRequest{request: x.head.Request(), url: u}, verdict.ReasonNone, nil
	}
	r, br, err := x.readRequest()
	if err != nil {
		// Our own grammar is the stricter one; this is for what it may not know.
		return nil, verdict.ReasonBadRequest, httphead.ErrMalformed
	}
	return &plainRequest{request: r, reader: br, url: u}, verdict.ReasonNone, nil
}

// readRequest makes net/http's request of a head with content behind it. The
// reader stands behind the head and belongs to the content.
func (x *exchange) readRequest() (*http.Request, *bufio.Reader, error) {
	br := bufio.NewReader(io.MultiReader(strings.NewReader(x.head.Raw), x.conn))
	r, err := http.ReadRequest(br)
	return r, br, err
}

// hostField returns the Host field of a request to the target (RFC 9110,
// section 7.2): the port only where it is not the scheme's.
func hostField(t hostname.Target) string {
	if t.Port != 80 {
		return t.String()
	}
	return strings.TrimSuffix(t.String(), ":80")
}

// forward sends the request on through goproxy and returns whether the
// connection can take another request.
func (x *exchange) forward(p *plainRequest) (again bool) {
	w := &response{
		exchange: x, conn: x.conn, head: p.request.Method == http.MethodHead,
		chunkable: x.head.Minor == 1, persist: x.head.Persistent(),
	}
	body := newRequestBody(x, p, w)
	ctx, cancel := context.WithTimeout(context.WithValue(x.server.plain, exchangeKey{}, x), x.server.opt.Limits.Lifetime)
	defer cancel()
	x.server.goproxy.ServeHTTP(w, x.outbound(p.request.WithContext(ctx), p.url, body))
	cancel()
	body.stop()
	if x.failure != verdict.ReasonNone && !w.started {
		x.refuse(x.failure, nil)
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
		w.cut()
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
func (x *exchange) outbound(r *http.Request, u *url.URL, body *requestBody) *http.Request {
	version := "1.1 "
	if x.head.Minor == 0 {
		version = "1.0 "
	}
	r.URL, r.Host = u, u.Host
	r.Trailer = nil
	r.Close = false
	r.Body = http.NoBody
	if body.src != http.NoBody {
		r.Body = body
	}
	stripHopByHop(r.Header)
	r.Header.Del("Expect")
	r.Header.Add("Via", version+pseudonym)
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
