package admission

import (
	"net/netip"
	"sync"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/admission/holders"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/bounds"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/fair"
)

// PreAuthLimiter is the connections that have not said anything yet, by source. One
// source gets a share of the places and no more; who comes beyond it takes the
// place of that source's oldest, which is closed. A client that speaks at once
// is through in a moment, so it gets in however many silent ones its source
// holds: that matters where a load balancer without PROXY protocol makes all
// clients one source, and closing the newest would shut all of them out.
//
// Several sources can take all places though each has no more than its share. So when
// all are taken the oldest of whoever has most goes for the newcomer, unless it has only
// just come: what many honest clients at once lack is a moment to speak. With as many
// sources as there are places each has one, and a newcomer has the time in which as many
// others come as there are places.
//
// Connections of a load balancer whose source has yet to be told are of one class, that of
// the balancer. It has no share, because all clients come through it for a moment, and its
// oldest goes like that of a source when all places are taken.
type PreAuthLimiter struct {
	share  int // places of one source
	excess *Excess

	mu       sync.Mutex
	places   holders.Table[preAuthKey, *PreAuthEntry]
	evicting int // connections that have been taken out and hold their place still
}

// preAuthKey is what a connection counts to.
type preAuthKey struct {
	source   netip.Addr // as fair.Source returns it
	balancer bool       // it is a load balancer, for clients that are not told yet
}

// Evictable is a connection that can be closed for a newer one.
type Evictable interface {
	// Evict closes the connection, unless it has said something since:
	// [PreAuthLimiter.Evict] says so.
	Evict()
}

// PreAuthEntry is a connection's entry in its source's list, part of what holds the
// connection. The zero entry stands in no list.
type PreAuthEntry struct {
	place    holders.Place[preAuthKey, *PreAuthEntry]
	source   netip.Addr // as the log names it
	owner    Evictable
	came     time.Time
	evicting bool // it is to be closed, unless it speaks before that is done
	evicted  bool // it has been closed
	going    bool // it has lost its place, and holds it still
}

// Grace is how long a connection is not put out for one of another source: longer than
// the way of a head that is sent at once, and short enough for others to wait.
const Grace = 10 * time.Millisecond

// Init shares the places out: a quarter for one source. c is told who has more; nil:
// nobody is.
func (l *PreAuthLimiter) Init(places int, c *Excess) {
	l.share = bounds.PreAuth.PartOf(places)
	l.excess = c
}

// Add adds a connection whose source has become known, and returns whose place it
// takes, nil if nobody's; the caller has that one evict itself.
func (l *PreAuthLimiter) Add(e *PreAuthEntry, owner Evictable, from netip.Addr) (out Evictable) {
	k := preAuthKey{source: fair.Source(from)}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.places.Of(k) >= l.share {
		out = l.beginEvict(l.places.Oldest(k))
	}
	l.add(k, e, owner)
	return out
}

// AddBehind adds a connection from a load balancer that has yet to say whose it is; then
// Remove and Add count it to that.
func (l *PreAuthLimiter) AddBehind(e *PreAuthEntry, owner Evictable, balancer netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.add(preAuthKey{fair.Source(balancer), true}, e, owner)
}

// add makes e the newest of those that count to k.
func (l *PreAuthLimiter) add(k preAuthKey, e *PreAuthEntry, owner Evictable) {
	*e = PreAuthEntry{owner: owner, source: k.source, came: time.Now()}
	l.places.Add(k, &e.place, e)
}

// oldestOfLargest returns who has to go when all places are taken: the oldest of the source
// that has most; nil: nobody is silent, or not for [Grace]. The caller has it evict
// itself.
func (l *PreAuthLimiter) oldestOfLargest() Evictable {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.places.Largest()
	if m == nil || time.Since(m.Value.came) < Grace {
		return nil
	}
	return l.beginEvict(m)
}

// beginEvict takes a connection out that is to be evicted.
func (l *PreAuthLimiter) beginEvict(m *holders.Place[preAuthKey, *PreAuthEntry]) Evictable {
	e := m.Value
	l.places.Remove(m)
	e.evicting, e.going = true, true
	l.evicting++
	return e.owner
}

// Remove takes a connection out, because it has spoken or ended; false: it has
// been evicted before.
func (l *PreAuthLimiter) Remove(e *PreAuthEntry) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.going {
		l.evicting--
	}
	e.evicting, e.going = false, false
	if e.evicted {
		return false
	}
	l.places.Remove(&e.place)
	return true
}

// Evicting returns how many connections have lost their place and hold it still.
func (l *PreAuthLimiter) Evicting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.evicting
}

// Evict reports whether a connection that has lost its place may be closed: it
// has not spoken since. What speaks later is told so by Remove.
func (l *PreAuthLimiter) Evict(e *PreAuthEntry) bool {
	l.mu.Lock()
	evict, source := e.evicting, e.source
	e.evicting, e.evicted = false, e.evicted || evict
	l.mu.Unlock()
	if evict {
		l.excess.Add(RowUnidentified, fair.Caller{Source: source})
	}
	return evict
}

// Share returns how many places one source may have.
func (l *PreAuthLimiter) Share() int { return l.share }

// Sources returns how many sources have connections.
func (l *PreAuthLimiter) Sources() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.places.Holders()
}
