// Package challenges counts what becomes of callers that were asked for a credential.
//
// What it does: a client that shows none gets 407, and most clients come back with one:
// Java and .NET always begin so. A [Table] remembers by source who was asked, for thirty
// seconds and a minute at most, and counts each challenge once: answered, rejected (what was
// shown does not hold) or unanswered.
//
// What it does not do: it asks nobody and refuses nobody. Whoever shares a source, as
// functions of one network interface do, answers for the others.
//
//	table.Challenged(source)
//	…
//	table.Answered(source, true)
//	table.Sweep(now)
package challenges

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/bounds"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/fair"
)

const (
	// Within is how long a source has at least to come back.
	Within = 30 * time.Second
	// mostSources bounds the memory; what a further source is asked counts as unanswered.
	mostSources = 8192
)

// Table has the challenges that are open. Make one with New. Safe for concurrent use.
type Table struct {
	answered, unanswered, rejected prometheus.Counter

	sources atomic.Int64 // how many open has: most requests need no lock
	mu      sync.Mutex
	open    map[netip.Addr]*pending
	turned  time.Time // when the last Sweep was that counted
}

// pending is how often a source was asked and has not come back.
type pending struct{ earlier, lately int }

// New returns an empty Table; reg may be nil.
func New(reg prometheus.Registerer) *Table {
	v := promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "egress_challenges_total",
		Help: "Callers that were asked for a credential, by whether their source came back with one that holds, one that does not, or none, within 30 s.",
	}, []string{"outcome"})
	t := &Table{
		open:     map[netip.Addr]*pending{},
		answered: v.WithLabelValues("answered"), unanswered: v.WithLabelValues("unanswered"), rejected: v.WithLabelValues("rejected"),
	}
	bounds.Measure(reg, "challenges", mostSources, 0, func() int { return int(t.sources.Load()) })
	return t
}

// Challenged notes that a caller is asked for a credential. Call it before the caller knows.
func (t *Table) Challenged(a netip.Addr) {
	source := fair.Source(a)
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.open[source]
	switch {
	case n == nil && len(t.open) >= mostSources:
		t.unanswered.Inc()
		return
	case n == nil:
		n = &pending{}
		t.open[source] = n
		t.sources.Add(1)
	}
	n.lately++
}

// Answered notes that a caller has shown a credential, and whether it holds.
func (t *Table) Answered(a netip.Addr, valid bool) {
	if t.sources.Load() == 0 {
		return
	}
	source := fair.Source(a)
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.open[source]
	if n == nil {
		return
	}
	if n.earlier > 0 {
		n.earlier--
	} else {
		n.lately--
	}
	if valid {
		t.answered.Inc()
	} else {
		t.rejected.Inc()
	}
	t.removeIdle(source, n)
}

// removeIdle takes a source out that has no open challenge. The caller holds mu.
func (t *Table) removeIdle(source netip.Addr, n *pending) {
	if n.earlier == 0 && n.lately == 0 {
		delete(t.open, source)
		t.sources.Add(-1)
	}
}

// Sweep counts the challenges that nobody has come back for. Call it each second.
func (t *Table) Sweep(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.turned) < Within {
		return
	}
	t.turned = now
	for source, n := range t.open {
		t.unanswered.Add(float64(n.earlier))
		n.earlier, n.lately = n.lately, 0
		t.removeIdle(source, n)
	}
}
