package origin_test

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/httphead"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/origin"
)

// pair returns a connection to an origin and the origin's side of it.
func pair(t *testing.T, p *origin.Pool, k origin.Key) (c *origin.Conn, host *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dialed, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialed.Close(); accepted.Close() })
	return p.Add(dialed, k), accepted.(*net.TCPConn)
}

// key is one of an owner.
func key(owner string) origin.Key {
	return origin.Key{Owner: owner, To: netip.MustParseAddrPort("192.0.2.1:80")}
}

// ends fails unless the proxy has closed the connection.
func ends(t *testing.T, host net.Conn) {
	t.Helper()
	_ = host.SetReadDeadline(time.Now().Add(30 * time.Second))
	var timeout net.Error
	if _, err := host.Read(make([]byte, 1)); err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("it is still open: %v", err)
	}
}

func TestConnectionIsItsOwnersAndGoesWhereItWent(t *testing.T) {
	p := origin.NewPool(10)
	defer p.Close()
	c, _ := pair(t, p, key("a"))
	p.Release(c)
	other := key("a")
	other.To = netip.MustParseAddrPort("192.0.2.2:80")
	if p.Acquire(key("b")) != nil || p.Acquire(other) != nil {
		t.Error("another one has got it")
	}
	if got := p.Acquire(key("a")); got != c {
		t.Errorf("got %v", got)
	}
	if p.Acquire(key("a")) != nil {
		t.Error("it was given out twice")
	}
}

func TestConnectionOnWhichSomethingHasComeIsNotGivenOut(t *testing.T) {
	for why, do := range map[string]func(*net.TCPConn){
		"bytes": func(c *net.TCPConn) { _, _ = io.WriteString(c, "HTTP/1.1 408 Request Timeout\r\n\r\n") },
		"end":   func(c *net.TCPConn) { _ = c.CloseWrite() },
		"reset": func(c *net.TCPConn) { _ = c.SetLinger(0); _ = c.Close() },
	} {
		t.Run(why, func(t *testing.T) {
			p := origin.NewPool(10)
			defer p.Close()
			c, host := pair(t, p, key("a"))
			fresh, _ := pair(t, p, key("b"))
			do(host)
			for deadline := time.Now().Add(30 * time.Second); ; {
				p.Release(c)
				got := p.Acquire(key("a"))
				if got == nil {
					break
				}
				if c = got; time.Now().After(deadline) {
					t.Fatal("it is given out")
				}
			}
			p.Release(fresh)
			if p.Acquire(key("b")) != fresh {
				t.Error("one on which nothing has come is not given out")
			}
		})
	}
}

// Bytes behind an answer would be the next request's answer.
func TestConnectionWithBytesThatNobodyHasTakenIsClosed(t *testing.T) {
	p := origin.NewPool(10)
	defer p.Close()
	c, host := pair(t, p, key("a"))
	_, _ = io.WriteString(host, "HTTP/1.1 204 No\r\n\r\nHTTP/1.1 200 OK\r\n")
	if _, err := c.ReadAnswer(&origin.Limits{Bytes: 1000, Fields: 10}); err != nil {
		t.Fatal(err)
	}
	for len(c.Buffered()) == 0 {
		if _, err := c.Fill(); err != nil {
			t.Fatal(err)
		}
	}
	p.Release(c)
	ends(t, host)
	if p.Acquire(key("a")) != nil {
		t.Error("it is given out")
	}
}

func TestPoolIsBoundedAndTheOldestGoes(t *testing.T) {
	p := origin.NewPool(70)
	defer p.Close()
	release := func(owner string) net.Conn {
		c, host := pair(t, p, key(owner))
		p.Release(c)
		return host
	}
	first := release("b")
	second := release("a")
	for range 63 {
		release("a")
	}
	release("a") // the 65th of one owner to one address
	ends(t, second)
	for _, owner := range []string{"c", "d", "e", "f", "g"} {
		release(owner)
	}
	release("h") // the 71st of all
	ends(t, first)
}

func TestSweepClosesWhatIsOldAndWhatHasEnded(t *testing.T) {
	p := origin.NewPool(10)
	defer p.Close()
	old, oldHost := pair(t, p, key("a"))
	p.Release(old)
	p.Sweep(time.Now().Add(29 * time.Second))
	if p.Acquire(key("a")) != old {
		t.Fatal("it was closed before its time")
	}
	p.Release(old)
	p.Sweep(time.Now().Add(31 * time.Second))
	ends(t, oldHost)
	over, host := pair(t, p, key("a"))
	p.Release(over)
	_ = host.CloseWrite()
	for deadline := time.Now().Add(30 * time.Second); ; {
		p.Sweep(time.Now())
		_ = host.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		var timeout net.Error
		if _, err := host.Read(make([]byte, 1)); !errors.As(err, &timeout) || !timeout.Timeout() {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("what its origin has ended is still open")
		}
	}
}

func TestRemoveAndCloseEndConnections(t *testing.T) {
	p := origin.NewPool(10)
	a, hostA := pair(t, p, key("a"))
	b, hostB := pair(t, p, key("b"))
	p.Release(a)
	p.Release(b)
	p.Remove(key("a"))
	ends(t, hostA)
	p.Close()
	ends(t, hostB)
	late, hostLate := pair(t, p, key("a"))
	p.Release(late)
	ends(t, hostLate)
}

// The bounds are those of all heads in answer to one request.
func TestHeadsOfAnswersAreBoundedTogether(t *testing.T) {
	p := origin.NewPool(10)
	defer p.Close()
	const interim = "HTTP/1.1 103 Early\r\nA: b\r\n\r\n"
	for _, row := range []struct {
		limits origin.Limits
		taken  int
	}{{origin.Limits{Bytes: 3 * len(interim), Fields: 9}, 3}, {origin.Limits{Bytes: 1000, Fields: 2}, 2}, {origin.Limits{Bytes: 5, Fields: 9}, 0}} {
		c, host := pair(t, p, key("a"))
		go func() {
			for range 9 {
				_, _ = io.WriteString(host, interim)
			}
		}()
		n := 0
		for {
			a, err := c.ReadAnswer(&row.limits)
			if err != nil {
				break
			}
			if n++; a.Status != 103 || n > 9 {
				t.Fatalf("%d answers, the last %d", n, a.Status)
			}
		}
		if n != row.taken {
			t.Errorf("%d were taken, want %d", n, row.taken)
		}
	}
}

// An end in the middle of a head is no head.
func TestHeadThatBreaksOffIsNone(t *testing.T) {
	p := origin.NewPool(10)
	defer p.Close()
	const raw = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
	for n := range len(raw) {
		c, host := pair(t, p, key("a"))
		_, _ = io.WriteString(host, raw[:n])
		_ = host.CloseWrite()
		if a, err := c.ReadAnswer(&origin.Limits{Bytes: 1000, Fields: httphead.MaxFields}); err == nil {
			t.Errorf("%q is a head: %v", raw[:n], a)
		}
		_ = c.Close()
	}
}
