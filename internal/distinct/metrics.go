package distinct

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/fair"
)

// metrics counts what the memory for names had no room for.
type metrics struct {
	full *prometheus.CounterVec // by whose names they were
}

// newMetrics registers the metrics; reg may be nil.
func newMetrics(reg prometheus.Registerer) metrics {
	return metrics{full: fair.ByCause(promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "egress_dns_names_full_total",
		Help: "New names below a wildcard that were refused, and callers that gave way, because the memory for names was full, by who it is.",
	}, []string{"cause"}))}
}
