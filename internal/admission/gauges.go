package admission

import (
	"math"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/bounds"
)

// Measure registers the gauges of what can be read of the places at any instant.
func (c *Connections) Measure(reg prometheus.Registerer) {
	promauto.With(reg).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "egress_unidentified",
		Help: "Connections that have not shown who they are; at limits.unidentified the oldest of the source that has most is closed for a new one.",
	}, func() float64 { return float64(c.PreAuth()) })
	share := 0
	if c.Limiter != nil {
		share = c.Limiter.Share()
	}
	bounds.Measure(reg, "connections", cap(c.all), 0, c.Len)
	bounds.Measure(reg, bounds.PreAuth.Name, cap(c.preAuth), share, c.PreAuth)
}

// Measure registers the gauges of the connections that linger.
func (l *Lingering) Measure(reg prometheus.Registerer) {
	bounds.Measure(reg, bounds.Lingering.Name, l.most, min(l.share, l.most), func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.places.Len()
	})
}

// Measure registers the gauges of what functions have. Without a limit of the memory
// there are none of it.
func (s *Slots) Measure(reg prometheus.Registerer) {
	bounds.Measure(reg, "tunnels", s.opt.Total, s.opt.PerFunction, func() int { return int(s.Open()) })
	s.held.measure(reg, bounds.Memory.Name)
	s.extra.measure(reg, bounds.ExtraDials.Name)
	s.keepAlive.measure(reg, bounds.KeepAlive.Name)
}

// Measure registers the gauges of the dials under way.
func (d *DialLimiter) Measure(reg prometheus.Registerer) {
	promauto.With(reg).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "egress_dials",
		Help: "Dials under way.",
	}, func() float64 { return float64(d.Count()) })
	d.all.measure(reg, bounds.Dials.Name)
}

// measure registers the gauges of a row, unless there is no bound.
func (s *shares) measure(reg prometheus.Registerer, row string) {
	if s.total < math.MaxInt64 {
		bounds.Measure(reg, row, int(s.total), int(s.share), func() int { return int(s.taken.Load()) })
	}
}

// Measure registers the gauges of the sources that have failed.
func (f *Failures) Measure(reg prometheus.Registerer) {
	bounds.Measure(reg, "failures", failureSources, 0, func() int {
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.sources)
	})
}

// Gauges registers those of the memory as the admission of requests sees it.
// Where it is not known there are none of its bytes.
func (m *Memory) Gauges(reg prometheus.Registerer) {
	f := promauto.With(reg)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "egress_memory_short",
		Help: "1 while new requests are refused because memory runs short, else 0.",
	}, func() float64 {
		if m.High() {
			return 1
		}
		return 0
	})
	limit := LimitOf(m.Measure)
	if limit == 0 {
		return
	}
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "egress_memory_used_bytes",
		Help: "Memory in use as the gate saw it last, within a second: without what the collector could free, with what the kernel holds for the task.",
	}, func() float64 { return float64(m.used.Load()) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "egress_memory_limit_bytes",
		Help: "Memory that there is; at 70 per cent of it new requests are refused.",
	}, func() float64 { return float64(limit) })
}
