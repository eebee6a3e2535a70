package daemon

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
)

// metrics says what policy is in force and what runs it.
type metrics struct {
	reg      prometheus.Registerer
	success  prometheus.Gauge
	pending  prometheus.Gauge
	loaded   prometheus.Gauge
	rules    *prometheus.GaugeVec
	daysLeft *prometheus.GaugeVec
}

// newMetrics registers the metrics, with those of the process and of Go.
func newMetrics(reg *prometheus.Registry, version, commit string) *metrics {
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	f := promauto.With(reg)
	f.NewGaugeVec(prometheus.GaugeOpts{
		Name: "egress_build_info",
		Help: "Always 1; the labels say which version runs.",
	}, []string{"version", "commit"}).WithLabelValues(version, commit).Set(1)
	return &metrics{
		reg: reg,
		pending: f.NewGauge(prometheus.GaugeOpts{
			Name: "egress_config_restart_pending",
			Help: "Sections of the file that have changed and take effect at the next start, such as limits; 0: none.",
		}),
		success: f.NewGauge(prometheus.GaugeOpts{
			Name: "egress_config_last_reload_successful",
			Help: "1 if the last load of the file succeeded, 0 if it failed and an older policy is in force.",
		}),
		loaded: f.NewGauge(prometheus.GaugeOpts{
			Name: "egress_config_loaded_timestamp_seconds",
			Help: "When the policy in force was loaded, in Unix seconds.",
		}),
		rules: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "egress_rules",
			Help: "Rules of each function, patterns of its sets included.",
		}, []string{"function"}),
		daysLeft: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "egress_report_mode_days_left",
			Help: "Days until a function in report mode enforces by itself; functions that enforce have none.",
		}, []string{"function"}),
	}
}

// loadedNow sets what a policy that has just been put in force changes.
func (m *metrics) loadedNow(p *policy.Policy, now time.Time) {
	m.success.Set(1)
	m.loaded.Set(float64(now.Unix()))
	m.rules.Reset()
	for _, name := range p.Functions() {
		m.rules.WithLabelValues(name).Set(float64(p.Function(name).Rules()))
	}
	m.countDown(p, now)
}

// countDown sets how long report mode still holds, by function.
func (m *metrics) countDown(p *policy.Policy, now time.Time) {
	m.daysLeft.Reset()
	for _, name := range p.Functions() {
		if f := p.Function(name); f.Reports(now) {
			m.daysLeft.WithLabelValues(name).Set(f.ReportUntil().Sub(now).Hours() / 24)
		}
	}
}
