package proxy

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"

	"github.com/elazarl/goproxy"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/exchange"
)

// closedGoproxy makes a goproxy and takes out everything of it that could open
// a connection by itself: its transport follows the environment's proxy
// variables and skips TLS verification, a CONNECT without a handler's answer is
// accepted, and its own dial goes unchecked. No other file of the project
// imports goproxy.
func closedGoproxy() *goproxy.ProxyHttpServer {
	g := goproxy.NewProxyHttpServer()
	g.Tr = &http.Transport{Proxy: nil, DialContext: refuseToDial}
	g.ConnectDial = func(string, string) (net.Conn, error) { return nil, errNoDial }
	g.ConnectDialWithReq = nil
	g.Logger = discardLogger{}
	g.Verbose = false
	g.KeepAcceptEncoding = true
	g.KeepDestinationHeaders = false
	g.KeepHeader = true // it has none: fields go past it
	g.AllowHTTP2 = false
	g.NonproxyHandler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
	})
	return g
}

// newGoproxy makes the one goproxy of the server. All it does is dispatch:
// CONNECT to the hook, everything else to our round trip.
func (s *Server) newGoproxy() *goproxy.ProxyHttpServer {
	g := closedGoproxy()
	// The hook always hijacks: without an answer goproxy would open the tunnel.
	hijack := &goproxy.ConnectAction{
		Action: goproxy.ConnectHijack,
		Hijack: func(_ *http.Request, client net.Conn, _ *goproxy.ProxyCtx) {
			if h, ok := client.(*hijacked); ok {
				s.connect.Run(h.exchange)
			}
		},
	}
	g.OnRequest().HandleConnectFunc(func(host string, _ *goproxy.ProxyCtx) (*goproxy.ConnectAction, string) {
		return hijack, host
	})
	roundTrip := goproxy.RoundTripperFunc(func(r *http.Request, _ *goproxy.ProxyCtx) (*http.Response, error) {
		return s.plain.RoundTrip(r)
	})
	g.OnRequest().DoFunc(func(r *http.Request, ctx *goproxy.ProxyCtx) (*http.Request, *http.Response) {
		ctx.RoundTripper = roundTrip
		return r, nil
	})
	return g
}

// serveConnect takes the exchange through goproxy's CONNECT hook.
func (s *Server) serveConnect(x *exchange.Exchange) {
	r := &http.Request{
		Method: http.MethodConnect, URL: &url.URL{Host: x.Head.Target}, Host: x.Head.Target,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: x.Head.Minor,
	}
	s.goproxy.ServeHTTP(connectWriter{x}, r)
}

// connectWriter is what goproxy hijacks the connection from. It takes no
// reply: on a CONNECT every reply is written by packages exchange and connect.
type connectWriter struct{ exchange *exchange.Exchange }

// hijacked is the connection as goproxy hands it to the hook, with the
// exchange it belongs to.
type hijacked struct {
	net.Conn
	exchange *exchange.Exchange
}

// Hijack implements http.Hijacker. goproxy needs the reader and the writer to be
// there; nobody reads or writes by them, since the hook takes the exchange, so
// they are as small as bufio makes them.
func (w connectWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	h := &hijacked{Conn: w.exchange.Conn, exchange: w.exchange}
	const least = 16
	return h, bufio.NewReadWriter(bufio.NewReaderSize(h, least), bufio.NewWriterSize(h, least)), nil
}

// Header, Write and WriteHeader implement http.ResponseWriter and write nothing.
func (connectWriter) Header() http.Header         { return http.Header{} }
func (connectWriter) Write(b []byte) (int, error) { return len(b), nil }
func (connectWriter) WriteHeader(int)             {}

// refuseToDial is the dial of what must not dial.
func refuseToDial(context.Context, string, string) (net.Conn, error) { return nil, errNoDial }

// errNoDial is what goproxy gets if it ever tries to open a connection.
var errNoDial = errors.New("goproxy opens no connections here")

// discardLogger drops goproxy's messages: they hold what clients wrote.
type discardLogger struct{}

// Printf implements goproxy.Logger.
func (discardLogger) Printf(string, ...any) {}
