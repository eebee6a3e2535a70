package proxy

import (
	"net/netip"
	"sync"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
)

const (
	// failureBudget is how many credentials that do not hold one source may
	// show in a failureWindow; each of them is answered 407 and recorded.
	failureBudget = 50
	failureWindow = time.Minute
	// failureSources bounds the memory: with that many failing sources the
	// others share one budget.
	failureSources = 8192
)

// failures counts credentials that did not hold, by source. Beyond the budget
// a failed one is answered 429 and summarised, so that a client with an old
// token in a loop cannot flood the records. A credential that holds is never
// slowed, wherever it comes from.
type failures struct {
	mu      sync.Mutex
	sources map[failureKey]*failureCount
}

// failureKey is whose failures are counted together. The protocol is part of
// it so that a summary counts under the same labels as what it stands for.
type failureKey struct {
	source   netip.Addr // zero: all for whom there is no room
	protocol string
}

// failureCount is one key within one window.
type failureCount struct {
	began  time.Time
	failed int
	over   uint64 // beyond the budget
}

// key is whose failures an address adds to.
func (f *failures) key(a netip.Addr, protocol string) failureKey {
	k := failureKey{sourceOf(a), protocol}
	if _, known := f.sources[k]; !known && len(f.sources) >= failureSources {
		k.source = netip.Addr{}
	}
	return k
}

// judge counts a credential that did not hold and says how it is refused, and
// whether that is part of a summary: the first one over the budget has a record
// of its own, so that the flood shows when it begins.
func (f *failures) judge(a netip.Addr, protocol string, now time.Time) (r policy.Reason, summarised bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sources == nil {
		f.sources = map[failureKey]*failureCount{}
	}
	key := f.key(a, protocol)
	n := f.sources[key]
	if n == nil {
		n = &failureCount{began: now}
		f.sources[key] = n
	}
	if n.failed < failureBudget {
		n.failed++
		return policy.ReasonIdentityRejected, false
	}
	n.over++
	return policy.ReasonLimitFailures, n.over > 1
}

// flood is a source that went over its budget in a window that has ended.
type flood struct {
	failureKey
	count uint64 // failures without a record of their own
}

// sweep forgets the windows that began before the instant and returns those
// that went over the budget.
func (f *failures) sweep(before time.Time) []flood {
	f.mu.Lock()
	defer f.mu.Unlock()
	var floods []flood
	for k, n := range f.sources {
		if n.began.After(before) {
			continue
		}
		if n.over > 1 {
			floods = append(floods, flood{failureKey: k, count: n.over - 1})
		}
		delete(f.sources, k)
	}
	return floods
}

// summarise writes one record for each flood. The line stands for itself and
// for the `suppressed` others; all were counted when they were refused.
func (s *Server) summarise(floods []flood) {
	for _, f := range floods {
		p, _ := s.opt.Policy()
		e := audit.Event{
			Kind: audit.Refused, ID: s.opt.Audit.NextID(), Policy: p.Hash(),
			Client: netip.AddrPortFrom(f.source, 0), Protocol: f.protocol,
			Verdict: policy.Deny, Reason: policy.ReasonLimitFailures, Suppressed: f.count - 1,
		}
		if err := s.opt.Audit.Record(&e); err != nil {
			s.log.Error("writing the summary of a flood failed", "error", err)
		}
	}
}
