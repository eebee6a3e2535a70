package conditions

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// lookEvery is how often the metrics are looked at.
	lookEvery = 5 * time.Second
	// atMost is the part of the time that looks may take: those at very many functions are
	// rarer.
	atMost = 100
	// window is for how long, at least, what has been counted is what is counted now.
	window = time.Minute
)

// Watch logs the conditions of the table. Make one with New.
type Watch struct {
	*Log
	from    prometheus.Gatherer
	samples map[string][]sample // of the last look, by metric
	windows map[string]*counted // by metric and label
}

// sample is one series.
type sample struct {
	labels map[string]string
	number float64
}

// counted is what a counter has grown by, within this window and within the one before it.
type counted struct {
	since      time.Time
	at         float64 // the number when this window began
	now        float64
	lastWindow float64
}

// New returns a Watch of what a gatherer has.
func New(from prometheus.Gatherer, log *slog.Logger) *Watch {
	return &Watch{Log: NewLog(log), from: from, windows: map[string]*counted{}}
}

// Run looks until ctx ends.
func (w *Watch) Run(ctx context.Context) {
	timer := time.NewTimer(lookEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-timer.C:
			w.Look(now)
			timer.Reset(max(lookEvery, atMost*time.Since(now)))
		}
	}
}

// Look looks at the metrics, and logs what is due.
func (w *Watch) Look(now time.Time) {
	families, err := w.from.Gather()
	if err != nil {
		w.log.Error("looking at the metrics failed", slog.Any("error", err))
		return
	}
	w.samples = map[string][]sample{}
	for _, f := range families {
		if !watched[f.GetName()] {
			continue
		}
		for _, m := range f.GetMetric() {
			s := sample{labels: map[string]string{}, number: m.GetCounter().GetValue() + m.GetGauge().GetValue()}
			for _, l := range m.GetLabel() {
				s.labels[l.GetName()] = l.GetValue()
			}
			w.samples[f.GetName()] = append(w.samples[f.GetName()], s)
		}
	}
	for _, row := range table {
		for _, c := range row(w, now) {
			w.Set(now, c)
		}
	}
}

// gauge returns a gauge without labels, or the sum of one with some.
func (w *Watch) gauge(name string) (sum float64) {
	for _, s := range w.samples[name] {
		sum += s.number
	}
	return sum
}

// grew returns what a counter has grown by within a minute, and two at most; of its series
// those where the label has the value, "": all.
func (w *Watch) grew(now time.Time, name, label, value string) float64 {
	sum := 0.0
	for _, s := range w.samples[name] {
		if label == "" || s.labels[label] == value {
			sum += s.number
		}
	}
	c := w.windows[name+" "+value]
	if c == nil {
		c = &counted{since: now}
		w.windows[name+" "+value] = c
	}
	c.now = sum
	if c.now < c.at { // a function is gone, and its series with it
		c.at = c.now
	}
	grown := max(c.now-c.at, c.lastWindow)
	if now.Sub(c.since) >= window || now.Before(c.since) {
		c.since, c.at, c.lastWindow = now, c.now, c.now-c.at
	}
	return grown
}
