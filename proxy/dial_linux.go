package proxy

import (
	"net/netip"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/reactor"
)

// dialOnLoop is dialOne that does not wait: it returns a socket that connects.
// The check is repeated on the address that the kernel is given, so that no path
// can connect to an unchecked one.
func dialOnLoop(a netip.AddrPort, permits func(netip.AddrPort) bool) (fd int, err error) {
	if !permits(a) {
		return -1, errNotPermitted
	}
	return reactor.Connect(a)
}
