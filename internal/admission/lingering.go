package admission

import (
	"io"
	"sync"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/admission/holders"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/bounds"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/fair"
)

// Lingering is the connections that have had their last reply and that their client
// has not closed yet, by caller. One caller gets a share; who comes beyond it takes
// the place of that caller's oldest, which is cut: it has had the longest time to
// read its reply. Where all of them are as many as may be the oldest of whoever has
// most goes, so that many callers together do not take the places of those that come.
type Lingering struct {
	share, most int
	excess      *Excess

	mu     sync.Mutex
	places holders.Table[fair.Caller, io.Closer]
}

// LingeringEntry is a connection's place, part of what holds it.
type LingeringEntry struct {
	place holders.Place[fair.Caller, io.Closer]
}

// Init gives each caller a sixteenth of the places for connections, and all of them
// together a quarter. c is told who has more; nil: nobody is.
func (l *Lingering) Init(connections int, c *Excess) {
	l.share = bounds.Lingering.PartOf(connections)
	l.most = max(connections/4, 1)
	l.excess = c
}

// Add adds a connection, and returns the one that has to go for it, nil if none.
func (l *Lingering) Add(k fair.Caller, e *LingeringEntry, c io.Closer) (out io.Closer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var m *holders.Place[fair.Caller, io.Closer]
	switch {
	case l.places.Of(k) >= l.share:
		m = l.places.Oldest(k)
	case l.places.Len() >= l.most:
		m = l.places.Largest()
	}
	if m != nil {
		l.excess.Add(RowLingering, m.Key())
		out = m.Value
		l.places.Remove(m)
	}
	l.places.Add(k, &e.place, c)
	return out
}

// Remove takes a connection out, unless it had to go before.
func (l *Lingering) Remove(e *LingeringEntry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.places.Remove(&e.place)
}

// Share returns how many connections of one caller may linger.
func (l *Lingering) Share() int { return l.share }

// Len returns how many connections of a caller linger.
func (l *Lingering) Len(k fair.Caller) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.places.Of(k)
}
