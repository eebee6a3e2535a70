package proxy_test

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	sys "golang.org/x/sys/unix"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// deafListener returns a port of 127.0.0.1 whose queue is full: a SYN that
// goes there is dropped. From hear on it is refused.
func deafListener(t testing.TB) (port uint16, hear func()) {
	t.Helper()
	fd, port := boundSocket(t, [4]byte{127, 0, 0, 1})
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

// closedPort returns a port that nobody listens on, at no address of loopback,
// and that nobody else is given while the test lasts.
func closedPort(t testing.TB) uint16 {
	t.Helper()
	_, port := boundSocket(t, [4]byte{})
	return port
}

// The check of the answer is made to pass, as a mistake in the code before the
// dial would; the one at connect(2) is the last, and must hold by itself.
func TestTheAddressIsCheckedAgainAtConnect(t *testing.T) {
	o := canary(t)
	var asked atomic.Int64
	r := openRig(t, o, rigOptions{options: func(opt *proxy.Options) {
		opt.Self = func(netip.AddrPort) bool { return asked.Add(1) > 1 }
	}})
	r.wantRefusal(r.ask(connectAs("billing", o.at("any.test"))), 403, "address_not_allowed", "destination_ip_prohibited")
	if n := asked.Load(); n != 2 {
		t.Errorf("the address was checked %d times, want twice", n)
	}
	if n := o.connections(t); n != 0 {
		t.Errorf("%d connections to the canary", n)
	}
}

// The environment's proxy variables would route around every check.
func TestProxyVariablesOfTheEnvironmentAreIgnored(t *testing.T) {
	other := canary(t)
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"} {
		t.Setenv(name, "http://"+other.at("127.0.0.1"))
	}
	t.Setenv("NO_PROXY", "")
	o := newOrigin(t, echo)
	r := openRig(t, o, rigOptions{})
	c, br := r.send(connectAs("billing", o.at("any.test")))
	wantEstablished(t, br)
	c.Close()
	if n, others := o.connections(t), other.connections(t); n != 1 || others != 0 {
		t.Errorf("%d connections to the origin, %d to the environment's proxy", n, others)
	}
}
