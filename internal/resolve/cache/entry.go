package cache

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/resolve/chain"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/resolve/upstream"
)

// Key is what answers are kept by.
type Key = upstream.Question

// ErrNotFound says that the name does not exist (NXDOMAIN), or has no address of the family asked
// for (NODATA).
var ErrNotFound = errors.New("no such name or no address")

// MaxAddrs is how many addresses an entry has at most. What an upstream sends beyond it
// is dropped, so nobody can come to dial it.
const MaxAddrs = 16

// Entry is one answer. It is written once, before others see it; what changes
// later is atomic.
type Entry struct {
	Rcode     int
	Answer    []dns.RR
	Authority []dns.RR
	Addrs     []netip.Addr // of A and AAAA questions, MaxAddrs at most
	Chain     []string

	// Problem is what a lookup of addresses makes of an entry without any, ErrNotFound or
	// a failure, composed once.
	Problem error

	// Failures is how often on end nothing was answered at all; of an entry that fails.
	Failures int

	Expires    time.Duration // by the owner's clock; an answer not to be kept has expired
	StaleUntil time.Duration

	refreshAt atomic.Int64 // when a hit is to start a refresh; 0 for never
	recheckAt atomic.Int64 // until when a stale entry serves unasked
	hits      atomic.Uint32

	key  Key // set by Add
	size int
	slot int // where in the store's ring
}

const (
	// popular is the number of hits that earn an entry a refresh in the background
	// and a second chance when room is made. Counting stops there, so that readers
	// of a hot entry do not fight over its cache line.
	popular = 2
	// retryPrefetch is how soon after one refresh, which may have failed, another
	// may start.
	retryPrefetch = time.Second
	// refreshShare is the last part of a TTL, one in so many, in which a popular
	// entry is refreshed.
	refreshShare = 5
)

// TTLs are the bounds of how long answers are kept.
type TTLs struct {
	Min, Max time.Duration // of answers that have records
	Negative time.Duration // the most of those that have none
	Stale    time.Duration // how long beyond its TTL an answer may serve
}

// New makes of c, which has followed the question k, an answer that begins to age
// at now.
func New(c *chain.Chain, k Key, ttls TTLs, now time.Duration) *Entry {
	e := &Entry{
		Rcode: c.Rcode, Answer: c.Answer, Authority: c.Authority,
		Addrs: addresses(c.Answer, k.Type), Chain: c.Names,
	}
	negative := c.Rcode != dns.RcodeSuccess || len(c.Authority) > 0
	if len(e.Addrs) == 0 {
		e.Problem = fmt.Errorf("resolving %q: %s: %w", k.Name, dns.RcodeToString[c.Rcode], ErrNotFound)
	}
	ttl := ttls.clamp(c.TTL, negative)
	if ttl == 0 {
		return e
	}
	e.Expires = now + ttl
	e.StaleUntil = e.Expires
	if !negative {
		e.StaleUntil += ttls.Stale
		e.refreshAt.Store(int64(e.Expires - ttl/refreshShare))
	}
	return e
}

// NewFailure makes an entry that fails until then.
func NewFailure(problem error, until time.Duration) *Entry {
	return &Entry{Problem: problem, Expires: until, StaleUntil: until}
}

// clamp keeps a TTL within the bounds. Zero stays zero: such an answer is not kept at all.
func (t TTLs) clamp(ttl uint32, negative bool) time.Duration {
	d := time.Duration(ttl) * time.Second
	switch {
	case ttl == 0:
		return 0
	case negative:
		return min(d, t.Negative)
	}
	return min(max(d, t.Min), t.Max)
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

// Hit counts that somebody has asked for the entry.
func (e *Entry) Hit() {
	if e.hits.Load() < popular {
		e.hits.Add(1)
	}
}

// Due reports whether a hit at now is to start a refresh, to one caller alone.
func (e *Entry) Due(now time.Duration) bool {
	at := e.refreshAt.Load()
	return at != 0 && int64(now) >= at && e.hits.Load() >= popular &&
		e.refreshAt.CompareAndSwap(at, int64(now+retryPrefetch))
}

// Negative reports whether the entry says that there is nothing.
func (e *Entry) Negative() bool { return e.Problem != nil || len(e.Answer) == 0 }

// Recheck has the entry, which is stale, serve unasked until then.
func (e *Entry) Recheck(at time.Duration) { e.recheckAt.Store(int64(at)) }

// Rechecked reports whether the entry, which is stale, serves unasked at now.
func (e *Entry) Rechecked(now time.Duration) bool { return now < time.Duration(e.recheckAt.Load()) }

// Records returns copies of the entry's records, all with that TTL. They are deep: callers
// write ids, cases and TTLs into what they get, and other callers read the entry's own at
// the same time.
func (e *Entry) Records(ttl time.Duration) (answer, authority []dns.RR) {
	return copyRecords(e.Answer, ttl), copyRecords(e.Authority, ttl)
}

// copyRecords copies one section.
func copyRecords(records []dns.RR, ttl time.Duration) []dns.RR {
	if len(records) == 0 {
		return nil
	}
	out := make([]dns.RR, len(records))
	for i, rr := range records {
		out[i] = dns.Copy(rr)
		out[i].Header().Ttl = uint32(ttl / time.Second)
	}
	return out
}
