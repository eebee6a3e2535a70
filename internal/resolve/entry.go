package resolve

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/resolve/chain"
)

const (
	// failureTTL is how long it is remembered that upstreams answered with a failure.
	failureTTL = time.Second
	// refreshShare is the last part of a TTL, one in so many, in which a popular
	// entry is refreshed.
	refreshShare = 5
)

// newEntry makes of c, which has followed the question k, an answer that begins to age
// at now.
func newEntry(c *chain.Chain, k key, cfg Config, now time.Duration) *entry {
	e := &entry{
		rcode: c.Rcode, answer: c.Answer, authority: c.Authority,
		addrs: addresses(c.Answer, k.Type), chain: c.Names,
	}
	negative := c.Rcode != dns.RcodeSuccess || len(c.Authority) > 0
	if len(e.addrs) == 0 {
		e.problem = fmt.Errorf("resolving %q: %s: %w", k.Name, dns.RcodeToString[c.Rcode], ErrNotFound)
	}
	ttl := lifetime(cfg, c.TTL, negative)
	if ttl == 0 {
		return e
	}
	e.expires = now + ttl
	e.staleUntil = e.expires
	if !negative {
		e.staleUntil += cfg.StaleFor
		e.refreshAt.Store(int64(e.expires - ttl/refreshShare))
	}
	return e
}

// lifetime clamps a TTL. Zero stays zero: such an answer is not kept at all.
func lifetime(cfg Config, ttl uint32, negative bool) time.Duration {
	d := time.Duration(ttl) * time.Second
	switch {
	case ttl == 0:
		return 0
	case negative:
		return min(d, cfg.NegativeTTL)
	}
	return min(max(d, cfg.MinTTL), cfg.MaxTTL)
}

// addresses takes the addresses of rrtype out of records: each once, MaxAddrs at
// most. An IPv4-mapped one is unmapped, to be judged as the IPv4 address it is.
func addresses(records []dns.RR, rrtype uint16) []netip.Addr {
	var addrs []netip.Addr
	for _, rr := range records {
		var ip []byte
		switch rr := rr.(type) {
		case *dns.A:
			ip = rr.A
		case *dns.AAAA:
			ip = rr.AAAA
		}
		addr, ok := netip.AddrFromSlice(ip)
		if !ok || rr.Header().Rrtype != rrtype {
			continue
		}
		if addr = addr.Unmap(); !slices.Contains(addrs, addr) {
			addrs = append(addrs, addr)
		}
		if len(addrs) == MaxAddrs {
			break
		}
	}
	return addrs
}
