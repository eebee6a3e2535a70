package gate

import (
	"fmt"
	"net/netip"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/ipclass"
)

// trace tells what a step has found.
func (d *Decision) trace(format string, args ...any) {
	if d.Trace != nil {
		d.Trace(fmt.Sprintf(format, args...))
	}
}

// traceAddress tells why an address is permitted or not.
func (d *Decision) traceAddress(a netip.Addr) {
	switch {
	case d.Self != nil && d.Self(netip.AddrPortFrom(a.Unmap(), d.Target.Port)):
		d.trace("addresses: %s is the proxy itself", a)
	case ipclass.AlwaysBlocked(a):
		d.trace("addresses: %s can be opened by no rule", a)
	case !d.Decided.PermitsAddress(a.Unmap()):
		d.trace("addresses: %s is not public, and the rule does not open it", a)
	default:
		d.trace("addresses: %s is permitted", a)
	}
}
