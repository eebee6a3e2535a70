package resolve

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/resolve/upstream"
)

// key is what answers are kept by.
type key = upstream.Question

// entry is one answer. It is written once, before others see it; what changes
// later is atomic.
type entry struct {
	rcode     int
	answer    []dns.RR
	authority []dns.RR
	addrs     []netip.Addr // of A and AAAA questions, capped
	chain     []string

	// problem is what Lookup makes of an entry without addresses, ErrNotFound or
	// ErrFailed, composed once. Exchange minds only ErrFailed.
	problem error

	expires    time.Duration // by Resolver.now; an answer not to be kept has expired
	staleUntil time.Duration

	refreshAt atomic.Int64 // when a hit is to start a refresh; 0 for never
	recheckAt atomic.Int64 // until when a stale entry serves unasked
	hits      atomic.Uint32

	key  key // set by store
	size int
	slot int // where in the shard's ring
}

const (
	// popular is the number of hits that earn an entry a refresh in the background
	// and a second chance when room is made. Counting stops there, so that readers
	// of a hot entry do not fight over its cache line.
	popular = 2
	// retryPrefetch is how soon after one refresh, which may have failed, another
	// may start.
	retryPrefetch = time.Second
)

// due reports whether a hit at now is to start a refresh, to one caller alone.
func (e *entry) due(now time.Duration) bool {
	at := e.refreshAt.Load()
	return at != 0 && int64(now) >= at && e.hits.Load() >= popular &&
		e.refreshAt.CompareAndSwap(at, int64(now+retryPrefetch))
}

// cache is split into shards by question so that readers of different names do not
// meet, and readers of one name share a read lock.
type cache struct {
	seed   maphash.Seed
	shards []shard
}

// shard holds entries and, under the same lock, the lookups that will make them:
// between the end of a flight and the start of the next its entry is seen.
type shard struct {
	mu       sync.RWMutex
	entries  map[key]*entry
	inflight map[key]*inflight
	closed   bool

	// The ring is the entries in the order in which the clock's pointer meets them.
	ring  []*entry
	next  int
	bytes int
	limit int

	_ [64]byte // keeps one shard's lock off the next one's cache line
}

const (
	maxShards     = 64
	minShardBytes = 64 << 10 // unless it is the only one
)

// newCache divides bytes evenly. A small cache has few shards, for a shard must be
// able to hold more than a handful of answers.
func newCache(bytes int) *cache {
	shards := 1
	for shards < maxShards && bytes/(shards*2) >= minShardBytes {
		shards *= 2
	}
	c := &cache{seed: maphash.MakeSeed(), shards: make([]shard, shards)}
	for i := range c.shards {
		c.shards[i].entries = make(map[key]*entry)
		c.shards[i].inflight = make(map[key]*inflight)
		c.shards[i].limit = bytes / shards
	}
	return c
}

// shard returns k's shard. A and AAAA of a name differ in the lowest bits used.
func (c *cache) shard(k key) *shard {
	h := maphash.String(c.seed, k.Name) + uint64(k.Type)
	return &c.shards[h&uint64(len(c.shards)-1)]
}

// get returns the entry of k, expired or not, and counts the hit; nil for none.
func (c *cache) get(k key) *entry {
	s := c.shard(k)
	s.mu.RLock()
	e := s.entries[k]
	s.mu.RUnlock()
	if e != nil && e.hits.Load() < popular {
		e.hits.Add(1)
	}
	return e
}

// close lets no further flight start.
func (c *cache) close() {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
	}
}

// store replaces whatever s has for k by e, or by nothing where e is not to be kept:
// what it replaces is known to be out of date. The caller holds s.mu.
func (s *shard) store(k key, e *entry) {
	if old := s.entries[k]; old != nil {
		s.remove(old)
	}
	size := e.estimate(k)
	// One answer may not push out a quarter of its shard.
	if e.expires == 0 || size > s.limit/4 {
		return
	}
	for s.bytes+size > s.limit {
		s.evict()
	}
	e.key, e.size, e.slot = k, size, len(s.ring)
	s.entries[k] = e
	s.ring = append(s.ring, e)
	s.bytes += size
}

// evict drops the first entry under the pointer that has not been asked for since the
// pointer last passed (CLOCK). It ends, for the pointer takes the hits away as it goes.
func (s *shard) evict() {
	for {
		s.next %= len(s.ring)
		e := s.ring[s.next]
		if e.hits.Load() == 0 {
			s.remove(e)
			return
		}
		e.hits.Store(0)
		s.next++
	}
}

// remove takes out e, which s holds. The last of the ring takes its slot.
func (s *shard) remove(e *entry) {
	last := s.ring[len(s.ring)-1]
	s.ring[e.slot], last.slot = last, e.slot
	s.ring[len(s.ring)-1] = nil
	s.ring = s.ring[:len(s.ring)-1]
	s.bytes -= e.size
	delete(s.entries, e.key)
}

const (
	entryBytes  = 400 // the struct, its map slot and its ring slot
	recordBytes = 100 // an RR's struct and its interface; its text comes on top
)

// estimate is about what e takes of the heap, on the high side.
func (e *entry) estimate(k key) int {
	n := entryBytes + 2*len(k.Name) + 24*len(e.addrs)
	for _, target := range e.chain {
		n += 16 + len(target)
	}
	for _, records := range [][]dns.RR{e.answer, e.authority} {
		for _, rr := range records {
			n += recordBytes + dns.Len(rr)*3/2
		}
	}
	return n
}
