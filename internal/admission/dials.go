package admission

import (
	"sync"
	"sync/atomic"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// leastDials is how many dials may be under way however few tunnels there may be.
const leastDials = 64

// DialLimiter counts the dials under way. A host that answers no SYN holds a dial
// for the whole of dial_timeout; with the bounds it holds a few of the places of
// the function that goes there, and nobody else's.
type DialLimiter struct {
	max, perFunction, perTarget int64
	total                       atomic.Int64

	mu      sync.Mutex
	targets map[DialKey]int64
}

// DialKey is one function's way to one host and port. Functions do not share a
// bound: one could shut another out of a host.
type DialKey struct {
	Usage  *Usage
	Target hostname.Target
}

// Init bounds the dials under way: half of the tunnels, a quarter of that for
// one function, and half of those for one of its targets. They are no rates: a
// thousand callers who have waited for the same lookup dial at the same instant.
func (d *DialLimiter) Init(tunnels int) {
	d.max = int64(max(tunnels/2, leastDials))
	d.perFunction = max(d.max/4, leastDials/2)
	d.perTarget = d.perFunction / 2
	d.targets = map[DialKey]int64{}
}

// Begin takes a place for one dial, or says which limit is reached. End gives
// it back.
func (d *DialLimiter) Begin(k DialKey) verdict.Reason {
	if d.total.Add(1) > d.max {
		d.total.Add(-1)
		return verdict.ReasonLimitTotal
	}
	if k.Usage.dials.Add(1) > d.perFunction || !d.toTarget(k) {
		k.Usage.dials.Add(-1)
		d.total.Add(-1)
		return verdict.ReasonLimitFunction
	}
	return verdict.ReasonNone
}

// toTarget counts a dial to its target, if there is room.
func (d *DialLimiter) toTarget(k DialKey) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.targets[k]
	if n >= d.perTarget {
		return false
	}
	d.targets[k] = n + 1
	return true
}

// End gives the place of one dial back.
func (d *DialLimiter) End(k DialKey) {
	d.mu.Lock()
	if n := d.targets[k]; n > 1 {
		d.targets[k] = n - 1
	} else {
		delete(d.targets, k)
	}
	d.mu.Unlock()
	k.Usage.dials.Add(-1)
	d.total.Add(-1)
}

// LimitError is a dial that was not begun because a limit is reached.
type LimitError struct{ Reason verdict.Reason }

// Error implements error.
func (e *LimitError) Error() string { return "not dialed: " + e.Reason.String() }

// Count returns how many dials are under way.
func (d *DialLimiter) Count() int64 { return d.total.Load() }
