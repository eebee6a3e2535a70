// Package emf prints the metrics of the program for CloudWatch, in its embedded
// metric format: JSON lines that a log group makes metrics of, without an agent.
//
// What it does: at each interval, and once more at the end, it gathers a
// registry and prints the few metrics that alarms and dashboards need. Counters
// are printed as what they grew by since their last line.
//
// What it does not do: it counts nothing, opens no output, and prints no word of
// a client's.
//
//	p := emf.New(emf.Options{Every: time.Minute, Gatherer: reg, Print: log.WriteRaw})
//	p.Run(ctx)
package emf

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// namespace is where CloudWatch puts the metrics.
const namespace = "Egress"

// noValue stands for a label that is empty: a dimension may not be.
const noValue = "none"

// Options says what is printed where. Log alone may be nil.
type Options struct {
	Every    time.Duration           // between two lots of lines
	Gatherer prometheus.Gatherer     // has the metrics
	Print    func(line []byte) error // writes one line; nil error: it is out
	Log      *slog.Logger            // what went wrong; nil: nobody is told

	// Deployment is the value of a dimension of that name, the first of every line: it keeps
	// the metrics of several deployments in one account and region apart. "": there is none.
	Deployment string
}

// CheckDeployment says why a text cannot be the value of a dimension, as the reference of
// CloudWatch (API_Dimension) has it; nil if it can.
func CheckDeployment(name string) error {
	printable := func(r rune) bool { return r >= ' ' && r <= '~' }
	switch {
	case strings.TrimSpace(name) == "":
		return errors.New("it is empty")
	case len(name) > 255:
		return fmt.Errorf("it has %d characters, over 255", len(name))
	case strings.HasPrefix(name, ":"):
		return fmt.Errorf("%q begins with a colon", name)
	case strings.ContainsFunc(name, func(r rune) bool { return !printable(r) }):
		return fmt.Errorf("%q has characters that are not printable ASCII", name)
	default:
		return nil
	}
}

// Printer prints metrics: one JSON object a line. Every line has a member _aws,
// which no record has, and none of its dimensions is a word of a client's.
type Printer struct {
	Options
	printed map[string]float64 // counters, by their series, as the last line of each had them
}

// New returns a Printer that has printed nothing yet.
func New(o Options) *Printer {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Printer{Options: o, printed: map[string]float64{}}
}

// Run prints until ctx ends, and once more then: what was counted since is not
// lost with the process.
func (p *Printer) Run(ctx context.Context) {
	ticker := time.NewTicker(p.Every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			p.emit(time.Now())
			return
		case now := <-ticker.C:
			p.emit(now)
		}
	}
}

// emit prints what there is to say. What could not be printed is said the next
// time.
func (p *Printer) emit(now time.Time) {
	families, err := p.Gatherer.Gather()
	if err != nil {
		p.Log.Error("gathering metrics failed", "error", err)
		return
	}
	t := totals{decisions: map[decision]float64{}, functions: map[string]*gauges{}}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = cmp.Or(l.GetValue(), noValue)
			}
			t.add(f.GetName(), labels, m.GetCounter().GetValue()+m.GetGauge().GetValue())
		}
	}
	// An output that takes nothing is not tried line by line: each try may wait.
	for _, print := range []func(time.Time, *totals) error{p.printDecisions, p.printFunctions, p.printTask} {
		if err := print(now, &t); err != nil {
			p.Log.Error("printing metrics failed", "error", err)
			return
		}
	}
}

// decision is what decisions are told apart by.
type decision struct{ function, verdict, reason string }

// gauges are what a function has at an instant.
type gauges struct {
	tunnels  float64
	daysLeft *float64 // nil: it enforces
}

// totals is what is printed of one look at the registry.
type totals struct {
	decisions map[decision]float64
	functions map[string]*gauges
	auditLost float64
	loaded    float64 // 1: the last load of the configuration succeeded
}

// add takes one series over, where it is one of those that are printed.
func (t *totals) add(name string, labels map[string]string, number float64) {
	switch name {
	case "egress_decisions_total": // one for each protocol
		t.decisions[decision{labels["function"], labels["verdict"], labels["reason"]}] += number
	case "egress_tunnels":
		t.of(labels["function"]).tunnels = number
	case "egress_report_mode_days_left":
		t.of(labels["function"]).daysLeft = &number
	case "egress_audit_lost_total":
		t.auditLost = number
	case "egress_config_last_reload_successful":
		t.loaded = number
	}
}

// of returns the gauges of a function.
func (t *totals) of(function string) *gauges {
	if t.functions[function] == nil {
		t.functions[function] = &gauges{}
	}
	return t.functions[function]
}

// printDecisions prints a line for each kind of decision that was made since
// its last line.
func (p *Printer) printDecisions(now time.Time, t *totals) error {
	for _, d := range slices.SortedFunc(maps.Keys(t.decisions), func(a, b decision) int {
		return cmp.Or(cmp.Compare(a.function, b.function), cmp.Compare(a.verdict, b.verdict), cmp.Compare(a.reason, b.reason))
	}) {
		series := fmt.Sprintf("%q", d)
		line := p.newLine(now, "Function", d.function, "Verdict", d.verdict, "Reason", d.reason)
		if n := t.decisions[d] - p.printed[series]; n > 0 {
			line.metric("Decisions", "Count", n)
			if err := p.printCounter(line, series, t.decisions[d]); err != nil {
				return err
			}
		}
	}
	return nil
}

// printFunctions prints a line for each function.
func (p *Printer) printFunctions(now time.Time, t *totals) error {
	for _, name := range slices.Sorted(maps.Keys(t.functions)) {
		line := p.newLine(now, "Function", name)
		line.metric("Tunnels", "Count", t.functions[name].tunnels)
		if left := t.functions[name].daysLeft; left != nil {
			line.metric("ReportModeDaysLeft", "None", *left)
		}
		if err := line.print(p.Print); err != nil {
			return err
		}
	}
	return nil
}

// printTask prints the line of the task as a whole, without a dimension but the deployment:
// alarms and scaling need no name of a function.
func (p *Printer) printTask(now time.Time, t *totals) error {
	line := p.newLine(now)
	tunnels, days := 0.0, []float64{}
	for _, f := range t.functions {
		tunnels += f.tunnels
		if f.daysLeft != nil {
			days = append(days, *f.daysLeft)
		}
	}
	line.metric("Tunnels", "Count", tunnels)
	line.metric("AuditLost", "Count", t.auditLost-p.printed["lost"])
	line.metric("LastReloadSuccessful", "None", t.loaded)
	if len(days) > 0 {
		line.metric("ReportModeDaysLeft", "None", slices.Min(days))
	}
	return p.printCounter(line, "lost", t.auditLost)
}

// printCounter prints a line and remembers what it said of a counter.
func (p *Printer) printCounter(line *line, series string, number float64) error {
	if err := line.print(p.Print); err != nil {
		return err
	}
	p.printed[series] = number
	return nil
}

// line is one line under way.
type line struct {
	timestamp  int64 // Unix milliseconds
	dimensions []string
	metrics    []metricDefinition
	members    map[string]any // values of dimensions and metrics, by name
}

// metricDefinition says what a member is, in the words of the format.
type metricDefinition struct {
	Name string
	Unit string
}

// newLine begins a line with the deployment and with dimensions, each a name and a value.
func (p *Printer) newLine(now time.Time, dimensions ...string) *line {
	l := &line{timestamp: now.UnixMilli(), dimensions: []string{}, members: map[string]any{}}
	if p.Deployment != "" {
		dimensions = append([]string{"Deployment", p.Deployment}, dimensions...)
	}
	for pair := range slices.Chunk(dimensions, 2) {
		l.dimensions = append(l.dimensions, pair[0])
		l.members[pair[0]] = pair[1]
	}
	return l
}

// metric adds a metric.
func (l *line) metric(name, unit string, number float64) {
	l.metrics = append(l.metrics, metricDefinition{name, unit})
	l.members[name] = number
}

// print writes the line.
func (l *line) print(to func([]byte) error) error {
	l.members["_aws"] = map[string]any{
		"Timestamp": l.timestamp,
		"CloudWatchMetrics": []any{map[string]any{
			"Namespace": namespace, "Dimensions": [][]string{l.dimensions}, "Metrics": l.metrics,
		}},
	}
	b, err := json.Marshal(l.members)
	if err != nil {
		return fmt.Errorf("encoding metrics: %w", err)
	}
	return to(b)
}
