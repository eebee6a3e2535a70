// Package egress is the one way out: it opens connections to addresses that have been
// permitted, and nothing else of the program opens any.
//
// What it does: it tries the checked addresses of a host, families by turns, a quarter
// of a second apart, and repeats the check on the address that the kernel is given, at
// connect(2), so that no path can connect to an unchecked one. An
// address that did not answer is tried last for a while. It says why a dial failed.
//
// What it does not do: it resolves nothing, decides nothing ([Permits] does), and bounds
// no number of dials (package admission does).
//
//	var d egress.Dialer
//	c, err := d.Dial(ctx, egress.Host{Addresses: d.Order(addresses, 443, rand.Uint32()), Permits: decision.Permits})
package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// MaxAttempts bounds how many addresses of one host are tried.
const MaxAttempts = 4

// ErrNotPermitted is the backstop at connect(2) at work.
var ErrNotPermitted = errors.New("address is not permitted")

// Permits reports whether a connection may go to the address, which is unmapped.
type Permits func(netip.AddrPort) bool

// Dial connects to one address.
func Dial(ctx context.Context, a netip.AddrPort, permits Permits) (net.Conn, error) {
	d := net.Dialer{
		KeepAlive: -1, // whoever lasts sets its own
		ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			ap, err := netip.ParseAddrPort(address)
			if err != nil || !permits(netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())) {
				return ErrNotPermitted
			}
			return nil
		},
	}
	c, err := d.DialContext(ctx, "tcp", a.String())
	if err != nil {
		return nil, fmt.Errorf("dialing %s: %w", a, err)
	}
	return c, nil
}

// Interleave returns the addresses to try: the families by turns, so that a
// family that does not work costs one attempt, and MaxAttempts in all (RFC 8305,
// section 4). Within a family no address is better than another (RFC 6724, section 6,
// rule 10): it begins at the one of that number, modulo how many there are, so that who
// gives all numbers spreads over all.
func Interleave(addrs []netip.Addr, port uint16, from uint32) []netip.AddrPort {
	if len(addrs) == 1 {
		return []netip.AddrPort{netip.AddrPortFrom(addrs[0], port)}
	}
	var v4, v6 []netip.Addr
	for _, a := range addrs {
		if a.Is4() {
			v4 = append(v4, a)
		} else {
			v6 = append(v6, a)
		}
	}
	at := [2]int{int(from) % max(len(v6), 1), int(from) % max(len(v4), 1)}
	v6, v4 = slices.Concat(v6[at[0]:], v6[:at[0]]), slices.Concat(v4[at[1]:], v4[:at[1]])
	var out []netip.AddrPort
	for len(out) < MaxAttempts && len(v4)+len(v6) > 0 {
		for _, family := range []*[]netip.Addr{&v6, &v4} {
			if len(*family) > 0 && len(out) < MaxAttempts {
				out = append(out, netip.AddrPortFrom((*family)[0], port))
				*family = (*family)[1:]
			}
		}
	}
	return out
}

// ReasonOf maps the error of a dial to a reason; the error itself is not for clients.
func ReasonOf(err error) verdict.Reason {
	var timeout net.Error
	switch {
	case errors.Is(err, ErrNotPermitted):
		return verdict.ReasonAddressNotAllowed
	case ExhaustedOf(err) != "":
		return verdict.ReasonLimitTotal
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return verdict.ReasonDialTimeout
	default:
		return verdict.ReasonDialFailed
	}
}

// RemoteOf returns the address a connection goes to; the zero AddrPort where it is no
// TCP connection.
func RemoteOf(c net.Conn) netip.AddrPort {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		ap := a.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}
