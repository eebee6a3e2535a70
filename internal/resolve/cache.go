package resolve

import (
	"hash/maphash"
	"sync"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/resolve/cache"
)

// key is what answers are kept by.
type key = cache.Key

// shards are the cache, split by question so that readers of different names do not
// meet, and readers of one name share a read lock.
type shards struct {
	seed maphash.Seed
	all  []shard
}

// shard holds entries and, under the same lock, the lookups that will make them:
// between the end of a flight and the start of the next its entry is seen.
type shard struct {
	mu       sync.RWMutex
	entries  cache.Store
	inflight map[key]*inflight
	closed   bool

	_ [64]byte // keeps one shard's lock off the next one's cache line
}

const (
	maxShards     = 64
	minShardBytes = 64 << 10 // unless it is the only one
)

// newShards divides bytes evenly. A small cache has few shards, for a shard must be
// able to hold more than a handful of answers.
func newShards(bytes int) *shards {
	n := 1
	for n < maxShards && bytes/(n*2) >= minShardBytes {
		n *= 2
	}
	c := &shards{seed: maphash.MakeSeed(), all: make([]shard, n)}
	for i := range c.all {
		c.all[i].entries = cache.NewStore(bytes / n)
		c.all[i].inflight = make(map[key]*inflight)
	}
	return c
}

// of returns k's shard. A and AAAA of a name differ in the lowest bits used.
func (c *shards) of(k key) *shard {
	h := maphash.String(c.seed, k.Name) + uint64(k.Type)
	return &c.all[h&uint64(len(c.all)-1)]
}

// get returns the entry of k, expired or not, and counts the hit; nil for none.
func (c *shards) get(k key) *cache.Entry {
	s := c.of(k)
	s.mu.RLock()
	e := s.entries.Get(k)
	s.mu.RUnlock()
	if e != nil {
		e.Hit()
	}
	return e
}

// bytes returns how many bytes the entries take, by estimate.
func (c *shards) bytes() (all int) {
	for i := range c.all {
		s := &c.all[i]
		s.mu.RLock()
		_, n := s.entries.Len()
		s.mu.RUnlock()
		all += n
	}
	return all
}

// close lets no further flight start.
func (c *shards) close() {
	for i := range c.all {
		s := &c.all[i]
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
	}
}
