package dnsfilter

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/fair"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/perfunction"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// typeLabels are the types that have a label of their own; others are "other".
var typeLabels = map[uint16]string{
	dns.TypeA: "A", dns.TypeAAAA: "AAAA", dns.TypeHTTPS: "HTTPS", dns.TypeSVCB: "SVCB",
	dns.TypeCNAME: "CNAME", dns.TypePTR: "PTR", dns.TypeTXT: "TXT", dns.TypeNS: "NS",
	dns.TypeSOA: "SOA", dns.TypeMX: "MX", dns.TypeSRV: "SRV", dns.TypeANY: "ANY", dns.TypeNULL: "NULL",
}

// decisionKey is what one counter of decisions counts.
type decisionKey struct {
	function string
	verdict  verdict.Verdict
	reason   verdict.Reason
	qtype    uint16 // 0: one that has no label of its own
}

// metrics counts what the server decides. Every label is of a closed
// set: functions of the file, verdicts, reasons, types.
type metrics struct {
	answers         *perfunction.Vec
	inFlight        prometheus.Gauge
	refused         *prometheus.CounterVec // questions that had to make place for others, by whose they were
	panics          prometheus.Counter
	refusalsDropped prometheus.Counter
	hit             prometheus.Counter
	miss            prometheus.Counter

	// known are the counters of answers that have been used, so that a question
	// does not hash its labels. The map is replaced, never changed.
	known  atomic.Pointer[map[decisionKey]*perfunction.Value]
	adding sync.Mutex
}

// newMetrics registers the metrics; reg may be nil. names returns the functions in force.
func newMetrics(reg prometheus.Registerer, names perfunction.Names) *metrics {
	f := promauto.With(reg)
	packed := f.NewCounterVec(prometheus.CounterOpts{
		Name: "egress_dns_packed_total",
		Help: "Allowed questions, by whether a packed answer was at hand (hit) or the resolver was asked (miss).",
	}, []string{"result"})
	m := &metrics{
		answers: perfunction.New(prometheus.NewDesc("egress_dns_answers_total",
			"Decisions on DNS questions, by function (empty: unidentified), verdict, reason and record type.",
			[]string{"function", "verdict", "reason", "type"}, nil), prometheus.CounterValue, names),
		inFlight: f.NewGauge(prometheus.GaugeOpts{
			Name: "egress_dns_in_flight",
			Help: "Questions that wait for the resolver.",
		}),
		refused: fair.ByCause(f.NewCounterVec(prometheus.CounterOpts{
			Name: "egress_dns_questions_refused_total",
			Help: "Questions that were refused or cut short because their client has its share of those that wait for the resolver, by who it is.",
		}, []string{"cause"})),
		refusalsDropped: f.NewCounter(prometheus.CounterOpts{
			Name: "egress_dns_refusals_dropped_total",
			Help: "Refused questions without answer and record: their client has its share of those that wait for a record that they share, or another one that has less took its place.",
		}),
		panics: f.NewCounter(prometheus.CounterOpts{
			Name: "egress_dns_panics_total",
			Help: "Questions whose handling panicked; each got SERVFAIL.",
		}),
		hit:  packed.WithLabelValues("hit"),
		miss: packed.WithLabelValues("miss"),
	}
	perfunction.Register(reg, m.answers)
	m.known.Store(&map[decisionKey]*perfunction.Value{})
	return m
}

// decided counts a decision.
func (m *metrics) decided(e *audit.Event, qtype uint16) {
	label, known := typeLabels[qtype]
	if !known {
		label, qtype = "other", 0
	}
	key := decisionKey{e.Function, e.Verdict, e.Reason, qtype}
	c := (*m.known.Load())[key]
	if c == nil {
		c = m.answers.With(e.Function, e.Verdict.String(), e.Reason.String(), label)
		m.remember(key, c)
	}
	c.Inc()
}

// remember adds a counter to the known ones.
func (m *metrics) remember(key decisionKey, c *perfunction.Value) {
	m.adding.Lock()
	defer m.adding.Unlock()
	next := maps.Clone(*m.known.Load())
	next[key] = c
	m.known.Store(&next)
}
