package dnsfilter

import (
	"encoding/binary"
	"errors"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	cacheShards = 16
	// entryOverhead is what an entry takes beside its message and its key, by
	// estimate.
	entryOverhead = 256
)

// packed is an answer in wire form, ready to be sent: it begins with a header
// whose flags hold the rcode alone, and the question in lower case. It is
// immutable and has been judged, but for the addresses that only some rules
// permit.
type packed struct {
	msg     []byte
	ttls    []uint16     // where in msg the TTLs stand, but for that of OPT
	addrs   []netip.Addr // addresses and hints
	special []netip.Addr // those that are not public: judged for each question
	fresh   time.Time    // until then it serves without asking Exchange
	expires time.Time    // when its TTL is over
	stale   bool
}

// rcode returns the response code.
func (p *packed) rcode() int { return int(p.msg[3] & 0x0f) }

// ttl returns what is left of the TTL, to the nearest second.
func (p *packed) ttl(now time.Time) uint32 {
	return uint32((max(0, p.expires.Sub(now)) + time.Second/2) / time.Second)
}

// extendedError returns what an answer with EDNS says of it; an empty text:
// nothing.
func (p *packed) extendedError() (code uint16, text string) {
	if p.stale {
		return dns.ExtendedErrorCodeStaleAnswer, "stale_answer"
	}
	return 0, ""
}

// errUnpackable is for an answer in which TTLs cannot be found.
var errUnpackable = errors.New("packing an answer: its records cannot be walked")

// pack makes the wire form of an answer to the question of that lower-case name.
// It serves from here for four fifths of its TTL: then Exchange is asked again,
// which is how a resolver learns that a name is in demand.
func pack(q dns.Question, r *Records, now time.Time) (*packed, error) {
	m := dns.Msg{Question: []dns.Question{q}, Answer: r.Answer, Ns: r.Authority, Compress: true}
	m.Rcode = r.Rcode
	msg, err := m.Pack()
	if err != nil {
		return nil, err
	}
	ttls, ok := findTTLs(msg)
	if !ok {
		return nil, errUnpackable
	}
	p := &packed{msg: msg, ttls: ttls, expires: now.Add(r.TTL), fresh: now, stale: r.Stale}
	if !r.Stale {
		p.fresh = now.Add(r.TTL - r.TTL/5)
	}
	return p, nil
}

// findTTLs walks the records of a message of one question.
func findTTLs(msg []byte) (ttls []uint16, ok bool) {
	records := int(binary.BigEndian.Uint16(msg[6:])) + int(binary.BigEndian.Uint16(msg[8:]))
	at, ok := skipName(msg, headerLen)
	at += 4
	for range records {
		if at, ok = skipName(msg, at); !ok || at+10 > len(msg) {
			return nil, false
		}
		ttls = append(ttls, uint16(at+4))
		at += 10 + int(binary.BigEndian.Uint16(msg[at+8:]))
	}
	return ttls, ok && at == len(msg)
}

// skipName returns where the name at that place ends.
func skipName(msg []byte, at int) (end int, ok bool) {
	for at < len(msg) {
		switch n := int(msg[at]); {
		case n == 0:
			return at + 1, true
		case n > maxLabel:
			return at + 2, n >= 0xC0 && at+2 <= len(msg)
		default:
			at += 1 + n
		}
	}
	return 0, false
}

// cache holds packed answers by name, type and DO. It is bounded by an
// estimate of its bytes; what makes room for a new answer is any other.
type cache struct {
	seed   maphash.Seed
	limit  int // bytes of one shard
	shards [cacheShards]cacheShard
}

// cacheShard is a part of the cache with its lock.
type cacheShard struct {
	mu      sync.RWMutex
	entries map[string]*packed
	bytes   int
}

// newCache returns a cache for about that many bytes.
func newCache(bytes int) *cache {
	c := &cache{seed: maphash.MakeSeed(), limit: bytes / cacheShards}
	for i := range c.shards {
		c.shards[i].entries = map[string]*packed{}
	}
	return c
}

// cacheKey appends what tells answers apart to dst.
func cacheKey(dst []byte, q *query) []byte {
	dst = append(dst, q.text...)
	dst = binary.BigEndian.AppendUint16(dst, q.qtype)
	if q.do {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// shard returns the shard of a key.
func (c *cache) shard(key []byte) *cacheShard {
	return &c.shards[maphash.Bytes(c.seed, key)%cacheShards]
}

// get returns the answer that serves at now, or nil.
func (c *cache) get(key []byte, now time.Time) *packed {
	s := c.shard(key)
	s.mu.RLock()
	p := s.entries[string(key)]
	s.mu.RUnlock()
	if p == nil || !now.Before(p.fresh) {
		return nil
	}
	return p
}

// put keeps an answer, unless that is of no use or larger than the shard.
func (c *cache) put(key []byte, p *packed, now time.Time) {
	size := len(key) + len(p.msg) + entryOverhead
	if !now.Before(p.fresh) || size > c.limit {
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

// remove takes an entry out, if it is there.
func (s *cacheShard) remove(key string) {
	if p := s.entries[key]; p != nil {
		s.bytes -= len(key) + len(p.msg) + entryOverhead
		delete(s.entries, key)
	}
}
