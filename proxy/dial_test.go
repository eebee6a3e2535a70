package proxy_test

import (
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// deafListener returns a port of 127.0.0.1 whose queue is full: a SYN that
// goes there is dropped.
func deafListener(t testing.TB) uint16 {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	port := uint16(name.(*syscall.SockaddrInet4).Port)
	c, err := net.Dial("tcp", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
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
	// A connection of our own shows that the canary would have counted theirs.
	c, err := net.Dial("tcp", o.at("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	eventually(t, "our own connection", func() bool { return o.accepted.Load() > 0 })
	if n := o.accepted.Load(); n != 1 {
		t.Errorf("%d connections to the canary, one is ours", n)
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
	if o.accepted.Load() != 1 || other.accepted.Load() != 0 {
		t.Errorf("%d connections to the origin, %d to the environment's proxy", o.accepted.Load(), other.accepted.Load())
	}
}
