package audit

import (
	"time"

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

// measure registers what can be read of l at any instant.
func (l *Log) measure(reg prometheus.Registerer) {
	promauto.With(reg).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "egress_audit_pending_seconds",
		Help: "For how long the oldest record has waited that is not on the audit output yet; 0: none waits.",
	}, func() float64 { return l.oldest().Seconds() })
}

// oldest returns for how long the oldest line waits that is not on the output.
func (l *Log) oldest() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range []*batch{l.inflight, l.open} {
		if b != nil && len(b.lines) > 0 {
			return time.Since(b.since)
		}
	}
	return 0
}
