package proxy

import (
	"net/netip"
	"sync"
)

// crowd is the connections that have not said anything yet, by source. One
// source gets a share of the places and no more; who comes beyond it takes the
// place of that source's oldest, which is closed. A client that speaks at once
// is through in a moment, so it gets in however many silent ones its source
// holds: that matters where a load balancer without PROXY protocol makes all
// clients one source, and closing the newest would shut all of them out.
type crowd struct {
	share int // places of one source

	mu      sync.Mutex
	sources map[netip.Addr]*source
	closed  uint64     // since the log was told
	worst   netip.Addr // source of the last of them
}

// source is the unidentified connections of one source, a list from the oldest
// to the newest.
type source struct {
	key            netip.Addr
	oldest, newest *conn
	n              int
}

// place is where a connection stands in its source's list. The fields are
// guarded by crowd.mu; source is nil where it stands in none.
type place struct {
	source       *source
	older, newer *conn
	lost         bool // it is to be put out, unless it speaks before that is done
	closed       bool // it has been put out
}

// leastShare is what a source may have however few places there are.
const leastShare = 16

// init shares the places out: a quarter for one source.
func (w *crowd) init(places int) {
	w.share = max(places/4, leastShare)
	w.sources = map[netip.Addr]*source{}
}

// sourceOf is whom the budgets for the unidentified count an address to: an
// IPv6 caller has a whole /64.
func sourceOf(a netip.Addr) netip.Addr {
	if a.Is6() {
		p, _ := a.Prefix(64)
		return p.Addr()
	}
	return a
}

// enter adds a connection whose source has become known, and returns whose
// place it takes, nil if nobody's; the caller has that one put out.
func (w *crowd) enter(c *conn) (out *conn) {
	key := sourceOf(c.client.Addr())
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.sources[key]
	if s == nil {
		s = &source{key: key}
		w.sources[key] = s
	}
	if s.n >= w.share {
		out = s.oldest
		w.unlink(out)
		out.place.lost = true
	}
	c.place = place{source: s, older: s.newest}
	if s.newest != nil {
		s.newest.place.newer = c
	} else {
		s.oldest = c
	}
	s.newest = c
	s.n++
	return out
}

// leave takes a connection out, because it has spoken or ended; false: it has
// been put out before.
func (w *crowd) leave(c *conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.place.closed {
		return false
	}
	if s := c.place.source; s != nil {
		w.unlink(c)
		if s.n == 0 {
			delete(w.sources, s.key)
		}
	}
	c.place.lost = false
	return true
}

// putOut reports whether a connection that has lost its place may be closed: it
// has not spoken since. What speaks later is told so by leave.
func (w *crowd) putOut(c *conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !c.place.lost {
		return false
	}
	c.place.lost, c.place.closed = false, true
	w.closed++
	w.worst = sourceOf(c.client.Addr())
	return true
}

// unlink takes a connection out of its list.
func (w *crowd) unlink(c *conn) {
	p := c.place
	if p.older != nil {
		p.older.place.newer = p.newer
	} else {
		p.source.oldest = p.newer
	}
	if p.newer != nil {
		p.newer.place.older = p.older
	} else {
		p.source.newest = p.older
	}
	p.source.n--
	c.place = place{}
}

// tally returns how many have been put out since the last call, and a source
// they came from.
func (w *crowd) tally() (n uint64, from netip.Addr) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, w.closed = w.closed, 0
	return n, w.worst
}

// leaveCrowd ends the counting: the connection has said something, and gets its
// answer, however long that takes. It returns false where the connection has
// been put out before, so that nothing is answered that nobody can read.
func (c *conn) leaveCrowd() bool {
	if !c.joined {
		return true
	}
	c.joined = false
	return c.server.crowd.leave(c)
}

// joinCrowd counts the connection to its source. What has asked nothing gets no
// record, so a connection that is put out is counted, and the log names a source.
func (c *conn) joinCrowd() {
	c.joined = true
	out := c.server.crowd.enter(c)
	switch {
	case out == nil:
		return
	case out.onLane != nil:
		out.onLane.putOut()
	default:
		out.putOut()
	}
}

// putOut closes a connection that a goroutine serves and that has lost its place,
// unless it has spoken since.
func (c *conn) putOut() {
	if c.server.crowd.putOut(c) {
		c.server.metrics.evicted.Inc()
		_ = c.raw.Close()
	}
}
