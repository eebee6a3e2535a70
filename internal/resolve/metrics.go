package resolve

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/bounds"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/resolve/cache"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/resolve/upstream"
)

// metrics counts one question per family and lookup, those that the hosts file
// answers excepted. Each is one of hit, negative (a hit that says no), stale, miss
// (asked upstream) or shared (waited for another's miss); a stale one that had to
// wait for upstreams to fail was a miss or shared first. Prefetch counts questions
// that nobody waits for.
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
		refused: promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
			Name: "egress_lookups_refused_total",
			Help: "Questions to upstreams that were refused or cut short because their caller has its share of those under way, by who it is.",
		}, []string{"cause"}),
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

// countHit counts a fresh entry that was in the cache: what it says may be no.
func (m *metrics) countHit(e *cache.Entry) {
	if e.Negative() {
		m.negative.Inc()
		return
	}
	m.hit.Inc()
}
