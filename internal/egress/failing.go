package egress

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/bounds"
)

const (
	// FailingFor is how long an address that failed is tried after those that did not.
	FailingFor = 30 * time.Second
	// mostFailing bounds the addresses that are remembered. Of one that is forgotten
	// the next caller finds out again: it costs that one AttemptDelay.
	mostFailing = 4096
	// leastTimeout is how long a dial has waited when silence is the address's fault,
	// and not that of a caller with no time left: the first SYN may be lost.
	leastTimeout = time.Second
)

// failing is the addresses that did not answer lately. The zero failing remembers none.
type failing struct {
	n atomic.Int64 // len(until), for those who find none

	mu    sync.Mutex
	until map[netip.AddrPort]time.Time
}

// Measure registers the gauges of the addresses that did not answer lately.
func (d *Dialer) Measure(reg prometheus.Registerer) {
	bounds.Measure(reg, "failing_addresses", mostFailing, 0, func() int { return int(d.failing.n.Load()) })
}

// failed remembers an address.
func (f *failing) failed(a netip.AddrPort) {
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.until == nil {
		f.until = map[netip.AddrPort]time.Time{}
	}
	if _, known := f.until[a]; !known && len(f.until) >= mostFailing {
		f.evict(now)
	}
	f.until[a] = now.Add(FailingFor)
	f.n.Store(int64(len(f.until)))
}

// evict makes room for one: of a few it takes those that are over, or else any.
func (f *failing) evict(now time.Time) {
	few := 16
	for a, until := range f.until {
		if few--; few > 0 && until.After(now) {
			continue
		}
		delete(f.until, a)
		if few <= 0 {
			return
		}
	}
}

// worked forgets an address that has answered.
func (f *failing) worked(a netip.AddrPort) {
	if f.n.Load() == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.until, a)
	f.n.Store(int64(len(f.until)))
}

// split returns those of the addresses that did not fail lately, and those that did.
func (f *failing) split(addrs []netip.Addr, port uint16) (good, bad []netip.Addr) {
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range addrs {
		if until, known := f.until[netip.AddrPortFrom(a, port)]; known && until.After(now) {
			bad = append(bad, a)
		} else {
			good = append(good, a)
		}
	}
	return good, bad
}
