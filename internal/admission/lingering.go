package admission

import (
	"container/list"
	"io"
	"net/netip"
	"sync"
)

// mostLingering bounds the share of one caller.
const mostLingering = 256

// Lingering is the connections that have had their last reply and that their client
// has not closed yet, by caller. One caller gets a share; who comes beyond it takes
// the place of that caller's oldest, which is cut: it has had the longest time to
// read its reply.
type Lingering struct {
	share int

	mu      sync.Mutex
	callers map[Lingerer]*list.List // of io.Closer, from the oldest to the newest
}

// Lingerer is whom a lingering connection counts to: the function where it is known,
// else the [Source].
type Lingerer struct {
	Function string
	Source   netip.Addr
}

// Init gives each caller a sixteenth of the places for connections.
func (l *Lingering) Init(connections int) {
	l.share = max(min(connections/16, mostLingering), 1)
	l.callers = map[Lingerer]*list.List{}
}

// Add adds a connection, and returns its place and the one that has to go for
// it, nil if none.
func (l *Lingering) Add(k Lingerer, c io.Closer) (at *list.Element, out io.Closer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.callers[k]
	if all == nil {
		all = list.New()
		l.callers[k] = all
	}
	if all.Len() >= l.share {
		out = all.Remove(all.Front()).(io.Closer)
	}
	return all.PushBack(c), out
}

// Remove takes a connection out, unless it had to go before.
func (l *Lingering) Remove(k Lingerer, at *list.Element) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.callers[k]
	if all == nil {
		return
	}
	all.Remove(at) // does nothing where it is not in the list
	if all.Len() == 0 {
		delete(l.callers, k)
	}
}

// Share returns how many connections of one caller may linger.
func (l *Lingering) Share() int { return l.share }

// Len returns how many connections of a caller linger.
func (l *Lingering) Len(k Lingerer) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if all := l.callers[k]; all != nil {
		return all.Len()
	}
	return 0
}
