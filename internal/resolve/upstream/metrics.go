package upstream

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// The labels of how a question to a server ended, and why it came to nothing. A question
// is given up where another server was first, or nobody waits for it any more.
const (
	outcomeAnswered = "answered"
	outcomeFailed   = "failed"
	outcomeTimeout  = "timeout"
	outcomeGivenUp  = "given_up"

	causeTimeout     = "timeout"
	causeServfail    = "servfail"
	causeRefused     = "refused"
	causeRcode       = "rcode" // any other
	causeReferral    = "referral"
	causeUnreachable = "unreachable"
	causeMalformed   = "malformed"
	causeLocal       = "local"
)

// causes are why a question comes to nothing.
var causes = []string{causeTimeout, causeServfail, causeRefused, causeRcode, causeReferral, causeUnreachable, causeMalformed, causeLocal}

// Metrics say what each server does. Make them with NewMetrics.
type Metrics struct {
	seconds  *prometheus.HistogramVec
	failures *prometheus.CounterVec
	up       *prometheus.GaugeVec // as of the last Collect

	mu      sync.Mutex
	servers []*server
	now     func() time.Duration
}

// NewMetrics registers with reg; nil counts and shows nobody.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		seconds: promauto.With(reg).NewHistogramVec(prometheus.HistogramOpts{
			Name:    "egress_dns_upstream_seconds",
			Help:    "How long an upstream DNS server took for one question, silence included, by how that ended.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2, 5},
		}, []string{"upstream", "outcome"}),
		failures: promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
			Name: "egress_dns_upstream_failures_total",
			Help: "Questions to an upstream DNS server that came to nothing, by why.",
		}, []string{"upstream", "cause"}),
		up: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "egress_dns_upstream_up",
			Help: "1 while an upstream DNS server answers, or has not been asked; 0 once it has owed an answer for two seconds, or cannot be reached.",
		}, []string{"upstream"}),
	}
	if reg != nil {
		reg.MustRegister(m)
	}
	return m
}

// Describe implements prometheus.Collector for what is known of the servers now.
func (m *Metrics) Describe(to chan<- *prometheus.Desc) { m.up.Describe(to) }

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(to chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.servers {
		value := 1.
		if s.down.Load() != 0 || s.owes(m.now()) >= DownAfter {
			value = 0
		}
		m.up.WithLabelValues(s.addr.String()).Set(value)
	}
	m.up.Collect(to)
}

// watch sets the servers that Collect tells of.
func (m *Metrics) watch(servers []*server, now func() time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.servers, m.now = servers, now
}

// remove takes away the series of a server that is no more asked.
func (m *Metrics) remove(addr netip.AddrPort) {
	labels := prometheus.Labels{"upstream": addr.String()}
	m.seconds.DeletePartialMatch(labels)
	m.failures.DeletePartialMatch(labels)
	m.up.DeletePartialMatch(labels)
}

// series are the metrics of one server.
type series struct {
	answered, failed, timeout, givenUp prometheus.Observer

	failures map[string]prometheus.Counter
}

// of returns the series of a server, at 0.
func (m *Metrics) of(addr netip.AddrPort) *series {
	name := addr.String()
	s := &series{
		answered: m.seconds.WithLabelValues(name, outcomeAnswered),
		failed:   m.seconds.WithLabelValues(name, outcomeFailed),
		timeout:  m.seconds.WithLabelValues(name, outcomeTimeout),
		givenUp:  m.seconds.WithLabelValues(name, outcomeGivenUp),
		failures: map[string]prometheus.Counter{},
	}
	for _, cause := range causes {
		s.failures[cause] = m.failures.WithLabelValues(name, cause)
	}
	return s
}

// observe counts one question that took so long.
func (s *series) observe(ctx context.Context, reply *dns.Msg, err error, took time.Duration) {
	to, cause := s.failed, ""
	switch {
	case err == nil && conclusive(reply):
		to = s.answered
	case err == nil:
		cause = causeOf(reply)
	case errors.Is(ctx.Err(), context.Canceled):
		to = s.givenUp
	case timedOut(err):
		to, cause = s.timeout, causeTimeout
	case local(err):
		cause = causeLocal
	case errors.Is(err, errMalformed), errors.Is(err, errGuessed):
		cause = causeMalformed
	default:
		cause = causeUnreachable
	}
	to.Observe(took.Seconds())
	if cause != "" {
		s.failures[cause].Inc()
	}
}

// causeOf says what is wrong with an answer that is none.
func causeOf(reply *dns.Msg) string {
	switch {
	case reply.Rcode == dns.RcodeServerFailure:
		return causeServfail
	case reply.Rcode == dns.RcodeRefused:
		return causeRefused
	case referral(reply):
		return causeReferral
	default:
		return causeRcode
	}
}
