package tunnel_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/tunnel"
)

// tlsRig is a tunnel whose client speaks TLS to us, and plain TCP goes to the origin.
func tlsRig(t *testing.T, group *group) (*tls.Conn, *rig) {
	t.Helper()
	dialed, accepted := egresstest.Pair(t)
	return tlsRigOver(t, group, dialed, accepted)
}

// tlsRigOver is tlsRig with a connection to the client that the test brings.
func tlsRigOver(t *testing.T, group *group, dialed *net.TCPConn, accepted net.Conn) (*tls.Conn, *rig) {
	t.Helper()
	back, origin := egresstest.Pair(t)
	front := tls.Server(accepted, &tls.Config{Certificates: []tls.Certificate{egresstest.SelfSigned(t)}})
	client := tls.Client(dialed, &tls.Config{InsecureSkipVerify: true})
	shaken := make(chan error, 1)
	go func() { shaken <- client.Handshake() }()
	must(t, front.Handshake())
	must(t, <-shaken)
	r := &rig{client: dialed, origin: origin, result: make(chan tunnel.Result, 4)}
	r.tunnel = group.Start(tunnel.Params{
		Client: front, Origin: back,
		Done: func(res tunnel.Result) { r.result <- res },
	})
	t.Cleanup(func() {
		dialed.Close()
		origin.Close()
	})
	return client, r
}

func TestEveryByteArrivesWhenTheClientSpeaksTLS(t *testing.T) {
	client, r := tlsRig(t, newGroup(t, tunnel.Options{}))
	up, down := size(t)/8, size(t)/4
	exchange(t, client, r.origin, r.tunnel, up, down)
	if res := r.ended(t, tunnel.Client); res.Up != up || res.Down != down || res.Err != nil {
		t.Errorf("result %+v, want %d up, %d down", res, up, down)
	}
}

// Many TLS clients close the socket without saying so in TLS first. That is still an orderly close.
func TestTLSClientThatClosesWithoutAFarewellIsTheCause(t *testing.T) {
	client, r := tlsRig(t, newGroup(t, tunnel.Options{}))
	roundTrip(t, client, r.origin, make([]byte, 64))
	must(t, client.NetConn().(*net.TCPConn).Close())
	if got := readAll(t, r.origin); len(got) != 0 {
		t.Fatalf("origin read %q", got)
	}
	must(t, r.origin.Close())
	r.ended(t, tunnel.Client)
}

// A close_notify after the origin's reset would turn a cut-off transfer into a complete one. TLS need not be right above
// the socket: something may be between that has read ahead.
func TestResetOfTheOriginIsNotAnOrderlyEndToATLSClient(t *testing.T) {
	for name, layers := range map[string]func(net.Conn) net.Conn{
		"above the socket": func(c net.Conn) net.Conn { return c },
		"above layers":     func(c net.Conn) net.Conn { return below{below{c}} },
	} {
		t.Run(name, func(t *testing.T) {
			dialed, accepted := egresstest.Pair(t)
			client, r := tlsRigOver(t, newGroup(t, tunnel.Options{}), dialed, layers(accepted))
			roundTrip(t, client, r.origin, make([]byte, 64))
			must(t, r.origin.SetLinger(0))
			must(t, r.origin.Close())
			must(t, client.SetReadDeadline(time.Now().Add(testTimeout)))
			if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Fatalf("client read %v, want a reset", err)
			}
			r.ended(t, tunnel.Error)
		})
	}
}

// below is a layer between TLS and the socket.
type below struct{ net.Conn }

// NetConn returns what is below.
func (b below) NetConn() net.Conn { return b.Conn }

// What was cut off in the middle is reset, on TLS too, and End waits for no farewell to a client that reads nothing.
func TestTLSClientThatReadsNothingIsResetWhenTheTunnelIsRevoked(t *testing.T) {
	dialed, accepted := egresstest.Pair(t)
	stuck := &stuckConn{TCPConn: accepted, tried: make(chan struct{}, 1)}
	_, r := tlsRigOver(t, newGroup(t, tunnel.Options{}), dialed, stuck)
	stuck.full.Store(true)
	stopped := flood(r.origin)
	<-stuck.tried
	if !r.tunnel.End(tunnel.Revoked) {
		t.Fatal("End did not end the tunnel")
	}
	<-stopped
	r.ended(t, tunnel.Revoked)
	must(t, r.client.SetReadDeadline(time.Now().Add(testTimeout)))
	if _, err := io.Copy(io.Discard, r.client); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("client read to %v, want a reset", err)
	}
	if n := stuck.waited.Load(); n != 1 {
		t.Errorf("%d writes waited for the client, want the one that was cut off", n)
	}
}

// stuckConn takes nothing once it is full, as if the window of its peer were closed, and says that it was tried.
type stuckConn struct {
	*net.TCPConn
	full   atomic.Bool
	tried  chan struct{}
	waited atomic.Int64 // writes that went on until their deadline
}

// Write waits, when the connection is full, until that is ended by a deadline or by Close.
func (c *stuckConn) Write(b []byte) (int, error) {
	if !c.full.Load() {
		return c.TCPConn.Write(b)
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	err = raw.Write(func(uintptr) bool {
		select {
		case c.tried <- struct{}{}:
		default:
		}
		return false
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.waited.Add(1)
	}
	return 0, err
}
