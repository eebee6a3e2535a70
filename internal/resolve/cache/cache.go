// Package cache keeps the answers of one part of a resolver's cache: entries by
// question, within so many bytes, of which those that nobody asks for go first.
//
// What it does not do: it takes no lock, asks nobody, and does not look at the clock: its
// owner says what time it is.
//
//	s := cache.NewStore(64 << 10)
//	s.Add(question, cache.New(chain, question, ttls, now))
//	e := s.Get(question)
package cache

import "github.com/miekg/dns"

// Store holds entries. Make one with NewStore. Whoever shares it locks it: Get may be
// called by many at once, Add by one alone.
type Store struct {
	entries map[Key]*Entry

	// The ring is the entries in the order in which the clock's pointer meets them.
	ring  []*Entry
	next  int
	bytes int
	limit int
}

// NewStore returns a store for that many bytes, by estimate.
func NewStore(limit int) Store { return Store{entries: make(map[Key]*Entry), limit: limit} }

// Get returns the entry of k, expired or not; nil for none.
func (s *Store) Get(k Key) *Entry { return s.entries[k] }

// Len returns how many entries there are, and how many bytes they take.
func (s *Store) Len() (entries, bytes int) { return len(s.entries), s.bytes }

// Add replaces whatever s has for k by e, or by nothing where e is not to be kept:
// what it replaces is known to be out of date.
func (s *Store) Add(k Key, e *Entry) {
	if old := s.entries[k]; old != nil {
		s.remove(old)
	}
	size := e.estimate(k)
	// One answer may not push out a quarter of the store.
	if e.Expires == 0 || size > s.limit/4 {
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
func (s *Store) evict() {
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
func (s *Store) remove(e *Entry) {
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
func (e *Entry) estimate(k Key) int {
	n := entryBytes + 2*len(k.Name) + 24*len(e.Addrs)
	for _, target := range e.Chain {
		n += 16 + len(target)
	}
	for _, records := range [][]dns.RR{e.Answer, e.Authority} {
		for _, rr := range records {
			n += recordBytes + dns.Len(rr)*3/2
		}
	}
	return n
}
