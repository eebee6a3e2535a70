// Package lookup makes the resolver that the policy file asks for, and says to the fronts
// what has become of a lookup in the words that they know.
//
// What it does: [New] makes the resolver of a running program, [With] the proxy's Lookup
// of it, and [Once] looks one name up as a running proxy would, for explain.
//
// What it does not do: it asks and caches nothing by itself; package resolve does.
//
//	r, err := lookup.New(cfg, 0, own, reg, log)
//	o := proxy.Options{Lookup: lookup.With(r)}
package lookup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/config/settings"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/fair"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/ownaddrs"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/resolve"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// families maps the words of the file to those of the resolver.
var families = map[settings.Families]resolve.Families{
	settings.FamiliesAuto: resolve.Auto,
	settings.FamiliesIP4:  resolve.IP4,
	settings.FamiliesIP6:  resolve.IP6,
	settings.FamiliesBoth: resolve.Both,
}

// New makes the resolver that the file asks for, with so many lookups at a time;
// 0: its default. It asks none of the program's own addresses.
func New(cfg *config.Config, lookups int, own func(netip.AddrPort) bool, reg prometheus.Registerer, log *slog.Logger) (*resolve.Resolver, error) {
	stale := cfg.DNS.StaleFor
	if stale == 0 {
		stale = -1 // never
	}
	r, err := resolve.New(resolve.Config{
		Upstreams: cfg.DNS.Upstreams, Families: families[cfg.DNS.Families], MaxChain: cfg.DNS.MaxAliases, StaleFor: stale, Own: own,
		Lookups: lookups, Registerer: reg, Logger: log,
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

// Error makes of a resolver's error what the fronts know: what it took too long for,
// and what this machine lacks, which is no fault of the name.
func Error(err error) error {
	switch {
	case errors.Is(err, resolve.ErrTimeout):
		return errLookupTimeout{err}
	case errors.Is(err, resolve.ErrLocal):
		return fair.ErrNoneLeft
	default:
		return err
	}
}

// With makes the proxy's Lookup of a resolver.
func With(r *resolve.Resolver) func(context.Context, hostname.Name) (proxy.Resolved, error) {
	return func(ctx context.Context, name hostname.Name) (proxy.Resolved, error) {
		a, err := r.Lookup(ctx, name.String())
		if err != nil {
			return proxy.Resolved{}, Error(err)
		}
		return proxy.Resolved{Addresses: a.Addrs, Aliases: a.Chain, Stale: a.Stale}, nil
	}
}

// Once returns a func that looks one name up as a running proxy would, with a
// resolver for that name alone: its addresses and aliases, or why there are none.
func Once(cfg *config.Config) func(context.Context, hostname.Name) ([]netip.Addr, []string, verdict.Reason) {
	return func(ctx context.Context, name hostname.Name) ([]netip.Addr, []string, verdict.Reason) {
		r, err := New(cfg, 0, ownaddrs.Of(cfg).Has, nil, slog.New(slog.DiscardHandler))
		if err != nil {
			return nil, nil, verdict.ReasonDNSFailed
		}
		defer r.Close()
		ctx, cancel := context.WithTimeout(ctx, cfg.Limits.DialTimeout)
		defer cancel()
		found, err := With(r)(ctx, name)
		var timeout interface{ Timeout() bool }
		switch {
		case errors.As(err, &timeout) && timeout.Timeout():
			return nil, nil, verdict.ReasonDNSTimeout
		case err != nil:
			return nil, nil, verdict.ReasonDNSFailed
		}
		return found.Addresses, found.Aliases, verdict.ReasonNone
	}
}
