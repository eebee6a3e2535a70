package reactor_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"reflect"
	"syscall"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/reactor"
)

// calls is what a stream and a connection have in common.
type calls interface {
	Read([]byte) (int, error)
	Write([]byte) (int, error)
}

// result is what a call returns, of an error what callers ask for.
type result struct {
	n                                          int
	op                                         string
	eof, closed, deadline, timeout, reset, out bool
}

func resultOf(n int, err error) result {
	r := result{n: n, eof: err == io.EOF, closed: errors.Is(err, net.ErrClosed), deadline: errors.Is(err, os.ErrDeadlineExceeded),
		reset: errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)}
	var op *net.OpError
	if r.out = errors.As(err, &op); r.out && r.reset {
		r.op = op.Op + " " + op.Source.String()[:4] + op.Addr.String()[:4]
	}
	var timeout net.Error
	r.timeout = errors.As(err, &timeout) && timeout.Timeout()
	return r
}

// A stream returns what its connection would.
func TestStreamReadsAndWritesAsItsConnectionDoes(t *testing.T) {
	long := bytes.Repeat([]byte("0123456789abcdef"), 1<<20) // more than a socket takes
	for name, row := range map[string]func(t *testing.T, c calls, own, peer *net.TCPConn) []result{
		"what has come": func(t *testing.T, c calls, _, peer *net.TCPConn) []result {
			_, _ = peer.Write([]byte("abc"))
			b := make([]byte, 8)
			n, err := io.ReadFull(c, b[:2])
			m, err2 := c.Read(b[2:])
			if string(b[:3]) != "abc" {
				t.Errorf("read %q", b)
			}
			return []result{resultOf(n, err), resultOf(m, err2)}
		},
		"what comes while it waits": func(t *testing.T, c calls, _, peer *net.TCPConn) []result {
			time.AfterFunc(20*time.Millisecond, func() { _, _ = peer.Write([]byte("abc")) })
			b := make([]byte, 8)
			n, err := c.Read(b)
			if string(b[:n]) != "abc" {
				t.Errorf("read %q", b[:n])
			}
			return []result{resultOf(n, err)}
		},
		"the end": func(_ *testing.T, c calls, _, peer *net.TCPConn) []result {
			_ = peer.CloseWrite()
			return []result{resultOf(c.Read(make([]byte, 8))), resultOf(c.Read(make([]byte, 8)))}
		},
		"no room": func(_ *testing.T, c calls, _, _ *net.TCPConn) []result {
			return []result{resultOf(c.Read(nil)), resultOf(c.Write(nil))}
		},
		"a reset": func(_ *testing.T, c calls, _, peer *net.TCPConn) []result {
			_ = peer.SetLinger(0)
			_ = peer.Close()
			first := resultOf(c.Read(make([]byte, 8)))
			return []result{first, resultOf(c.Write([]byte("x")))}
		},
		"a deadline": func(_ *testing.T, c calls, own, _ *net.TCPConn) []result {
			_ = own.SetDeadline(time.Now().Add(20 * time.Millisecond))
			r := []result{resultOf(c.Read(make([]byte, 8))), resultOf(c.Write([]byte("x")))}
			_ = own.SetDeadline(time.Time{})
			return append(r, resultOf(c.Write([]byte("x"))))
		},
		"a deadline that is set meanwhile": func(_ *testing.T, c calls, own, _ *net.TCPConn) []result {
			time.AfterFunc(20*time.Millisecond, func() { _ = own.SetReadDeadline(time.Unix(1, 0)) })
			return []result{resultOf(c.Read(make([]byte, 8)))}
		},
		"closed": func(_ *testing.T, c calls, own, _ *net.TCPConn) []result {
			time.AfterFunc(20*time.Millisecond, func() { _ = own.Close() })
			return []result{resultOf(c.Read(make([]byte, 8))), resultOf(c.Read(make([]byte, 8))), resultOf(c.Write([]byte("x")))}
		},
		"more than the peer takes at once": func(t *testing.T, c calls, own, peer *net.TCPConn) []result {
			got := make(chan []byte)
			go func() {
				time.Sleep(20 * time.Millisecond)
				all, _ := io.ReadAll(peer)
				got <- all
			}()
			r := resultOf(c.Write(long))
			_ = own.CloseWrite()
			if all := <-got; !bytes.Equal(all, long) {
				t.Errorf("%d bytes came of %d, or others", len(all), len(long))
			}
			return []result{r}
		},
		"more than the peer takes in time": func(t *testing.T, c calls, own, peer *net.TCPConn) []result {
			_ = own.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
			n, err := c.Write(long)
			_ = own.CloseWrite()
			if all, _ := io.ReadAll(peer); len(all) != n || n == 0 {
				t.Errorf("%d bytes came, and %d were said to be taken", len(all), n)
			}
			return []result{resultOf(0, err)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got [2][]result
			for i := range got {
				peer, own := egresstest.Pair(t)
				var s reactor.Stream
				s.Init(own)
				got[i] = row(t, []calls{own, &s}[i], own, peer)
				_, _ = own.Close(), peer.Close()
			}
			if !reflect.DeepEqual(got[0], got[1]) {
				t.Errorf("of the connection %+v\nof the stream     %+v", got[0], got[1])
			}
		})
	}
}

// A stream over a connection that is no socket is that connection.
func TestStreamOverLayersGoesThroughThem(t *testing.T) {
	near, far := net.Pipe()
	var s reactor.Stream
	s.Init(near)
	go func() { _, _ = far.Write([]byte("abc")) }()
	b := make([]byte, 8)
	if n, err := s.Read(b); err != nil || string(b[:n]) != "abc" {
		t.Errorf("read %q, %v", b[:n], err)
	}
	go func() { _, _ = s.Write([]byte("def")) }()
	if n, err := far.Read(b); err != nil || string(b[:n]) != "def" {
		t.Errorf("the other side read %q, %v", b[:n], err)
	}
}
