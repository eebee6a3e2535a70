package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/resolve"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// families maps the words of the file to those of the resolver.
var families = map[config.Families]resolve.Families{
	config.FamiliesAuto: resolve.Auto,
	config.FamiliesIP4:  resolve.IP4,
	config.FamiliesIP6:  resolve.IP6,
	config.FamiliesBoth: resolve.Both,
}

// newResolver makes the resolver that the file asks for.
func newResolver(cfg *config.Config, reg prometheus.Registerer, log *slog.Logger) (*resolve.Resolver, error) {
	r, err := resolve.New(resolve.Config{
		Upstreams: cfg.DNS.Upstreams, Families: families[cfg.DNS.Families], Registerer: reg, Logger: log,
	})
	if err != nil {
		return nil, fmt.Errorf("starting the resolver: %w", err)
	}
	return r, nil
}

// errLookupTimeout has the Timeout method by which package proxy knows
// dns_timeout.
type errLookupTimeout struct{ error }

func (errLookupTimeout) Timeout() bool   { return true }
func (e errLookupTimeout) Unwrap() error { return e.error }

// lookupWith makes the proxy's Lookup of a resolver.
func lookupWith(r *resolve.Resolver) func(context.Context, hostname.Name) (proxy.Resolved, error) {
	return func(ctx context.Context, name hostname.Name) (proxy.Resolved, error) {
		a, err := r.Lookup(ctx, name.String())
		if errors.Is(err, resolve.ErrTimeout) {
			return proxy.Resolved{}, errLookupTimeout{err}
		}
		return proxy.Resolved{Addresses: a.Addrs, Aliases: a.Chain}, err
	}
}

// lookupOnce looks one name up as a running proxy would.
func lookupOnce(ctx context.Context, cfg *config.Config, name hostname.Name) (found proxy.Resolved, reason verdict.Reason) {
	r, err := newResolver(cfg, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		return found, verdict.ReasonDNSFailed
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(ctx, cfg.Limits.DialTimeout)
	defer cancel()
	found, err = lookupWith(r)(ctx, name)
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return found, verdict.ReasonDNSTimeout
	case err != nil:
		return found, verdict.ReasonDNSFailed
	}
	return found, verdict.ReasonNone
}

// listening knows every address that the program listens on, which nobody may
// be connected to through it.
type listening struct {
	ports map[uint16][]netip.Addr // by port; an unspecified address stands for all of the machine's
	own   []netip.Addr            // the machine's
}

// newListening gathers the listeners of the file and the machine's addresses.
func newListening(cfg *config.Config) *listening {
	l := &listening{ports: map[uint16][]netip.Addr{}}
	l.add(cfg.Listen.Proxy)
	l.add(cfg.Listen.Admin)
	l.add(cfg.Listen.DNS)
	if cfg.Listen.TLS != nil {
		l.add(cfg.Listen.TLS.Address)
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return l
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			l.own = append(l.own, p.Addr().Unmap())
		}
	}
	return l
}

// add adds a listener; the zero AddrPort is none.
func (l *listening) add(a netip.AddrPort) {
	if a.IsValid() {
		l.ports[a.Port()] = append(l.ports[a.Port()], a.Addr().Unmap())
	}
}

// has reports whether the address is one of the program's own listeners.
func (l *listening) has(a netip.AddrPort) bool {
	for _, at := range l.ports[a.Port()] {
		if at == a.Addr() {
			return true
		}
		if !at.IsUnspecified() {
			continue
		}
		if a.Addr().IsLoopback() {
			return true
		}
		for _, own := range l.own {
			if own == a.Addr() {
				return true
			}
		}
	}
	return false
}
