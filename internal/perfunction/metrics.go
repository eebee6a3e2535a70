package perfunction

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/tunnel"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// Metrics are those of requests that are told apart by function.
type Metrics struct {
	Decisions *Vec // by verdict, reason and protocol
	Tunnels   *Vec // that are open
	Ended     *Vec // tunnels, by what ended them
	DeadReuse *Vec // tunnels that were written into when their origin had ended
	Bytes     *Vec // by direction, up or down
	Rejected  *Vec // credentials, by whom they were shown for
}

// NewMetrics registers the metrics; reg may be nil. A function has at 0 what alarms read.
func NewMetrics(reg prometheus.Registerer, names Names) *Metrics {
	var causes [][]string
	for c := range tunnel.Causes {
		causes = append(causes, []string{c.String()})
	}
	m := &Metrics{
		Decisions: New(prometheus.NewDesc("egress_decisions_total",
			"Decisions, by function (empty: unidentified), verdict, reason and protocol. Each has one record; answered lookups where dns.record says so.",
			[]string{"function", "verdict", "reason", "protocol"}, nil), prometheus.CounterValue, names,
			[]string{verdict.Allow.String(), "", "connect"}, []string{verdict.Deny.String(), verdict.ReasonHostNotAllowed.String(), "connect"}),
		Tunnels: New(prometheus.NewDesc("egress_tunnels",
			"Open tunnels, by function.",
			[]string{"function"}, nil), prometheus.GaugeValue, names, nil),
		Ended: New(prometheus.NewDesc("egress_tunnels_ended_total",
			"Tunnels that have ended, by function and by what ended them, as records say it.",
			[]string{"function", "ended"}, nil), prometheus.CounterValue, names, causes...),
		DeadReuse: New(prometheus.NewDesc("egress_tunnels_dead_reuse_total",
			"Tunnels that the client took for open and wrote into a second or more after their origin had ended, by function.",
			[]string{"function"}, nil), prometheus.CounterValue, names, nil),
		Bytes: New(prometheus.NewDesc("egress_bytes_total",
			"Bytes delivered, by function and direction; counted each minute, and when a tunnel or request ends.",
			[]string{"function", "direction"}, nil), prometheus.CounterValue, names, []string{"up"}, []string{"down"}),
		Rejected: New(prometheus.NewDesc("egress_identity_rejected_total",
			"Credentials that do not hold, by the function of the policy that was claimed; empty: none of the policy.",
			[]string{"claimed"}, nil), prometheus.CounterValue, names, nil),
	}
	Register(reg, m.Decisions, m.Tunnels, m.Ended, m.DeadReuse, m.Bytes, m.Rejected)
	return m
}
