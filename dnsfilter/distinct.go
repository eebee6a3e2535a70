package dnsfilter

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

const (
	// distinctWindow is what names are counted over.
	distinctWindow = time.Minute
	// maxDistinct bounds the names that are remembered of all clients, about
	// 40 MB of them. Beyond it names that are not remembered are refused.
	maxDistinct = 1 << 20
	// windowCost is how many names a window counts for by itself.
	windowCost = 8
)

// distinct counts the different names that each client asks for below each
// wildcard. Windows are of a minute from a client's first name on, so that a
// client can get twice the limit within a minute across two of them.
type distinct struct {
	limit int
	seed  maphash.Seed

	mu      sync.Mutex
	windows map[distinctKey]*window
	names   int // in all windows, with what the windows cost
	swept   time.Time
}

// distinctKey is a client and a wildcard.
type distinctKey struct {
	client   netip.Addr
	wildcard uint64 // hash of its text
}

// window is what one client has asked for below one wildcard.
type window struct {
	since time.Time
	names map[uint64]struct{} // hashes
}

// newDistinct returns a counter that lets that many names pass.
func newDistinct(limit int) *distinct {
	return &distinct{limit: limit, seed: maphash.MakeSeed(), windows: map[distinctKey]*window{}}
}

// allow reports whether the client may ask for name below wildcard, and remembers
// that it did. A name that it has asked for within the window passes always.
func (d *distinct) allow(client netip.Addr, wildcard, name string, now time.Time) bool {
	key := distinctKey{client, maphash.String(d.seed, wildcard)}
	hash := maphash.String(d.seed, name)
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.windows[key]
	if w != nil && now.Sub(w.since) >= distinctWindow {
		d.drop(key, w)
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
	if d.names >= maxDistinct && !d.sweep(now) {
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

// drop forgets a window.
func (d *distinct) drop(key distinctKey, w *window) {
	d.names -= len(w.names) + windowCost
	delete(d.windows, key)
}

// sweep forgets the windows that are over, at most once a second, and tells
// whether there is room now.
func (d *distinct) sweep(now time.Time) bool {
	if now.Sub(d.swept) < time.Second {
		return false
	}
	d.swept = now
	for key, w := range d.windows {
		if now.Sub(w.since) >= distinctWindow {
			d.drop(key, w)
		}
	}
	return d.names < maxDistinct
}
