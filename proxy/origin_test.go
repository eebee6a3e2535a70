package proxy_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
)

// origin is a recording origin: every connection and what it sent.
type origin struct {
	port     uint16
	accepted atomic.Int64
	asked    atomic.Int64 // connections of the test itself
	got      recordBuffer
}

// testsOwn is where connections of the test itself come from.
const testsOwn = "127.0.0.254"

// connections returns how many connections there are, those included that wait
// to be accepted: behind them comes one of the test's own.
func (o *origin) connections(t testing.TB) int64 {
	t.Helper()
	before := o.asked.Load()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(testsOwn)}}
	c, err := d.Dial("tcp", o.at("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	eventually(t, "the origin accepts", func() bool { return o.asked.Load() > before })
	return o.accepted.Load()
}

// newOrigin starts an origin that runs serve on each connection.
func newOrigin(t testing.TB, serve func(net.Conn)) *origin {
	t.Helper()
	return newOriginAt(t, "127.0.0.1:0", serve)
}

// newOriginAt starts an origin at an address.
func newOriginAt(t testing.TB, addr string, serve func(net.Conn)) *origin {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	o := &origin{port: ln.Addr().(*net.TCPAddr).AddrPort().Port()}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			if c.RemoteAddr().(*net.TCPAddr).IP.String() == testsOwn {
				c.Close()
				o.asked.Add(1)
				continue
			}
			o.accepted.Add(1)
			wg.Go(func() {
				defer c.Close()
				serve(&tapConn{Conn: c, got: &o.got})
			})
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return o
}

// tapConn records what is read.
type tapConn struct {
	net.Conn
	got *recordBuffer
}

func (c *tapConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	_, _ = c.got.Write(p[:n])
	return n, err
}

func (c *tapConn) CloseWrite() error { return c.Conn.(*net.TCPConn).CloseWrite() }

// text returns what the origin has read.
func (o *origin) text() string {
	o.got.mu.Lock()
	defer o.got.mu.Unlock()
	return o.got.buf.String()
}

// echo sends back what it reads.
func echo(c net.Conn) {
	_, _ = io.Copy(c, c)
}

// tlsOrigin is a real TLS server that answers every request with "hello".
func tlsOrigin(t testing.TB) (*httptest.Server, uint16) {
	t.Helper()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello from %s", r.Host)
	}))
	t.Cleanup(s.Close)
	return s, netip.MustParseAddrPort(s.Listener.Addr().String()).Port()
}
