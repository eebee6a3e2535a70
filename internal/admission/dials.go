package admission

import (
	"net/netip"
	"sync"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/bounds"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/fair"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// leastDials is how many dials may be under way however few tunnels there may be.
const leastDials = 64

// DialLimiter counts the dials under way. A host that answers no SYN holds a dial
// for the whole of dial_timeout; with the bounds it holds a few of the places of
// the function that goes there, and nobody else's.
type DialLimiter struct {
	all       shares
	perTarget int64
	excess    *Excess

	mu      sync.Mutex
	targets map[DialKey]int64
}

// DialKey is one function's way to one host and port. Functions do not share a
// bound: one could shut another out of a host. The host is its least address, for
// below a wildcard one host has as many names as one likes.
type DialKey struct {
	Usage *Usage
	Host  netip.AddrPort
}

// Dials returns by what a dial of the function to one of the addresses is counted.
func (u *Usage) Dials(addrs []netip.Addr, port uint16) DialKey {
	var least netip.Addr
	for i, a := range addrs {
		if i == 0 || a.Less(least) {
			least = a
		}
	}
	return DialKey{Usage: u, Host: netip.AddrPortFrom(least, port)}
}

// Init bounds the dials under way: half of the tunnels, a quarter of that for
// one function, and half of those for one of its targets. They are no rates: a
// thousand callers who have waited for the same lookup dial at the same instant. c is
// told who asks for more; nil: nobody is.
func (d *DialLimiter) Init(tunnels int, c *Excess) {
	most := int64(max(tunnels/2, leastDials))
	d.all.init(most, int64(bounds.Dials.PartOf(int(most))))
	d.perTarget = d.all.share / 2
	d.excess = c
	d.targets = map[DialKey]int64{}
}

// Begin takes a place for one dial, or says which limit is reached. End gives
// it back.
func (d *DialLimiter) Begin(k DialKey) verdict.Reason {
	got := d.all.acquire(&k.Usage.dials, 1)
	if got == acquired && !d.toTarget(k) {
		d.all.release(&k.Usage.dials, 1)
		got = overShare
	}
	switch got {
	case acquired:
		return verdict.ReasonNone
	case overShare:
		d.excess.Add(RowDials, fair.Caller{Function: k.Usage.name})
		return verdict.ReasonLimitFunction
	default:
		return verdict.ReasonLimitTotal
	}
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
	d.all.release(&k.Usage.dials, 1)
}

// LimitError is a dial that was not begun, or bytes that were not read, because a limit
// is reached.
type LimitError struct{ Reason verdict.Reason }

// Error implements error.
func (e *LimitError) Error() string { return "not done: " + e.Reason.String() }

// Count returns how many dials are under way.
func (d *DialLimiter) Count() int64 { return d.all.taken.Load() }

// AcquireExtra takes one of the attempts to dial beside a host's first, if the function may
// have one more.
func (u *Usage) AcquireExtra() bool {
	got := u.slots.extra.acquire(&u.extra, 1)
	if got == overShare {
		u.slots.opt.Excess.Add(RowExtraDials, fair.Caller{Function: u.name})
	}
	return got == acquired
}

// ReleaseExtra gives it back.
func (u *Usage) ReleaseExtra() { u.slots.extra.release(&u.extra, 1) }
