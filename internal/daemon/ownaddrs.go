package daemon

import (
	"net"
	"net/netip"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
)

// OwnAddrs knows every address that the program listens on, which nobody may
// be connected to through it.
type OwnAddrs struct {
	ports map[uint16][]netip.Addr // by port; an unspecified address stands for all of the machine's
	own   []netip.Addr            // the machine's
}

// NewOwnAddrs gathers the listeners of the file and the machine's addresses.
func NewOwnAddrs(cfg *config.Config) *OwnAddrs {
	o := &OwnAddrs{ports: map[uint16][]netip.Addr{}}
	o.add(cfg.Listen.Proxy)
	o.add(cfg.Listen.Admin)
	o.add(cfg.Listen.DNS)
	if cfg.Listen.TLS != nil {
		o.add(cfg.Listen.TLS.Address)
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return o
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			o.own = append(o.own, p.Addr().Unmap())
		}
	}
	return o
}

// add adds a listener; the zero AddrPort is none.
func (o *OwnAddrs) add(a netip.AddrPort) {
	if a.IsValid() {
		o.ports[a.Port()] = append(o.ports[a.Port()], a.Addr().Unmap())
	}
}

// Has reports whether the address is one of the program's own listeners.
func (o *OwnAddrs) Has(a netip.AddrPort) bool {
	for _, at := range o.ports[a.Port()] {
		if at == a.Addr() {
			return true
		}
		if !at.IsUnspecified() {
			continue
		}
		if a.Addr().IsLoopback() {
			return true
		}
		for _, own := range o.own {
			if own == a.Addr() {
				return true
			}
		}
	}
	return false
}
