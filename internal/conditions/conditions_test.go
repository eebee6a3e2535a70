package conditions

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// start is when the tests begin.
var start = time.Date(2031, 3, 1, 0, 0, 0, 0, time.UTC)

// lines is a log without times, each line "LEVEL text key=value …".
type lines struct{ bytes.Buffer }

func (l *lines) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

// taken returns the lines so far, and forgets them.
func (l *lines) taken() []string {
	text := strings.TrimSuffix(l.String(), "\n")
	l.Reset()
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

func TestConditionIsLoggedAtItsBeginEachHourAndAtItsEnd(t *testing.T) {
	var text lines
	l := NewLog(text.logger())
	const begin, still, over = `level=WARN msg="it is wrong" condition=x of=y n=1`, `level=WARN msg="still: it is wrong" condition=x of=y n=1`, `level=INFO msg="over: it is wrong" condition=x of=y n=1`
	for _, step := range []struct {
		at   time.Duration
		on   bool
		want string
	}{
		{0, false, ""}, {time.Second, true, begin}, {2 * time.Second, true, ""}, {59 * time.Minute, true, ""},
		{time.Hour + time.Second, true, still}, {2 * time.Hour, true, ""}, {2*time.Hour + time.Second, true, still},
		{3 * time.Hour, false, over + " lasted_seconds=10799"}, {3*time.Hour + time.Second, false, ""},
		// It comes and goes: one line a minute, and the last says how it stands.
		{3*time.Hour + 2*time.Second, true, ""}, {3*time.Hour + 30*time.Second, false, ""}, {3*time.Hour + 59*time.Second, true, ""},
		{3*time.Hour + 60*time.Second, true, begin}, {3*time.Hour + 61*time.Second, false, ""}, {3*time.Hour + 62*time.Second, true, ""},
		{3*time.Hour + 119*time.Second, false, ""}, {3*time.Hour + 120*time.Second, false, over + " lasted_seconds=60"}, {9 * time.Hour, false, ""},
		// It began and was over within a minute of nothing.
		{10 * time.Hour, true, begin}, {10*time.Hour + time.Second, false, ""}, {10*time.Hour + time.Minute, false, over + " lasted_seconds=60"},
		// The clock is put back by a day, and forward again.
		{-14 * time.Hour, true, ""}, {-14*time.Hour + time.Minute, true, begin}, {10 * time.Hour, true, still}, {10*time.Hour + time.Minute, false, over + " lasted_seconds=86400"},
	} {
		l.Set(start.Add(step.at), Condition{Name: "x", Of: "y", On: step.on, Text: "it is wrong", Attrs: []slog.Attr{slog.Int("n", 1)}})
		if got := strings.Join(text.taken(), "\n"); got != step.want {
			t.Errorf("after %v: %q, want %q", step.at, got, step.want)
		}
	}
}

// What another package has a line for is told by this one only while it lasts.
func TestWhatOthersTellIsRememberedWhileItLasts(t *testing.T) {
	var text lines
	l := NewLog(text.logger())
	c := Condition{Name: "x", On: true, Text: "it is wrong", BeginTold: true, EndTold: true}
	l.Set(start, c)
	l.Set(start.Add(time.Hour), c)
	c.On = false
	l.Set(start.Add(2*time.Hour), c)
	if got, want := text.taken(), []string{`level=WARN msg="still: it is wrong" condition=x`}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// gauges is a registry with what the table reads.
type gauges struct {
	reg *prometheus.Registry
	up  *prometheus.GaugeVec
	set map[string]prometheus.Gauge
	inc map[string]*prometheus.CounterVec
}

func newGauges() *gauges {
	g := &gauges{reg: prometheus.NewRegistry(), set: map[string]prometheus.Gauge{}, inc: map[string]*prometheus.CounterVec{}}
	f := promauto.With(g.reg)
	g.up = f.NewGaugeVec(prometheus.GaugeOpts{Name: "egress_dns_upstream_up"}, []string{"upstream"})
	for _, name := range []string{"egress_audit_pending_seconds", "egress_memory_short", "egress_config_last_reload_successful", "egress_config_restart_pending"} {
		g.set[name] = f.NewGauge(prometheus.GaugeOpts{Name: name})
	}
	for name, label := range map[string]string{"egress_identity_rejected_total": "claimed", "egress_challenges_total": "outcome", "egress_shed_total": "cause", "egress_tls_handshakes_total": "result", "egress_audit_lost_total": "no"} {
		g.inc[name] = f.NewCounterVec(prometheus.CounterOpts{Name: name}, []string{label})
	}
	for _, row := range []string{"tunnels", "cached_lookups"} {
		for _, name := range []string{"egress_bound_used", "egress_bound_size"} {
			g.set[name+" "+row] = f.NewGauge(prometheus.GaugeOpts{Name: name, ConstLabels: prometheus.Labels{"bound": row}})
		}
		g.set["egress_bound_size "+row].Set(10)
	}
	g.up.WithLabelValues("192.0.2.1:53").Set(1)
	g.up.WithLabelValues("192.0.2.2:53").Set(1)
	g.set["egress_config_last_reload_successful"].Set(1)
	return g
}

// Each incident has its condition and no other, from one look on; all at once have theirs,
// and so has one that comes again.
func TestEachIncidentHasItsCondition(t *testing.T) {
	incidents := []struct {
		name       string
		begin, end func(g *gauges)
		lines      int // at the begin
	}{
		{"records_slow", func(g *gauges) { g.set["egress_audit_pending_seconds"].Set(1.5) }, func(g *gauges) { g.set["egress_audit_pending_seconds"].Set(0.5) }, 1},
		{"records_lost", func(g *gauges) { g.inc["egress_audit_lost_total"].WithLabelValues("").Add(1) }, nil, 1},
		{"memory_short", func(g *gauges) { g.set["egress_memory_short"].Set(1) }, func(g *gauges) { g.set["egress_memory_short"].Set(0) }, 1},
		{"bound_near", func(g *gauges) { g.set["egress_bound_used tunnels"].Set(8) }, func(g *gauges) { g.set["egress_bound_used tunnels"].Set(7) }, 1},
		{"restart_pending", func(g *gauges) { g.set["egress_config_restart_pending"].Set(2) }, func(g *gauges) { g.set["egress_config_restart_pending"].Set(0) }, 0},
		{"reload_failed", func(g *gauges) { g.set["egress_config_last_reload_successful"].Set(0) }, func(g *gauges) { g.set["egress_config_last_reload_successful"].Set(1) }, 0},
		{"resolver_down", func(g *gauges) { g.up.WithLabelValues("192.0.2.2:53").Set(0) }, func(g *gauges) { g.up.WithLabelValues("192.0.2.2:53").Set(1) }, 0},
		{"credentials_rejected", func(g *gauges) { g.inc["egress_identity_rejected_total"].WithLabelValues("billing").Add(wave) }, nil, 1},
		{"challenges_unanswered", func(g *gauges) { g.inc["egress_challenges_total"].WithLabelValues("unanswered").Add(wave) }, nil, 1},
		{"handshakes_fail", func(g *gauges) { g.inc["egress_tls_handshakes_total"].WithLabelValues("failed").Add(handshakes) }, nil, 1},
		{"shed", func(g *gauges) { g.inc["egress_shed_total"].WithLabelValues("ports").Add(1) }, nil, 1},
		// These are no condition.
		{"", func(g *gauges) { g.set["egress_bound_used cached_lookups"].Set(10) }, func(*gauges) {}, 0},
		{"", func(g *gauges) { g.inc["egress_identity_rejected_total"].WithLabelValues("").Add(wave - 1) }, nil, 0},
		{"", func(g *gauges) { g.inc["egress_challenges_total"].WithLabelValues("answered").Add(1000) }, nil, 0},
		{"", func(g *gauges) { g.inc["egress_shed_total"].WithLabelValues("function").Add(1000) }, nil, 0},
		{"", func(g *gauges) {
			g.inc["egress_tls_handshakes_total"].WithLabelValues("failed").Add(1000)
			g.inc["egress_tls_handshakes_total"].WithLabelValues("ok").Add(1)
		}, nil, 0},
	}
	for _, one := range incidents {
		var text lines
		g := newGauges()
		w, now := New(g.reg, text.logger()), start
		look := func(d time.Duration) []string {
			var all []string
			for end := now.Add(d); now.Before(end); now = now.Add(max(lookEvery, d/40)) {
				w.Look(now)
				all = append(all, text.taken()...)
			}
			return all
		}
		if got := look(2 * time.Minute); got != nil {
			t.Errorf("%s: when nothing is wrong: %q", one.name, got)
		}
		for range 2 {
			one.begin(g)
			begun := look(lookEvery)
			if len(begun) != one.lines || one.lines > 0 && (!strings.Contains(begun[0], "condition="+one.name) || !strings.HasPrefix(begun[0], "level=WARN")) {
				t.Errorf("%s: its begin: %q", one.name, begun)
			}
			if one.end == nil { // it ends by itself
				if one.lines > 0 {
					if over := look(4 * time.Minute); len(over) != 1 || !strings.HasPrefix(over[0], "level=INFO") {
						t.Errorf("%s: its end: %q", one.name, over)
					}
				}
				continue
			}
			if still := look(2 * time.Hour); one.name != "" && (len(still) != 2 && len(still) != 1 || !strings.Contains(still[0], "still: ") || !strings.Contains(still[0], "condition="+one.name)) {
				t.Errorf("%s: while it lasts: %q", one.name, still)
			}
			one.end(g)
			if over := look(2 * time.Minute); len(over) > 1 || one.lines > 0 && len(over) != 1 || len(over) == 1 && !strings.HasPrefix(over[0], "level=INFO") {
				t.Errorf("%s: its end: %q", one.name, over)
			}
		}
	}
	var text lines
	g := newGauges()
	w := New(g.reg, text.logger())
	w.Look(start)
	want := 0
	for _, one := range incidents {
		if one.name != "" {
			one.begin(g)
			want += one.lines
		}
	}
	w.Look(start.Add(lookEvery))
	if got := text.taken(); len(got) != want {
		t.Errorf("all at once: %d lines, want %d: %s", len(got), want, strings.Join(got, "\n"))
	}
}

// A thousand functions whose series come and go are no wave.
func TestFunctionsThatComeAndGoAreNoWave(t *testing.T) {
	var text lines
	g := newGauges()
	w, now := New(g.reg, text.logger()), start
	rejected := g.inc["egress_identity_rejected_total"]
	for i := range 1000 {
		rejected.WithLabelValues(fmt.Sprint(i)).Add(1e-3)
	}
	rejected.WithLabelValues("gone").Add(30)
	for range 30 {
		now = now.Add(lookEvery)
		w.Look(now)
	}
	rejected.DeleteLabelValues("gone")
	now = now.Add(lookEvery)
	w.Look(now)
	if got := text.taken(); got != nil {
		t.Errorf("%q", got)
	}
	rejected.WithLabelValues("0").Add(wave + 1)
	w.Look(now.Add(lookEvery))
	if got := text.taken(); len(got) != 1 {
		t.Errorf("a wave behind that: %q", got)
	}
}

// The page has each condition, and no other.
func TestMetricsPageListsTheConditions(t *testing.T) {
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n| condition |")
	var listed []string
	for line := range strings.Lines(section) {
		if cells := strings.Split(line, "|"); len(cells) > 3 && strings.HasPrefix(line, "| `") {
			for _, name := range strings.Split(cells[1], ",") {
				listed = append(listed, strings.Trim(name, " `"))
			}
		}
	}
	w := New(newGauges().reg, slog.New(slog.DiscardHandler))
	w.Look(start)
	var want []string
	for _, row := range table {
		for _, c := range row(w, start) {
			want = append(want, c.Name)
		}
	}
	slices.Sort(listed)
	slices.Sort(want)
	if want = slices.Compact(want); !slices.Equal(listed, want) {
		t.Errorf("docs/metrics.md has %q, the table %q", listed, want)
	}
}
