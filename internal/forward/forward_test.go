package forward

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egress"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/exchange"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/httphead"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/inflight"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/origin"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// What reaches the round trip without an exchange, by whatever path, has been judged by
// nobody.
func TestRoundTripWithoutAnExchangeDialsNothing(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	s := New(exchange.NewShared(exchange.Options{}))
	r := &http.Request{Method: "GET", URL: &url.URL{Scheme: "http", Host: ln.Addr().String()}, Header: http.Header{}}
	if _, err := s.RoundTrip(r); !errors.Is(err, egress.ErrNotPermitted) {
		t.Errorf("RoundTrip returned %v", err)
	}
	x := &plainRequest{Exchange: &exchange.Exchange{}, client: s.Client(), handled: s.newHandled()}
	x.Head = &httphead.Head{Method: "GET"}
	again := x.handle()
	x.unhandle()
	if _, err := s.RoundTrip(again); !errors.Is(err, egress.ErrNotPermitted) {
		t.Errorf("behind its request RoundTrip returned %v", err)
	}
	_ = ln.(*net.TCPListener).SetDeadline(time.Now())
	if c, err := ln.Accept(); err == nil {
		c.Close()
		t.Error("a connection was opened")
	}
}

// Where an answer ends before its time, a handler writes an error text of its own; an
// answer takes none of it.
func TestErrorsOfTheHandlerAreNotWritten(t *testing.T) {
	ours, client := net.Pipe()
	defer client.Close()
	s := New(exchange.NewShared(exchange.Options{}))
	x := &plainRequest{Exchange: &exchange.Exchange{Conn: s.Conns.Add(ours)}, client: s.Client(), handled: s.newHandled(), failure: verdict.ReasonOriginFailed}
	x.answer.x, x.Head = x, &httphead.Head{Method: "GET"}
	_ = x.handle()
	got := make(chan string, 1)
	go func() {
		all, _ := io.ReadAll(client)
		got <- string(all)
	}()
	http.Error(&x.answer, "what has failed", http.StatusInternalServerError) // as goproxy does
	x.answer.end()
	ours.Close()
	if text := <-got; text != "" || x.answer.begun {
		t.Errorf("the client got %q", text)
	}
}

// Who looks at all requests would end, or judge, another function's request for this one.
func TestRequestThatIsLookedAtBecomesNoOther(t *testing.T) {
	s := New(exchange.NewShared(exchange.Options{}))
	begun := func() *plainRequest {
		x := &plainRequest{Exchange: &exchange.Exchange{}, client: s.Client(), handled: s.newHandled()}
		x.answer.x = x
		s.open.Add(&x.watch)
		return x
	}
	over := func(x *plainRequest) (another bool) {
		x.abandon()
		x.recycle()
		return x.client == nil
	}
	x := begun()
	s.open.Each(func(*inflight.Request) {
		if over(x) {
			t.Error("it is another's while it is looked at")
		}
	})
	if !over(begun()) {
		t.Error("it serves no other though nobody looks at it")
	}
}

// The goroutine of an upload may still read when the answer is over. What it has not
// taken is the next request's, so nobody may go on before it has let go.
func TestUploadIsOverWhenItsReaderIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, client := net.Pipe()
		defer client.Close()
		far, host := net.Pipe()
		defer host.Close()
		s := New(exchange.NewShared(exchange.Options{}))
		x := &plainRequest{Exchange: &exchange.Exchange{Conn: s.Conns.Add(ours)}, client: s.Client(), handled: s.newHandled()}
		x.Head = &httphead.Head{Method: "POST", Lengths: []string{"10"}}
		x.conn = origin.NewPool(1).Add(far, origin.Key{})
		x.upload.init(x)
		x.upload.begin()
		synctest.Wait()
		if !x.watch.Uploading.Load() {
			t.Fatal("nobody reads from the client")
		}
		x.upload.stop()
		if x.watch.Uploading.Load() || x.upload.done != nil {
			t.Error("stop returned before the reader let go")
		}
		if x.upload.failed.Load() {
			t.Error("content that nobody needs counts as the client's fault")
		}
		if x.upload.sent || x.upload.whole.Load() {
			t.Error("content that was not read counts as sent")
		}
	})
}
