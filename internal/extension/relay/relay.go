// Package relay takes the requests of a function's clients and brings them to the
// proxy, with a token that proves who the function is.
//
// What it does: it speaks HTTP/1.1 to clients on loopback, opens a connection by TLS to
// the proxy for each request, adds Proxy-Authorization, and gives back what the proxy
// says as it came: status line, fields and content. A tunnel is bytes from there on.
// Behind a freeze it ends the tunnels that wait for nothing, so that pools of clients
// find them closed.
//
// What it does not do: it dials no target, decides nothing, reads nothing within a
// tunnel, and authenticates no client: whoever runs within the function is the function.
// As each request has a connection of its own to the proxy, what authenticates a
// connection by its requests (NTLM) does not work for plain HTTP.
//
//	r := relay.New(relay.Options{Dial: proxy.Dial, Credential: bearer, Replace: another})
//	err := r.Serve(ctx, listener)
package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Options says where requests go.
type Options struct {
	// Dial opens a connection to the proxy. Required, unless Unusable is set.
	Dial func(ctx context.Context) (*tls.Conn, error)
	// Credential returns the value of Proxy-Authorization; Replace another than one
	// that the proxy has refused. Required, as Dial.
	Credential func(ctx context.Context) (string, error)
	Replace    func(ctx context.Context, refused string) (string, error)
	// Code says in a word why there is no credential, from an error of the two; nil:
	// "Unknown".
	Code func(error) string
	// Unusable says which setting is wrong; every request is answered with it. "":
	// none is.
	Unusable string
	// Now is the wall clock; nil: that of the machine.
	Now func() time.Time
	// Log gets what goes wrong with the proxy and the token; nil: nobody does.
	Log *slog.Logger
}

// Relay serves the clients of one function. Make one with New.
type Relay struct {
	Options

	seen atomic.Int64 // Unix time in milliseconds at which the clock was last looked at

	mu      sync.Mutex
	tunnels map[*tunnel]struct{}
}

// New returns a Relay.
func New(o Options) *Relay {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Code == nil {
		o.Code = func(error) string { return "Unknown" }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	r := &Relay{Options: o, tunnels: map[*tunnel]struct{}{}}
	r.seen.Store(r.Now().UnixMilli())
	return r
}

// Serve takes connections until the context ends, and returns when all of them have. It
// goes on where one cannot be accepted, for want of descriptors for example.
func (r *Relay) Serve(ctx context.Context, ln net.Listener) {
	var conns sync.WaitGroup
	defer conns.Wait()
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	conns.Go(func() { r.watchClock(ctx) })
	for {
		conn, err := ln.Accept()
		if err == nil {
			conns.Go(func() { r.serveConn(ctx, conn) })
			continue
		}
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return
		}
		r.Log.Error("a connection cannot be accepted", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// serveConn serves one client until either side closes, or the context ends.
func (r *Relay) serveConn(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	c := newPeer(conn)
	for {
		head, err := readRequest(c.in)
		r.lookAtClock()
		if err != nil {
			if !isEnd(err) {
				r.refuse(c, malformed)
			}
			return
		}
		if !r.serveRequest(ctx, c, head) {
			return
		}
	}
}

// isEnd reports whether a client has gone before it has sent a request.
func isEnd(err error) bool {
	var timeout net.Error
	return errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &timeout)
}
