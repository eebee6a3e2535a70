package config

import (
	"reflect"
	"slices"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config/settings"
)

// NeedRestart returns the keys in which a file differs from the one that runs and that
// take effect at the next start alone, sorted.
func NeedRestart(a, b *Config) []string {
	var keys []string
	for key, same := range map[string]bool{
		"listen": sameListen(a.Listen, b.Listen),
		"dns":    reflect.DeepEqual(a.DNS, b.DNS),
		"limits": sameLimits(a.Limits, b.Limits),
		"audit":  a.Audit == b.Audit,
	} {
		if !same {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// sameLimits compares the limits, whether the file has them or the defaults do.
func sameLimits(a, b settings.Limits) bool {
	a.HasTunnels, a.HasTunnelsPerFunction, a.HasUnidentified = b.HasTunnels, b.HasTunnelsPerFunction, b.HasUnidentified
	return a == b
}

// sameListen compares all but the certificates, which a reload does change.
func sameListen(a, b Listen) bool {
	if (a.TLS == nil) != (b.TLS == nil) || a.TLS != nil && a.TLS.Address != b.TLS.Address {
		return false
	}
	a.TLS, b.TLS = nil, nil
	return reflect.DeepEqual(a, b)
}
