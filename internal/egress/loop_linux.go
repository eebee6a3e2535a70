package egress

import (
	"net/netip"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/reactor"
)

// Start is Dial that does not wait: it returns a socket that connects.
// The check is repeated on the address that the kernel is given, so that no path
// can connect to an unchecked one.
func Start(a netip.AddrPort, permits Permits) (fd int, err error) {
	if !permits(a) {
		return -1, ErrNotPermitted
	}
	return reactor.Connect(a)
}
