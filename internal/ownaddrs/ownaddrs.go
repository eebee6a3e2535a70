// Package ownaddrs knows every address that the program listens on, which nobody may be
// connected to through it. The running program and explain ask it.
package ownaddrs

import (
	"net"
	"net/netip"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
)

// Addresses are those that the program listens on. Not changed once there are requests, so it is safe
// for concurrent use.
type Addresses struct {
	ports map[uint16][]netip.Addr // by port; an unspecified address stands for all of the machine's
	own   []netip.Addr            // the machine's
}

// Of gathers the listeners of the file and the machine's addresses.
func Of(cfg *config.Config) *Addresses {
	o := &Addresses{ports: map[uint16][]netip.Addr{}}
	o.Add(cfg.Listen.Proxy)
	o.Add(cfg.Listen.Admin)
	o.Add(cfg.Listen.DNS)
	if cfg.Listen.TLS != nil {
		o.Add(cfg.Listen.TLS.Address)
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

// Add adds a listener before there are requests; the zero AddrPort is none.
func (o *Addresses) Add(a netip.AddrPort) {
	if a.IsValid() {
		o.ports[a.Port()] = append(o.ports[a.Port()], a.Addr().Unmap())
	}
}

// Has reports whether the address is one of the program's own listeners.
func (o *Addresses) Has(a netip.AddrPort) bool {
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
