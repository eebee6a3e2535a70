package admission

import (
	"net/netip"
	"sync"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/fair"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

const (
	// failureBudget is how many credentials that do not hold one source may
	// show in a FailureWindow; each of them is answered 407 and recorded.
	failureBudget = 50
	// FailureWindow is how long a source has to come by with its failures; whoever
	// calls Sweep passes the instant before which windows have ended.
	FailureWindow = time.Minute
	// failureSources bounds the memory: with that many failing sources the
	// others share one budget.
	failureSources = 8192
)

// Failures counts credentials that did not hold, by source. Beyond the budget
// a failed one is answered 429 and shares a record with others like it, so that
// a client with an old token in a loop cannot flood the records, and is slowed. A
// credential that holds is never slowed, wherever it comes from.
type Failures struct {
	mu      sync.Mutex
	sources map[netip.Addr]*failureCount // zero address: all for whom there is no room
}

// failureCount is one source within one window.
type failureCount struct {
	began  time.Time
	failed int
}

// Judge counts a credential that did not hold and says how it is refused.
func (f *Failures) Judge(a netip.Addr, now time.Time) verdict.Reason {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sources == nil {
		f.sources = map[netip.Addr]*failureCount{}
	}
	key := fair.Source(a)
	if _, known := f.sources[key]; !known && len(f.sources) >= failureSources {
		key = netip.Addr{}
	}
	n := f.sources[key]
	if n == nil {
		n = &failureCount{began: now}
		f.sources[key] = n
	}
	if n.failed == failureBudget {
		return verdict.ReasonLimitFailures
	}
	n.failed++
	return verdict.ReasonIdentityRejected
}

// Spent reports whether a source is beyond its budget.
func (f *Failures) Spent(a netip.Addr) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := fair.Source(a)
	n := f.sources[key]
	if n == nil && len(f.sources) >= failureSources {
		n = f.sources[netip.Addr{}]
	}
	return n != nil && n.failed >= failureBudget
}

// Sweep forgets the windows that began before the instant.
func (f *Failures) Sweep(before time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for k, n := range f.sources {
		if !n.began.After(before) {
			delete(f.sources, k)
		}
	}
}
