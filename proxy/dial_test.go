package proxy_test

import (
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

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
