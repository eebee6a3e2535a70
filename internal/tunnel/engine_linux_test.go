package tunnel_test

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/reactor"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/tunnel"
)

// byEachEngine runs a test with goroutines for each tunnel, and with a loop for all of them.
func byEachEngine(t *testing.T, test func(*testing.T, groupMaker)) {
	t.Run("by goroutines", func(t *testing.T) { test(t, newGroup) })
	t.Run("on a loop", func(t *testing.T) { test(t, newLoopGroup) })
}

// newLoopGroup is newGroup with a loop that runs as long as the group does.
func newLoopGroup(t testing.TB, o tunnel.Options) *group {
	t.Helper()
	loop, err := reactor.New()
	must(t, err)
	go loop.Run()
	t.Cleanup(func() {
		loop.Close()
		loop.Wait()
	})
	g := &group{Group: runGroup(t, o)}
	g.start = func(front, back *net.TCPConn, prefix []byte, done func(tunnel.Result)) *tunnel.Tunnel {
		client, origin := socket(t, front), socket(t, back)
		if len(prefix) > 0 {
			t.Error("on a loop the set-up writes what was read ahead")
		}
		started := make(chan *tunnel.Tunnel)
		loop.Post(func() {
			for _, fd := range [...]int{client, origin} {
				if err := loop.Watch(fd, reactor.Readable|reactor.Writable, nobody{}); err != nil {
					t.Error(err)
				}
			}
			started <- g.StartOn(loop, tunnel.Sockets{Client: client, Origin: origin, Done: done})
		})
		return <-started
	}
	return g
}

// socket takes the descriptor out of a connection.
func socket(t testing.TB, c *net.TCPConn) int {
	t.Helper()
	raw, err := c.SyscallConn()
	must(t, err)
	fd := -1
	must(t, raw.Control(func(own uintptr) { fd, err = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) }))
	must(t, err)
	must(t, c.Close())
	return fd
}

// nobody handles a descriptor before the tunnel does.
type nobody struct{}

func (nobody) Ready(int, reactor.Events) {}
