package expiry

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// again is how often the same is logged while it lasts.
const again = time.Hour

// Watch tells ends in time. Its methods may be called from several goroutines.
type Watch struct {
	log   *slog.Logger
	ended func(End)

	certificate, rule, report *prometheus.GaugeVec

	mu     sync.Mutex // held for all below
	all    []End
	looked time.Time             // when the last look was
	told   map[string]*condition // by what it is about
}

// condition is something that is near its end, or over.
type condition struct {
	level  slog.Level
	logged time.Time
	seen   bool // in this look
}

// NewWatch returns a Watch of nothing. ended is called once for each rule and report mode
// that ends while it is watched; it must not call the Watch.
func NewWatch(reg prometheus.Registerer, log *slog.Logger, ended func(End)) *Watch {
	f := promauto.With(reg)
	return &Watch{
		log: log, ended: ended, told: map[string]*condition{},
		certificate: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "egress_tls_certificate_expiry_timestamp_seconds",
			Help: "When the certificate of listen.tls expires, in Unix seconds.",
		}, []string{"listener"}),
		rule: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "egress_rule_expiry_timestamp_seconds",
			Help: "When the next rule of the function expires, in Unix seconds; one that has expired counts for a week.",
		}, []string{"function"}),
		report: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "egress_report_mode_end_timestamp_seconds",
			Help: "When the report mode of the function ends, in Unix seconds; one that has ended counts for a week.",
		}, []string{"function"}),
	}
}

// Set says what ends from now on, and looks at it.
func (w *Watch) Set(all []End, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = all
	if now.After(w.looked) {
		w.looked = now
	}
	w.look(now)
}

// Look sets the metrics, calls ended for what has ended since the last look, and logs what
// is near: once when that begins, each hour while it lasts, and once when it is over,
// because the file has changed.
func (w *Watch) Look(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.look(now)
}

func (w *Watch) look(now time.Time) {
	w.measure(now)
	for _, e := range w.all {
		if e.Kind != Certificate && e.At.After(w.looked) && e.Over(now) {
			w.ended(e)
		}
	}
	if now.After(w.looked) { // a clock that jumps back and comes again ends nothing twice
		w.looked = now
	}
	for _, c := range w.told {
		c.seen = false
	}
	for _, e := range w.all {
		if e.Near(now) {
			w.warn(e, now)
		}
	}
	for what, c := range w.told {
		if !c.seen {
			delete(w.told, what)
			w.log.Info("an end is no longer told: the file has changed, or it was a week ago", slog.String("what", what))
		}
	}
}

// warn logs an end that is near, unless that has been done within the hour.
func (w *Watch) warn(e End, now time.Time) {
	level, what := slog.LevelWarn, e.What()
	if e.Kind == Certificate && e.Over(now) {
		level = slog.LevelError
	}
	c := w.told[what]
	if c == nil {
		c = &condition{}
		w.told[what] = c
	}
	c.seen = true
	if c.level != level || now.Sub(c.logged) >= again {
		c.level, c.logged = level, now
		w.log.Log(context.Background(), level, e.Text(now), slog.String("function", e.Function), slog.String("owner", e.Owner))
	}
}

// measure sets the metrics: of each function the first end that is ahead, or remembered.
func (w *Watch) measure(now time.Time) {
	for _, v := range []*prometheus.GaugeVec{w.certificate, w.rule, w.report} {
		v.Reset()
	}
	has := [kinds]map[string]bool{}
	for k := range has {
		has[k] = map[string]bool{}
	}
	for _, e := range w.all { // the soonest first
		if has[e.Kind][e.Function] || e.Over(now) && !e.Near(now) {
			continue
		}
		has[e.Kind][e.Function] = true
		at := float64(e.At.Unix())
		switch e.Kind {
		case Certificate:
			w.certificate.WithLabelValues("tls").Set(at)
		case Rule:
			w.rule.WithLabelValues(e.Function).Set(at)
		default:
			w.report.WithLabelValues(e.Function).Set(at)
		}
	}
}
