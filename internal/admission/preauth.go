package admission

import (
	"net/netip"
	"sync"
)

// PreAuthLimiter is the connections that have not said anything yet, by source. One
// source gets a share of the places and no more; who comes beyond it takes the
// place of that source's oldest, which is closed. A client that speaks at once
// is through in a moment, so it gets in however many silent ones its source
// holds: that matters where a load balancer without PROXY protocol makes all
// clients one source, and closing the newest would shut all of them out.
type PreAuthLimiter struct {
	share int // places of one source

	mu      sync.Mutex
	sources map[netip.Addr]*preAuthSource
	closed  uint64     // since the log was told
	worst   netip.Addr // source of the last of them
}

// Evictable is a connection that can be closed for a newer one of its source.
type Evictable interface {
	// Evict closes the connection, unless it has said something since:
	// [PreAuthLimiter.Evict] says so.
	Evict()
}

// preAuthSource is the connections of one source, a list from the oldest to the
// newest.
type preAuthSource struct {
	key            netip.Addr
	oldest, newest *PreAuthEntry
	n              int
}

// PreAuthEntry is a connection's entry in its source's list, part of what holds the
// connection. The zero entry stands in no list.
type PreAuthEntry struct {
	owner        Evictable
	source       *preAuthSource
	older, newer *PreAuthEntry
	evicting     bool // it is to be closed, unless it speaks before that is done
	evicted      bool // it has been closed
}

// leastShare is what a source may have however few places there are.
const leastShare = 16

// Init shares the places out: a quarter for one source.
func (l *PreAuthLimiter) Init(places int) {
	l.share = max(places/4, leastShare)
	l.sources = map[netip.Addr]*preAuthSource{}
}

// Add adds a connection whose source has become known, and returns whose place it
// takes, nil if nobody's; the caller has that one evict itself.
func (l *PreAuthLimiter) Add(e *PreAuthEntry, owner Evictable, from netip.Addr) (out Evictable) {
	key := Source(from)
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sources[key]
	if s == nil {
		s = &preAuthSource{key: key}
		l.sources[key] = s
	}
	if s.n >= l.share {
		oldest := s.oldest
		oldest.unlink()
		oldest.evicting = true
		out = oldest.owner
	}
	*e = PreAuthEntry{owner: owner, source: s, older: s.newest}
	if s.newest != nil {
		s.newest.newer = e
	} else {
		s.oldest = e
	}
	s.newest = e
	s.n++
	return out
}

// Remove takes a connection out, because it has spoken or ended; false: it has
// been evicted before.
func (l *PreAuthLimiter) Remove(e *PreAuthEntry) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.evicted {
		return false
	}
	if s := e.source; s != nil {
		e.unlink()
		if s.n == 0 {
			delete(l.sources, s.key)
		}
	}
	e.evicting = false
	return true
}

// Evict reports whether a connection that has lost its place may be closed: it
// has not spoken since. What speaks later is told so by Remove.
func (l *PreAuthLimiter) Evict(e *PreAuthEntry, from netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !e.evicting {
		return false
	}
	e.evicting, e.evicted = false, true
	l.closed++
	l.worst = Source(from)
	return true
}

// unlink takes an entry out of its list.
func (e *PreAuthEntry) unlink() {
	if e.older != nil {
		e.older.newer = e.newer
	} else {
		e.source.oldest = e.newer
	}
	if e.newer != nil {
		e.newer.older = e.older
	} else {
		e.source.newest = e.older
	}
	e.source.n--
	*e = PreAuthEntry{owner: e.owner}
}

// Evictions returns how many have been evicted since the last call, and a source
// they came from.
func (l *PreAuthLimiter) Evictions() (n uint64, from netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, l.closed = l.closed, 0
	return n, l.worst
}

// Share returns how many places one source may have.
func (l *PreAuthLimiter) Share() int { return l.share }

// Sources returns how many sources have connections.
func (l *PreAuthLimiter) Sources() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.sources)
}
