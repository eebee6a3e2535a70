package audit

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are the package's own; none has a label.
type metrics struct {
	lost  prometheus.Counter
	write prometheus.Histogram
}

// newMetrics registers the metrics; a nil reg registers none.
func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	return &metrics{
		lost: f.NewCounter(prometheus.CounterOpts{
			Name: "egress_audit_lost_total",
			Help: "Events that have no record because the audit output failed.",
		}),
		write: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "egress_audit_write_seconds",
			Help:    "Time of one write of records to the audit output; concurrent records share a write.",
			Buckets: prometheus.ExponentialBuckets(10e-6, 4, 11), // 10 µs to 10 s
		}),
	}
}
