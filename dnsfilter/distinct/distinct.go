// Package distinct counts the different names that each client asks for below each
// wildcard, so that no client carries much in names.
//
// What it does not do: it does not decide which names are counted, and keeps no
// name, only hashes of them.
//
//	names := distinct.New(1000, distinct.MaxNames)
//	if !names.Allow(client, "*.example.org", "a.example.org", now) {
package distinct

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

const (
	// windowLength is what names are counted over.
	windowLength = time.Minute
	// MaxNames is a bound of the names that are remembered of all clients, about
	// 40 MB of them.
	MaxNames = 1 << 20
	// windowCost is how many names a window counts for by itself.
	windowCost = 8
)

// Counter counts names. Make one with New; its methods may be called from many
// goroutines. Windows are of a minute from a client's first name on, so that a
// client can get twice the limit within a minute across two of them.
type Counter struct {
	limit int
	most  int
	seed  maphash.Seed

	mu      sync.Mutex
	windows map[windowKey]*window
	names   int // in all windows, with what the windows cost
	swept   time.Time
}

// windowKey is a client and a wildcard.
type windowKey struct {
	client   netip.Addr
	wildcard uint64 // hash of its text
}

// window is what one client has asked for below one wildcard.
type window struct {
	since time.Time
	names map[uint64]struct{} // hashes
}

// New returns a counter that lets limit names of a client and a wildcard pass, and
// remembers most names of all clients. Beyond that, names that are not remembered
// are refused.
func New(limit, most int) *Counter {
	return &Counter{limit: limit, most: most, seed: maphash.MakeSeed(), windows: map[windowKey]*window{}}
}

// Allow reports whether the client may ask for name below wildcard, and remembers
// that it did. A name that it has asked for within the window passes always.
func (d *Counter) Allow(client netip.Addr, wildcard, name string, now time.Time) bool {
	key := windowKey{client, maphash.String(d.seed, wildcard)}
	hash := maphash.String(d.seed, name)
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.windows[key]
	if w != nil && now.Sub(w.since) >= windowLength {
		d.remove(key, w)
		w = nil
	}
	if w != nil {
		if _, seen := w.names[hash]; seen {
			return true
		}
		if len(w.names) >= d.limit {
			return false
		}
	}
	if d.names >= d.most && !d.sweep(now) {
		return false
	}
	if w == nil {
		w = &window{since: now, names: map[uint64]struct{}{}}
		d.windows[key] = w
		d.names += windowCost
	}
	w.names[hash] = struct{}{}
	d.names++
	return true
}

// remove forgets a window.
func (d *Counter) remove(key windowKey, w *window) {
	d.names -= len(w.names) + windowCost
	delete(d.windows, key)
}

// sweep forgets the windows that are over, at most once a second, and tells
// whether there is room now.
func (d *Counter) sweep(now time.Time) bool {
	if now.Sub(d.swept) < time.Second {
		return false
	}
	d.swept = now
	for key, w := range d.windows {
		if now.Sub(w.since) >= windowLength {
			d.remove(key, w)
		}
	}
	return d.names < d.most
}
