package proxy_test

import (
	"net"
	"net/netip"
	"sync"
	"testing"

	sys "golang.org/x/sys/unix"
)

// deafListener returns a port of 127.0.0.1 whose queue is full: a SYN that
// goes there is dropped. From hear on it is refused.
func deafListener(t testing.TB) (port uint16, hear func()) {
	t.Helper()
	return deafAt(t, [4]byte{127, 0, 0, 1})
}

// deafAt is deafListener at an address; the zero address is every one.
func deafAt(t testing.TB, addr [4]byte) (port uint16, hear func()) {
	t.Helper()
	fd, port := boundSocket(t, addr)
	if err := sys.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	fill(t, fd, port)
	hear = sync.OnceFunc(func() { _ = sys.Shutdown(fd, sys.SHUT_RD) }) // it listens no more
	return port, hear
}

// fill puts one connection into the queue of a listener that has room for one.
func fill(t testing.TB, fd int, port uint16) {
	t.Helper()
	c, err := net.Dial("tcp", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	// The client is connected a moment before it stands in the queue.
	eventually(t, "the queue is full", func() bool {
		info, err := sys.GetsockoptTCPInfo(fd, sys.IPPROTO_TCP, sys.TCP_INFO)
		return err == nil && info.Unacked == 1 // of a listener, the length of its queue
	})
}

// boundSocket returns a TCP socket that does not listen, and its port.
func boundSocket(t testing.TB, addr [4]byte) (fd int, port uint16) {
	t.Helper()
	fd, err := sys.Socket(sys.AF_INET, sys.SOCK_STREAM|sys.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sys.Close(fd) })
	if err := sys.Bind(fd, &sys.SockaddrInet4{Addr: addr}); err != nil {
		t.Fatal(err)
	}
	name, err := sys.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fd, uint16(name.(*sys.SockaddrInet4).Port)
}
