package tunnel

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/reactor"
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

// keepsAlive reports whether SO_KEEPALIVE is set.
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

func TestTunnelOnALoopThatLastsGetsKeepAliveOnBothLegs(t *testing.T) {
	g := New(Options{KeepAlive: net.KeepAliveConfig{Enable: true, Idle: 45 * time.Second, Interval: 15 * time.Second, Count: 3}})
	loop, err := reactor.New()
	if err != nil {
		t.Fatal(err)
	}
	go loop.Run()
	defer loop.Wait()
	defer loop.Close()
	var fds [2]int
	for i, c := range [...]*net.TCPConn{accepted(t), accepted(t)} {
		raw, err := c.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if err := raw.Control(func(fd uintptr) { fds[i], err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	}
	done, started := make(chan struct{}), make(chan *Tunnel)
	loop.Post(func() {
		for _, fd := range fds {
			if err := loop.Watch(fd, reactor.Readable, nil); err != nil {
				t.Error(err)
			}
		}
		started <- g.StartOn(loop, Sockets{Client: fds[0], Origin: fds[1], Done: func(Result) { close(done) }})
	})
	tun := <-started
	kept := func() (n int) {
		asked := make(chan struct{})
		loop.Post(func() { // behind what the sweep has posted
			for _, fd := range fds {
				if on, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE); err == nil && on != 0 {
					n++
				}
			}
			close(asked)
		})
		<-asked
		return n
	}
	g.sweep(tun.started.Add(keepAliveAfter / 2))
	if n := kept(); n != 0 {
		t.Errorf("a young tunnel has paid for keepalive on %d legs", n)
	}
	g.sweep(tun.started.Add(keepAliveAfter))
	if n := kept(); n != 2 {
		t.Errorf("keepalive is set on %d legs", n)
	}
	tun.End(Shutdown)
	<-done
}
