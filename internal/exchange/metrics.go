package exchange

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/admission"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/bounds"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egress"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/perfunction"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// The values of the label protocol that this package uses.
const (
	protocolConnect = "connect"
	protocolHTTP    = "http"
)

// Metrics counts what the server decides and moves. Every label is of a
// closed set: functions of the file, verdicts, reasons, directions.
type Metrics struct {
	of              *perfunction.Metrics
	lasted          prometheus.Histogram
	panics          prometheus.Counter
	evicted         prometheus.Counter
	lingererClosed  prometheus.Counter
	refusalsDropped prometheus.Counter
	shed            *prometheus.CounterVec
	over            [admission.Rows]prometheus.Counter

	steps stepTimes
}

// newMetrics registers the metrics; reg may be nil. names returns the functions in force.
func newMetrics(reg prometheus.Registerer, names perfunction.Names) *Metrics {
	f := promauto.With(reg)
	m := &Metrics{
		of: perfunction.NewMetrics(reg, names),
		panics: f.NewCounter(prometheus.CounterOpts{
			Name: "egress_panics_total",
			Help: "Panics that cost one connection; each is a bug.",
		}),
		lasted: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "egress_tunnel_duration_seconds",
			Help:    "How long tunnels were open that have ended.",
			Buckets: []float64{.1, 1, 10, 60, 330, 900, 3600, 14400, 43200},
		}),
	}
	m.of.Rejected.With("")
	m.newSheds(f)
	m.steps = newStepTimes(f)
	return m
}

// Further values of the label cause, beside those of package admission: what there
// was too little of.
const (
	shedDials   = "dials"   // of one function, one target, or all that are under way
	shedLookups = "lookups" // of one caller, or all that are under way
)

// newSheds makes the metrics of what is turned away for want of room.
func (m *Metrics) newSheds(f promauto.Factory) {
	m.shed = f.NewCounterVec(prometheus.CounterOpts{
		Name: "egress_shed_total",
		Help: "Requests refused as limit_total or limit_function, by what there was too little of.",
	}, []string{"cause"})
	for _, cause := range [...]string{admission.ShedTunnels, admission.ShedFunction, admission.ShedMemory, shedDials, shedLookups, egress.ExhaustedDescriptors, egress.ExhaustedPorts, egress.ExhaustedKernelMemory} {
		m.shed.WithLabelValues(cause)
	}
	over := f.NewCounterVec(prometheus.CounterOpts{
		Name: "egress_over_share_total",
		Help: "How often a caller asked for more than its share and was refused, or had its oldest closed, by what it is a share of; the log names who.",
	}, []string{"share"})
	for r := range admission.Rows {
		m.over[r] = over.WithLabelValues(r.String())
	}
	m.refusalsDropped = f.NewCounter(prometheus.CounterOpts{
		Name: "egress_refusals_dropped_total",
		Help: "Refused requests without answer and record: their caller has its share of those that wait for the record that they share.",
	})
	m.evicted = f.NewCounter(prometheus.CounterOpts{
		Name: "egress_unidentified_closed_total",
		Help: "Connections closed before they showed who they are, because newer ones, of their source or of others that have fewer, needed the place.",
	})
	m.lingererClosed = f.NewCounter(prometheus.CounterOpts{
		Name: "egress_lingering_closed_total",
		Help: "Connections that had their last reply, and were cut before their client closed them because newer ones of their function, or source, needed the place.",
	})
}

// measure registers what can be read of s at any instant.
func (s *Shared) measure(reg prometheus.Registerer) {
	s.Conns.Measure(reg)
	s.Slots.Measure(reg)
	s.Dials.Measure(reg)
	s.Failures.Measure(reg)
	s.MemoryWatch.Gauges(reg)
	s.Dialer.Measure(reg)
	s.refusals.places.Measure(reg, bounds.Refusals.Name)
}

// decided counts a decision. a may be nil.
func (m *Metrics) decided(a *series, e *audit.Event) {
	if a != nil && e.Verdict == verdict.Allow && e.Reason == verdict.ReasonNone && e.Protocol == protocolConnect {
		a.allowed.Inc()
		return
	}
	m.of.Decisions.With(e.Function, e.Verdict.String(), e.Reason.String(), e.Protocol).Inc()
}

// Count counts a decision that another server took by the same policy, such as
// the answer to a DNS question: all decisions stand in one metric. It does not
// keep e.
func (s *Shared) Count(e *audit.Event) { s.Metrics.decided(nil, e) }
