package tunnel

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// accepted returns the server's side of a new loopback connection, without keepalive.
func accepted(t *testing.T) *net.TCPConn {
	t.Helper()
	_, c := pair(t)
	tcp := c.(*net.TCPConn)
	if err := tcp.SetKeepAlive(false); err != nil {
		t.Fatal(err)
	}
	return tcp
}

// keepsAlive tells whether SO_KEEPALIVE is set.
func keepsAlive(t *testing.T, c *net.TCPConn) bool {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	on := 0
	if cerr := raw.Control(func(fd uintptr) {
		on, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE)
	}); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	return on != 0
}

func TestTunnelThatLastsGetsKeepAliveOnBothLegs(t *testing.T) {
	g := New(Options{KeepAlive: net.KeepAliveConfig{Enable: true, Idle: 45 * time.Second, Interval: 15 * time.Second, Count: 3}})
	client, origin := accepted(t), accepted(t)
	done := make(chan struct{})
	tun := g.Start(Params{Client: client, Origin: origin, Done: func(Result) { close(done) }})
	g.sweep(tun.started.Add(keepAliveAfter / 2))
	if keepsAlive(t, client) || keepsAlive(t, origin) {
		t.Error("a young tunnel has paid for keepalive")
	}
	g.sweep(tun.started.Add(keepAliveAfter))
	if !keepsAlive(t, client) || !keepsAlive(t, origin) {
		t.Error("keepalive is not set on both legs")
	}
	tun.End(Shutdown)
	<-done
}
