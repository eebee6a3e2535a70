// Package resolve is the one caching DNS resolver of the program. The proxy asks
// it for addresses ([Resolver.Lookup]), a DNS server in front of it asks for
// records ([Resolver.Exchange]); both share one cache.
//
// A question goes to the hosts file, then to the cache, then to the upstreams in
// their order. Identical questions in flight are asked once. Answers are kept for
// their TTL, names that are asked often are refreshed before they expire, and when
// every upstream fails an expired answer serves for a bounded time, marked Stale.
//
// Package upstream asks, and says which answers it believes; package files reads the
// files. Only the records on the chain from the question's name through its CNAMEs are
// used; whatever else a reply carries is neither returned nor cached.
//
// The package does not judge: whether a name may be asked, and whether an address
// may be dialed, is the caller's decision, for stale answers as for fresh ones. It
// does not validate DNSSEC, applies no search domains, and is not a recursive resolver.
//
//	r, err := resolve.New(resolve.Config{Registerer: reg, Logger: logger})
//	if err != nil {
//		return err
//	}
//	defer r.Close()
//	answer, err := r.Lookup(ctx, "api.stripe.com")
package resolve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/bounds"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/fair"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/resolve/cache"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/resolve/files"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/resolve/upstream"
)

// What went wrong with a lookup, to be matched with errors.Is. An error that is
// none of these is the caller's own context, cancelled, or a *fair.ShareError.
var (
	// ErrNotFound: the name does not exist (NXDOMAIN), or has no address of the
	// families asked for (NODATA).
	ErrNotFound = cache.ErrNotFound
	// ErrTimeout: no upstream answered in time.
	ErrTimeout = upstream.ErrTimeout
	// ErrFailed: upstreams could not be reached, answered SERVFAIL or the like,
	// or sent what cannot be used (malformed, CNAMEs in a loop or too many).
	ErrFailed = upstream.ErrFailed
	// ErrLocal is the ErrFailed of a machine that lacks descriptors, ports or memory.
	ErrLocal = upstream.ErrLocal
)

// Families says which addresses [Resolver.Lookup] asks for.
type Families uint8

const (
	// Auto asks for A, and for AAAA only where [Config].HasIPv6 says so.
	Auto Families = iota
	// IP4 asks for A alone.
	IP4
	// IP6 asks for AAAA alone.
	IP6
	// Both asks for A and AAAA.
	Both
)

// MaxAddrs is how many addresses of one family an [Answer] holds at most. What an
// upstream sends beyond it is dropped, so nobody can come to dial it.
const MaxAddrs = cache.MaxAddrs

// Config is what a [Resolver] is made from. The zero value is a working one.
type Config struct {
	// Upstreams are asked in this order. Empty: the nameservers of ResolvConf,
	// which is read again when it changes.
	Upstreams []netip.AddrPort
	// ResolvConf is a resolv.conf(5) file; only its nameserver lines count. Where
	// it names none, the local host's port 53 is asked, as that page says.
	// Empty: /etc/resolv.conf.
	ResolvConf string
	// Hosts is a hosts(5) file, read again when it changes. Empty: /etc/hosts. A
	// file that is missing names nobody.
	Hosts string

	// Families are the addresses Lookup asks for. Zero: Auto.
	Families Families
	// HasIPv6 reports whether AAAA answers would be of use; New calls it once, and
	// only for Auto. Nil: whether an interface has a global IPv6 address.
	HasIPv6 func() bool

	// Timeout bounds a question in flight whatever its askers' contexts say: it works
	// for all of them and is cancelled by none. Zero: 10 s.
	Timeout time.Duration
	// MaxChain is how many CNAMEs may lead to an answer. Zero: 16.
	MaxChain int
	// Own reports whether an address is one that this program answers DNS questions at:
	// as an upstream it would ask itself, so it is not asked. Nil: none is.
	Own func(netip.AddrPort) bool

	// CacheBytes bounds the memory of the cache, by estimate. Zero: 16 MiB.
	CacheBytes int
	// MinTTL is the floor of a positive TTL. A TTL of 0 stays 0 whatever the floor:
	// such an answer serves those who wait for it and nobody after them. Zero: none.
	MinTTL time.Duration
	// MaxTTL is the ceiling of a positive TTL; values of 2^31 seconds and more are
	// large, not negative (RFC 8767 section 4). Zero: 1 h.
	MaxTTL time.Duration
	// NegativeTTL is the ceiling for NXDOMAIN and NODATA, which are kept as long as
	// their SOA says (RFC 2308 section 5), and not at all without one. Zero: 60 s.
	NegativeTTL time.Duration
	// StaleFor is how long past its TTL an answer may serve while every upstream
	// fails. Zero: 15 min. Negative: never.
	StaleFor time.Duration

	// Lookups bounds the questions at upstreams at the same time, and with it the
	// sockets; package fair shares them out among callers. Zero: 1,024.
	Lookups int

	// Registerer takes the metrics. Nil: they are counted and not registered.
	Registerer prometheus.Registerer
	// Logger hears about upstreams and files, never about names. Nil: silence.
	Logger *slog.Logger
}

const (
	// staleAfter is how long a question has before its expired answer serves (RFC 8767,
	// section 5): clients wait five seconds, and less.
	staleAfter = 1800 * time.Millisecond
	// lateAfter is how long a question has been out, before it expired or for others, for
	// whoever asks then to be served by the expired answer at once: by then a second
	// upstream has been silent too.
	lateAfter = 500 * time.Millisecond
	// resolutionDelay is how long the other family has once one has addresses (RFC 8305,
	// section 3).
	resolutionDelay = 50 * time.Millisecond
	// loneFor is how long a question goes on for which nobody waits any more, because
	// what they had served them.
	loneFor = upstream.DownAfter + 500*time.Millisecond
	// refreshResend is how long a refresh in the background, which nobody need wait for,
	// leaves a server before it sends the question again: what serves meanwhile is there.
	refreshResend = upstream.DownAfter
	// maxPrefetch bounds the refreshes in the background at one time.
	maxPrefetch = 256
	// maxProbing bounds them where no upstream answers: so many find out whether one does
	// again, however many names there are.
	maxProbing = 4
	// recheckAfter is how long a stale answer serves before upstreams that just
	// failed are asked for it again (RFC 8767 section 5).
	recheckAfter = 5 * time.Second
)

// withDefaults puts in what the fields' comments promise for zero.
func (c Config) withDefaults() Config {
	c.ResolvConf = cmp.Or(c.ResolvConf, "/etc/resolv.conf")
	c.Hosts = cmp.Or(c.Hosts, "/etc/hosts")
	c.Timeout = cmp.Or(c.Timeout, 10*time.Second)
	c.MaxChain = cmp.Or(c.MaxChain, 16)
	c.CacheBytes = cmp.Or(c.CacheBytes, 16<<20)
	c.MaxTTL = cmp.Or(c.MaxTTL, time.Hour)
	c.NegativeTTL = cmp.Or(c.NegativeTTL, time.Minute)
	c.Lookups = cmp.Or(c.Lookups, 1024)
	c.StaleFor = max(0, cmp.Or(c.StaleFor, 15*time.Minute))
	if c.HasIPv6 == nil {
		c.HasIPv6 = hasGlobalIPv6
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// ttls are the bounds of how long answers are kept.
func (c Config) ttls() cache.TTLs {
	return cache.TTLs{Min: c.MinTTL, Max: c.MaxTTL, Negative: c.NegativeTTL, Stale: c.StaleFor}
}

// validate looks for what no default can mend: values that contradict each other,
// and enumerators that nobody defined.
func (c Config) validate() error {
	switch {
	case c.Families > Both:
		return fmt.Errorf("families %d is not one of Auto, IP4, IP6, Both", c.Families)
	case c.Timeout < 0 || c.MaxChain < 0 || c.CacheBytes < 0 || c.Lookups < 0:
		return errors.New("a timeout, a chain, a cache or a number of lookups cannot be negative")
	case c.MinTTL < 0 || c.NegativeTTL < 0 || c.MinTTL > c.MaxTTL:
		return fmt.Errorf("TTLs from %v to %v, negative %v, are not a range", c.MinTTL, c.MaxTTL, c.NegativeTTL)
	}
	for _, u := range c.Upstreams {
		if !u.IsValid() || u.Port() == 0 {
			return fmt.Errorf("upstream %v is not an address and a port", u)
		}
	}
	return nil
}

// hasGlobalIPv6 reports whether an interface has an address that the IPv6 internet
// answers to; link-local and unique local addresses (RFC 4193) are none.
func hasGlobalIPv6() bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err == nil && p.Addr().Is6() && p.Addr().IsGlobalUnicast() && !p.Addr().IsPrivate() {
			return true
		}
	}
	return false
}

// Resolver answers questions from files, cache and upstreams. Its methods may be
// called from many goroutines.
type Resolver struct {
	cfg     Config
	types   []uint16  // what Lookup asks for, A first
	epoch   time.Time // the zero of now
	metrics *metrics
	cache   *shards
	files   *files.Files

	upstreams *upstream.Pool

	base        context.Context // ends at Close, and every flight with it
	cancel      context.CancelFunc
	lookups     sync.WaitGroup
	places      fair.Places // of questions in flight
	crowding    fair.CrowdingLog
	asking      chan struct{} // a token for each question at an upstream, those that are being evicted included
	prefetching atomic.Int32  // refreshes in the background
}

// New reads the files that cfg names and makes a resolver, or says what is wrong
// with cfg. A file that is missing is not an error. Close ends the resolver.
func New(cfg Config) (*Resolver, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("configuring the resolver: %w", err)
	}
	r := &Resolver{
		cfg:     cfg,
		types:   questionTypes(cfg),
		epoch:   time.Now(),
		metrics: newMetrics(cfg.Registerer),
		cache:   newShards(cfg.CacheBytes),
		asking:  make(chan struct{}, cfg.Lookups),
	}
	r.places.Init(cfg.Lookups, &bounds.Lookups)
	r.crowding.Row, r.crowding.Log = bounds.Lookups.Name, cfg.Logger
	r.base, r.cancel = context.WithCancel(context.Background())
	r.upstreams = &upstream.Pool{
		Query: new(upstream.Transport).Query, Logger: cfg.Logger, Now: r.now, Own: cfg.Own,
		Metrics: upstream.NewMetrics(cfg.Registerer), Extra: make(chan struct{}, (cfg.Lookups+1)/2),
	}
	from := files.Config{Hosts: cfg.Hosts, MaxAddrs: MaxAddrs, ResolvConf: cfg.ResolvConf, SetServers: r.upstreams.Set, Logger: cfg.Logger}
	if len(cfg.Upstreams) > 0 {
		from.SetServers = nil
		r.upstreams.Set(cfg.Upstreams)
	}
	r.files = files.New(from)
	r.measure(cfg.Registerer)
	return r, nil
}

// questionTypes is what Lookup asks for: A before AAAA, which is the order of an
// Answer's addresses.
func questionTypes(cfg Config) []uint16 {
	switch {
	case cfg.Families == IP6:
		return []uint16{dns.TypeAAAA}
	case cfg.Families == Both, cfg.Families == Auto && cfg.HasIPv6():
		return []uint16{dns.TypeA, dns.TypeAAAA}
	}
	return []uint16{dns.TypeA}
}

// Close abandons the questions in flight, whose askers get ErrFailed, and returns
// when the resolver's last goroutine has ended. Lookups after Close fail.
func (r *Resolver) Close() {
	r.cancel()
	r.cache.close()
	r.lookups.Wait()
	r.upstreams.Close()
}

// now is the time since New on the monotonic clock: a step of the wall clock
// neither expires the cache nor prolongs it.
func (r *Resolver) now() time.Duration { return time.Since(r.epoch) }
