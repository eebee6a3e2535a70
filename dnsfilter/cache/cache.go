// Package cache keeps packed answers by name, type and DO. It is bounded by an
// estimate of its bytes; what makes room for a new answer is any other.
//
// What it does not do: it judges no answer, and asks for none again.
//
//	c := cache.New(16 << 20)
//	key = cache.Key(key[:0], &q)
//	p := c.Get(key, now)
package cache

import (
	"encoding/binary"
	"hash/maphash"
	"sync"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/dnsfilter/wire"
)

const (
	shards = 16
	// entryOverhead is what an entry takes beside its message and its key, by
	// estimate.
	entryOverhead = 256
)

// Cache is such a cache. Make one with New; its methods may be called from many
// goroutines.
type Cache struct {
	seed  maphash.Seed
	limit int // bytes of one shard
	parts [shards]shard
}

// shard is a part of the cache with its lock.
type shard struct {
	mu      sync.RWMutex
	entries map[string]*wire.Packed
	bytes   int
}

// New returns a cache for about that many bytes.
func New(bytes int) *Cache {
	c := &Cache{seed: maphash.MakeSeed(), limit: bytes / shards}
	for i := range c.parts {
		c.parts[i].entries = map[string]*wire.Packed{}
	}
	return c
}

// Key appends what tells answers apart to dst.
func Key(dst []byte, q *wire.Query) []byte {
	dst = append(dst, q.Text...)
	dst = binary.BigEndian.AppendUint16(dst, q.Type)
	if q.DO {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// shard returns the shard of a key.
func (c *Cache) shard(key []byte) *shard {
	return &c.parts[maphash.Bytes(c.seed, key)%shards]
}

// Get returns the answer that serves at now, or nil.
func (c *Cache) Get(key []byte, now time.Time) *wire.Packed {
	s := c.shard(key)
	s.mu.RLock()
	p := s.entries[string(key)]
	s.mu.RUnlock()
	if p == nil || !p.Fresh(now) {
		return nil
	}
	return p
}

// Store keeps an answer, unless that is of no use or larger than the shard.
func (c *Cache) Store(key []byte, p *wire.Packed, now time.Time) {
	size := len(key) + p.Size() + entryOverhead
	if !p.Fresh(now) || size > c.limit {
		return
	}
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(string(key))
	for other := range s.entries {
		if s.bytes+size <= c.limit {
			break
		}
		s.remove(other)
	}
	s.entries[string(key)] = p
	s.bytes += size
}

// Bytes returns how many bytes the answers take, by estimate.
func (c *Cache) Bytes() (all int) {
	for i := range c.parts {
		s := &c.parts[i]
		s.mu.RLock()
		all += s.bytes
		s.mu.RUnlock()
	}
	return all
}

// remove takes an entry out, if it is there.
func (s *shard) remove(key string) {
	if p := s.entries[key]; p != nil {
		s.bytes -= len(key) + p.Size() + entryOverhead
		delete(s.entries, key)
	}
}
