package exchange

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/admission"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/bounds"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egress"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/tunnel"
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
	decisions       *prometheus.CounterVec
	open            *prometheus.GaugeVec
	bytes           *prometheus.CounterVec
	ended           *prometheus.CounterVec
	lasted          prometheus.Histogram
	panics          prometheus.Counter
	evicted         prometheus.Counter
	lingererClosed  prometheus.Counter
	rejected        *prometheus.CounterVec
	refusalsDropped prometheus.Counter
	shed            *prometheus.CounterVec
	over            [admission.Rows]prometheus.Counter

	steps stepTimes
}

// newMetrics registers the metrics; reg may be nil.
func newMetrics(reg prometheus.Registerer) *Metrics {
	f := promauto.With(reg)
	m := &Metrics{
		decisions: f.NewCounterVec(prometheus.CounterOpts{
			Name: "egress_decisions_total",
			Help: "Decisions, by function (empty: unidentified), verdict, reason and protocol. Each has one record; answered lookups where dns.record says so.",
		}, []string{"function", "verdict", "reason", "protocol"}),
		open: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "egress_tunnels",
			Help: "Open tunnels, by function.",
		}, []string{"function"}),
		bytes: f.NewCounterVec(prometheus.CounterOpts{
			Name: "egress_bytes_total",
			Help: "Bytes delivered, by function and direction; counted when a tunnel or request ends.",
		}, []string{"function", "direction"}),
		panics: f.NewCounter(prometheus.CounterOpts{
			Name: "egress_panics_total",
			Help: "Panics that cost one connection; each is a bug.",
		}),
	}
	m.rejected = f.NewCounterVec(prometheus.CounterOpts{
		Name: "egress_identity_rejected_total",
		Help: "Credentials that do not hold, by the function of the policy that was claimed; empty: none of the policy.",
	}, []string{"claimed"})
	m.rejected.WithLabelValues("")
	m.newEnds(f)
	m.newSheds(f)
	m.steps = newStepTimes(f)
	return m
}

// newEnds makes the metrics of tunnels that have ended.
func (m *Metrics) newEnds(f promauto.Factory) {
	m.ended = f.NewCounterVec(prometheus.CounterOpts{
		Name: "egress_tunnels_ended_total",
		Help: "Tunnels that have ended, by function and by what ended them, as records say it.",
	}, []string{"function", "ended"})
	m.lasted = f.NewHistogram(prometheus.HistogramOpts{
		Name:    "egress_tunnel_duration_seconds",
		Help:    "How long tunnels were open that have ended.",
		Buckets: []float64{.1, 1, 10, 60, 330, 900, 3600, 14400, 43200},
	})
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
	m.decisions.WithLabelValues(e.Function, e.Verdict.String(), e.Reason.String(), e.Protocol).Inc()
}

// Count counts a decision that another server took by the same policy, such as
// the answer to a DNS question: all decisions stand in one metric. It does not
// keep e.
func (s *Shared) Count(e *audit.Event) { s.Metrics.decided(nil, e) }

// series are the metrics that a function's open tunnels touch: looking one up by its
// labels costs more than counting.
type series struct {
	allowed  prometheus.Counter // CONNECTs that were let through
	tunnels  prometheus.Gauge
	up, down prometheus.Counter // bytes
	ended    [tunnel.Causes]prometheus.Counter
	lasted   prometheus.Observer // of all functions
}

// newSeries makes the series of a function.
func (m *Metrics) newSeries(function string) *series {
	a := &series{
		allowed: m.decisions.WithLabelValues(function, verdict.Allow.String(), "", protocolConnect),
		tunnels: m.open.WithLabelValues(function),
		up:      m.bytes.WithLabelValues(function, "up"),
		down:    m.bytes.WithLabelValues(function, "down"),
		lasted:  m.lasted,
	}
	for c := range tunnel.Causes {
		a.ended[c] = m.ended.WithLabelValues(function, c.String())
	}
	return a
}

// closed counts a tunnel that has ended.
func (a *series) closed(r tunnel.Result, lasted time.Duration) {
	a.tunnels.Dec()
	a.ended[r.Ended].Inc()
	a.lasted.Observe(lasted.Seconds())
}

// moved counts the bytes of what has ended.
func (a *series) moved(r tunnel.Result) {
	a.up.Add(float64(r.Up))
	a.down.Add(float64(r.Down))
}
