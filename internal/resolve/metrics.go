package resolve

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/bounds"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/fair"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/resolve/cache"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/resolve/upstream"
)

// metrics counts one question per family and lookup, those that the hosts file
// answers excepted. Each is one of hit, negative (a hit that says no), stale, miss
// (asked upstream) or shared (waited for another's miss); a stale one that had to
// wait for upstreams to fail was a miss or shared first. Prefetch counts questions
// that nobody waits for. What does not wait, and gets no answer, counts nothing: it is
// asked again by who does. A question that is begun anew, because its place went to
// another one, counts once.
type metrics struct {
	hit, negative, stale, miss, shared, prefetch prometheus.Counter

	refused  *prometheus.CounterVec // lookups that had to make place for others, by whose they were
	staleAge prometheus.Histogram   // of the answers that served though they had expired
}

// newMetrics registers with reg; nil counts and shows nobody.
func newMetrics(reg prometheus.Registerer) *metrics {
	cache := promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "egress_dns_cache_total",
		Help: "Questions by what the DNS cache made of them.",
	}, []string{"result"})
	return &metrics{
		hit:      cache.WithLabelValues("hit"),
		negative: cache.WithLabelValues("negative"),
		stale:    cache.WithLabelValues("stale"),
		miss:     cache.WithLabelValues("miss"),
		shared:   cache.WithLabelValues("shared"),
		prefetch: cache.WithLabelValues("prefetch"),
		refused: fair.ByCause(promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
			Name: "egress_lookups_refused_total",
			Help: "Questions to upstreams that were refused or cut short because their caller has its share of those under way, by who it is.",
		}, []string{"cause"})),
		staleAge: promauto.With(reg).NewHistogram(prometheus.HistogramOpts{
			Name:    "egress_dns_stale_age_seconds",
			Help:    "How long ago the answers had expired that served because no upstream answered in time.",
			Buckets: []float64{1, 5, 15, 60, 300, 900, 3600, 86400},
		}),
	}
}

// measure registers what can be read of r at any instant.
func (r *Resolver) measure(reg prometheus.Registerer) {
	r.places.Measure(reg, bounds.Lookups.Name)
	bounds.Measure(reg, "extra_lookups", cap(r.upstreams.Extra), 0, func() int { return len(r.upstreams.Extra) })
	bounds.Measure(reg, "mute_questions", upstream.MostMutes, 0, r.upstreams.Mutes)
	bounds.Measure(reg, "cached_lookups", r.cfg.CacheBytes, 0, r.cache.bytes)
}

// countBegun counts a question that has just begun, but not one that only an expired
// entry can serve: that counts when it does.
func (m *metrics) countBegun(p *pending) {
	switch {
	case p.fresh != nil && p.fresh.Negative():
		m.negative.Inc()
	case p.fresh != nil:
		m.hit.Inc()
	case p.inflight != nil && p.ours:
		m.miss.Inc()
	case p.inflight != nil:
		m.shared.Inc()
	}
}

// countServed counts the questions that have an answer though nothing could be waited for.
func (m *metrics) countServed(now time.Duration, all ...pending) {
	for i := range all {
		p := &all[i]
		if !p.over {
			continue
		}
		m.countBegun(p)
		if p.fresh == nil && p.stale != nil {
			m.countStale(p.stale, now)
		}
	}
}

// countStale counts that an expired entry serves.
func (m *metrics) countStale(e *cache.Entry, now time.Duration) {
	m.stale.Inc()
	m.staleAge.Observe((now - e.Expires).Seconds())
}
