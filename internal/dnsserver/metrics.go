package dnsserver

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/fair"
)

// Why a packet or connection got no answer: values of the label cause.
const (
	causeClient    = "client"       // the source may not ask
	causeResponse  = "response"     // it is a response, no question
	causeShort     = "short"        // it has no whole header
	causeTruncated = "truncated"    // it is larger than any question
	causeProxy     = "proxy_header" // missing, or not one
)

// metrics counts what the server drops, and its connections. Every label is of a
// closed set.
type metrics struct {
	dropped *prometheus.CounterVec
	refused *prometheus.CounterVec
	conns   prometheus.Gauge
}

// newMetrics registers the metrics; reg may be nil.
func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	m := &metrics{
		dropped: f.NewCounterVec(prometheus.CounterOpts{
			Name: "egress_dns_dropped_total",
			Help: "Packets and connections that got no answer, by cause.",
		}, []string{"cause"}),
		refused: fair.ByCause(f.NewCounterVec(prometheus.CounterOpts{
			Name: "egress_dns_connections_refused_total",
			Help: "TCP connections that were closed because newer ones needed the place, by who had it: a source with its share, or with most of all, or anybody.",
		}, []string{"cause"})),
		conns: f.NewGauge(prometheus.GaugeOpts{
			Name: "egress_dns_connections",
			Help: "Open TCP connections of DNS clients.",
		}),
	}
	for _, cause := range [...]string{causeClient, causeResponse, causeShort, causeTruncated, causeProxy} {
		m.dropped.WithLabelValues(cause)
	}
	return m
}

// countDropped counts a packet or connection that got no answer.
func (m *metrics) countDropped(cause string) { m.dropped.WithLabelValues(cause).Inc() }
