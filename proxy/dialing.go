package proxy

import (
	"errors"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// leastDials is how many dials may be under way however few tunnels there may be.
const leastDials = 64

// dialing counts the dials under way. A host that answers no SYN holds a dial
// for the whole of dial_timeout; with the bounds it holds a few of the places of
// the function that goes there, and nobody else's.
type dialing struct {
	max, perFunction, perTarget int64
	total                       atomic.Int64

	mu      sync.Mutex
	targets map[dialKey]int64
}

// dialKey is one function's way to one host and port. Functions do not share a
// bound: one could shut another out of a host.
type dialKey struct {
	account *account
	target  hostname.Target
}

// init bounds the dials under way: half of the tunnels, a quarter of that for
// one function, and half of those for one of its targets. They are no rates: a
// thousand callers who have waited for the same lookup dial at the same instant.
func (d *dialing) init(tunnels int) {
	d.max = int64(max(tunnels/2, leastDials))
	d.perFunction = max(d.max/4, leastDials/2)
	d.perTarget = d.perFunction / 2
	d.targets = map[dialKey]int64{}
}

// begin takes a place for one dial, or says which limit is reached. end gives
// it back.
func (d *dialing) begin(k dialKey) verdict.Reason {
	if d.total.Add(1) > d.max {
		d.total.Add(-1)
		return verdict.ReasonLimitTotal
	}
	if k.account.dialing.Add(1) > d.perFunction || !d.toTarget(k) {
		k.account.dialing.Add(-1)
		d.total.Add(-1)
		return verdict.ReasonLimitFunction
	}
	return verdict.ReasonNone
}

// toTarget counts a dial to its target, if there is room.
func (d *dialing) toTarget(k dialKey) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.targets[k]
	if n >= d.perTarget {
		return false
	}
	d.targets[k] = n + 1
	return true
}

// end gives the place of one dial back.
func (d *dialing) end(k dialKey) {
	d.mu.Lock()
	if n := d.targets[k]; n > 1 {
		d.targets[k] = n - 1
	} else {
		delete(d.targets, k)
	}
	d.mu.Unlock()
	k.account.dialing.Add(-1)
	d.total.Add(-1)
}

// limitError is a dial that was not begun because a limit is reached.
type limitError struct{ reason verdict.Reason }

func (e *limitError) Error() string { return "not dialed: " + e.reason.String() }

// exhausted reports whether a dial failed for want of something of our own:
// descriptors, ports, kernel memory. The host has no part in that, and another
// attempt or another proxy may do better.
func exhausted(err error) bool {
	for _, e := range [...]syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// budget is a number of things that may be had at the same time.
type budget struct {
	max int64
	n   atomic.Int64
}

// take takes one, if there is one.
func (b *budget) take() bool {
	if b.n.Add(1) > b.max {
		b.n.Add(-1)
		return false
	}
	return true
}

// give gives one back.
func (b *budget) give() { b.n.Add(-1) }
