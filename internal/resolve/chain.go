package resolve

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
)

// What can be wrong with CNAMEs. All of it is an ErrFailed to callers.
var (
	errLoop     = errors.New("they go in a circle")
	errTooLong  = errors.New("there are too many")
	errNoTarget = errors.New("one has no target")
)

const (
	// failureTTL is how long it is remembered that upstreams answered with a failure.
	failureTTL = time.Second
	// refreshShare is the last part of a TTL, one in so many, in which a popular
	// entry is refreshed.
	refreshShare = 5
)

// chain collects the answer to one question from one or more replies: the CNAMEs
// from the question's name on and the records at their end, and nothing else of
// what the replies hold.
type chain struct {
	key   key
	limit int
	at    string   // the name whose records are looked for, canonical
	names []string // the CNAMEs' targets so far

	rcode     int
	answer    []dns.RR
	authority []dns.RR
	ttl       uint32 // the smallest of answer and authority; 0 for a denial without SOA
}

// newChain begins at k's name and follows limit CNAMEs at most.
func newChain(k key, limit int) *chain {
	return &chain{key: k, limit: limit, at: k.Name, ttl: ^uint32(0)}
}

// add adds what reply knows. It reports false where the chain has come to a name
// that reply is silent about, and that must be asked for by itself.
func (c *chain) add(reply *dns.Msg) (done bool, err error) {
	before := len(c.names)
	for {
		if reply.Rcode == dns.RcodeSuccess && c.collect(reply.Answer, c.key.Type) {
			return true, nil
		}
		target, ok := c.cname(reply.Answer)
		if !ok {
			break
		}
		if err := c.moveTo(target); err != nil {
			return false, err
		}
	}
	if c.deny(reply) || reply.Rcode == dns.RcodeNameError {
		c.rcode = reply.Rcode
		if len(c.authority) == 0 {
			c.ttl = 0
		}
		return true, nil
	}
	if len(c.names) == before {
		// An empty answer that nothing vouches for: NODATA, not to be kept.
		c.ttl = 0
		return true, nil
	}
	return false, nil
}

// collect adds the records of rrtype at the chain's end, and with DNSSEC their
// signatures. It reports whether there were any records.
func (c *chain) collect(records []dns.RR, rrtype uint16) bool {
	found := false
	for _, rr := range records {
		switch {
		case !usable(rr) || hostname.Fold(rr.Header().Name) != c.at:
		case rr.Header().Rrtype == rrtype:
			found = true
			c.store(&c.answer, rr)
		case c.key.DNSSEC && covers(rr, rrtype):
			c.store(&c.answer, rr)
		}
	}
	return found
}

// store adds rr to one of c's sections, which ages as fast as its fastest record.
func (c *chain) store(to *[]dns.RR, rr dns.RR) {
	*to = append(*to, rr)
	c.ttl = min(c.ttl, rr.Header().Ttl)
}

// usable leaves out other classes, and records whose data is missing, which the
// parser lets pass because updates have them (RFC 2136 section 2.4).
func usable(rr dns.RR) bool {
	return rr.Header().Class == dns.ClassINET && rr.Header().Rdlength > 0
}

// covers reports whether rr is a signature over records of rrtype (RFC 4034
// section 3.1.1).
func covers(rr dns.RR, rrtype uint16) bool {
	sig, ok := rr.(*dns.RRSIG)
	return ok && sig.TypeCovered == rrtype
}

// cname finds the first CNAME at the chain's end and adds it.
func (c *chain) cname(records []dns.RR) (target string, ok bool) {
	if c.key.Type == dns.TypeCNAME {
		return "", false
	}
	for _, rr := range records {
		if alias, is := rr.(*dns.CNAME); is && usable(rr) && hostname.Fold(alias.Hdr.Name) == c.at {
			c.store(&c.answer, rr)
			c.signature(records)
			return hostname.Fold(alias.Target), true
		}
	}
	return "", false
}

// signature adds the signatures of the CNAME at the chain's end.
func (c *chain) signature(records []dns.RR) {
	for _, rr := range records {
		if c.key.DNSSEC && usable(rr) && covers(rr, dns.TypeCNAME) && hostname.Fold(rr.Header().Name) == c.at {
			c.store(&c.answer, rr)
		}
	}
}

// moveTo moves the chain's end to target. A circle through the question's own name
// takes one more turn before it is seen, as does every other.
func (c *chain) moveTo(target string) error {
	switch {
	case target == "":
		return errNoTarget
	case slices.Contains(c.names, target):
		return errLoop
	case len(c.names) == c.limit:
		return fmt.Errorf("%w: more than %d", errTooLong, c.limit)
	}
	c.names = append(c.names, target)
	c.at = target
	return nil
}

// deny looks for the SOA that vouches for an empty answer: one of a zone that the
// chain's end lies in. It keeps the SOA, and with DNSSEC the proof of denial.
func (c *chain) deny(reply *dns.Msg) bool {
	for _, rr := range reply.Ns {
		soa, ok := rr.(*dns.SOA)
		if !ok || !usable(rr) || !dns.IsSubDomain(soa.Hdr.Name, dns.Fqdn(c.at)) {
			continue
		}
		c.store(&c.authority, soa)
		c.ttl = min(c.ttl, soa.Minttl)
		if c.key.DNSSEC {
			c.proof(reply.Ns, soa.Hdr.Name)
		}
		return true
	}
	return false
}

// proof adds the denials of zone and their signatures, which are of use only to
// somebody who validates: we do not.
func (c *chain) proof(records []dns.RR, zone string) {
	for _, rr := range records {
		if !usable(rr) || !dns.IsSubDomain(zone, rr.Header().Name) {
			continue
		}
		switch rr.(type) {
		case *dns.NSEC, *dns.NSEC3, *dns.RRSIG:
			c.store(&c.authority, rr)
		}
	}
}

// entry is the chain as an answer that begins to age at now.
func (c *chain) entry(cfg Config, now time.Duration) *entry {
	e := &entry{
		rcode: c.rcode, answer: c.answer, authority: c.authority,
		addrs: addresses(c.answer, c.key.Type), chain: c.names,
	}
	negative := c.rcode != dns.RcodeSuccess || len(c.authority) > 0
	if len(e.addrs) == 0 {
		e.problem = fmt.Errorf("resolving %q: %s: %w", c.key.Name, dns.RcodeToString[c.rcode], ErrNotFound)
	}
	ttl := lifetime(cfg, c.ttl, negative)
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
