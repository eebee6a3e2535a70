package forward

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egress"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/exchange"
)

// What reaches the transports without an exchange, by whatever path, has been
// judged by nobody.
func TestRoundTripWithoutAnExchangeDialsNothing(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	addr := ln.Addr().String()
	s := New(exchange.NewShared(exchange.Options{}))
	if s.transport.Proxy != nil {
		t.Error("the transport asks the environment for a proxy")
	}
	r := &http.Request{Method: "GET", URL: &url.URL{Scheme: "http", Host: addr}, Header: http.Header{}}
	if _, err := s.RoundTrip(r); !errors.Is(err, egress.ErrNotPermitted) {
		t.Errorf("RoundTrip returned %v", err)
	}
	if _, err := s.transport.RoundTrip(r); !errors.Is(err, egress.ErrNotPermitted) {
		t.Errorf("the transport returned %v", err)
	}
	_ = ln.(*net.TCPListener).SetDeadline(time.Now())
	if c, err := ln.Accept(); err == nil {
		c.Close()
		t.Error("a connection was opened")
	}
}

// Where a response ends before its time, a handler writes an error text of its
// own; a response takes none of it.
func TestErrorsOfTheHandlerAreNotWritten(t *testing.T) {
	ours, client := net.Pipe()
	defer client.Close()
	s := New(exchange.NewShared(exchange.Options{}))
	conn := s.Conns.Add(ours)
	x := &plainRequest{Exchange: &exchange.Exchange{Conn: conn}, client: s.Client()}
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := s.RoundTrip(r)
		http.Error(w, err.Error(), http.StatusInternalServerError) // as goproxy does
	})
	w := &response{of: x, conn: conn, chunkable: true, persist: true, body: &requestBody{src: http.NoBody}}
	r := &http.Request{Method: "GET", URL: &url.URL{Scheme: "http", Host: "192.0.2.1"}, Header: http.Header{}}
	got := make(chan string, 1)
	go func() {
		all, _ := io.ReadAll(client)
		got <- string(all)
	}()
	ctx := context.WithValue(context.Background(), requestKey{}, x)
	s.Handler.ServeHTTP(w, r.WithContext(ctx)) // x has no address to go to
	w.Flush()
	ours.Close()
	if text := <-got; text != "" || w.started {
		t.Errorf("the client got %q", text)
	}
}
