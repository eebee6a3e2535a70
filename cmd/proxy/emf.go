package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
)

// emfNamespace is where CloudWatch puts the metrics.
const emfNamespace = "Egress"

// noValue stands for a label that is empty: a dimension may not be.
const noValue = "none"

// emf prints metrics for CloudWatch in its embedded metric format: one JSON
// object a line, which the log group makes metrics of. Every line has a member
// _aws, which no record has, and none of its dimensions is a word of a client's.
type emf struct {
	every  time.Duration
	gather prometheus.Gatherer
	print  func(line []byte) error // writes one line; nil error: it is out
	log    *slog.Logger
	told   map[string]float64 // counters, by their series, as the last line of each had them
}

// newEMF makes what prints metrics beside the records; nil where none are asked
// for. Records that go to a file leave standard output to the metrics.
func (p *program) newEMF(every time.Duration) (*emf, error) {
	if every == 0 {
		return nil, nil
	}
	out := p.audit
	if p.cfg.Audit.Output != "" {
		var err error
		if out, err = audit.Open("stdout", audit.Options{Logger: p.log}); err != nil {
			return nil, fmt.Errorf("--emf: %w", err)
		}
	}
	return &emf{every: every, gather: p.reg, print: out.WriteRaw, log: p.log, told: map[string]float64{}}, nil
}

// run prints until ctx ends, and once more then: what was counted since is not
// lost with the process.
func (e *emf) run(ctx context.Context) {
	ticker := time.NewTicker(e.every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			e.emit(time.Now())
			return
		case now := <-ticker.C:
			e.emit(now)
		}
	}
}

// emit prints what there is to say. What could not be printed is said the next
// time.
func (e *emf) emit(now time.Time) {
	families, err := e.gather.Gather()
	if err != nil {
		e.log.Error("gathering metrics failed", "error", err)
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
	for _, print := range []func(time.Time, *totals) error{e.printDecisions, e.printFunctions, e.printTask} {
		if err := print(now, &t); err != nil {
			e.log.Error("printing metrics failed", "error", err)
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
	lost      float64
	loaded    float64 // 1: the last load of the configuration succeeded
}

// add takes one series over, where it is one of those that are printed.
func (t *totals) add(name string, labels map[string]string, value float64) {
	switch name {
	case "egress_decisions_total": // one for each protocol
		t.decisions[decision{labels["function"], labels["verdict"], labels["reason"]}] += value
	case "egress_tunnels":
		t.of(labels["function"]).tunnels = value
	case "egress_report_mode_days_left":
		t.of(labels["function"]).daysLeft = &value
	case "egress_audit_lost_total":
		t.lost = value
	case "egress_config_last_reload_successful":
		t.loaded = value
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
func (e *emf) printDecisions(now time.Time, t *totals) error {
	for _, d := range slices.SortedFunc(maps.Keys(t.decisions), func(a, b decision) int {
		return cmp.Or(cmp.Compare(a.function, b.function), cmp.Compare(a.verdict, b.verdict), cmp.Compare(a.reason, b.reason))
	}) {
		series := fmt.Sprintf("%q", d)
		line := newLine(now, "Function", d.function, "Verdict", d.verdict, "Reason", d.reason)
		if n := t.decisions[d] - e.told[series]; n > 0 {
			line.metric("Decisions", "Count", n)
			if err := e.printCounter(line, series, t.decisions[d]); err != nil {
				return err
			}
		}
	}
	return nil
}

// printFunctions prints a line for each function.
func (e *emf) printFunctions(now time.Time, t *totals) error {
	for _, name := range slices.Sorted(maps.Keys(t.functions)) {
		line := newLine(now, "Function", name)
		line.metric("Tunnels", "Count", t.functions[name].tunnels)
		if left := t.functions[name].daysLeft; left != nil {
			line.metric("ReportModeDaysLeft", "None", *left)
		}
		if err := line.print(e.print); err != nil {
			return err
		}
	}
	return nil
}

// printTask prints the line of the task as a whole, without a dimension: alarms
// and scaling need no name of a function.
func (e *emf) printTask(now time.Time, t *totals) error {
	line := newLine(now)
	tunnels, days := 0.0, []float64{}
	for _, f := range t.functions {
		tunnels += f.tunnels
		if f.daysLeft != nil {
			days = append(days, *f.daysLeft)
		}
	}
	line.metric("Tunnels", "Count", tunnels)
	line.metric("AuditLost", "Count", t.lost-e.told["lost"])
	line.metric("LastReloadSuccessful", "None", t.loaded)
	if len(days) > 0 {
		line.metric("ReportModeDaysLeft", "None", slices.Min(days))
	}
	return e.printCounter(line, "lost", t.lost)
}

// printCounter prints a line and remembers what it said of a counter.
func (e *emf) printCounter(line *emfLine, series string, value float64) error {
	if err := line.print(e.print); err != nil {
		return err
	}
	e.told[series] = value
	return nil
}

// emfLine is one line under way.
type emfLine struct {
	timestamp  int64 // Unix milliseconds
	dimensions []string
	metrics    []emfMetric
	members    map[string]any // values of dimensions and metrics, by name
}

// emfMetric says what a member is, in the words of the format.
type emfMetric struct {
	Name string
	Unit string
}

// newLine begins a line with dimensions, each a name and a value.
func newLine(now time.Time, dimensions ...string) *emfLine {
	l := &emfLine{timestamp: now.UnixMilli(), dimensions: []string{}, members: map[string]any{}}
	for pair := range slices.Chunk(dimensions, 2) {
		l.dimensions = append(l.dimensions, pair[0])
		l.members[pair[0]] = pair[1]
	}
	return l
}

// metric adds a metric.
func (l *emfLine) metric(name, unit string, value float64) {
	l.metrics = append(l.metrics, emfMetric{name, unit})
	l.members[name] = value
}

// print writes the line.
func (l *emfLine) print(to func([]byte) error) error {
	l.members["_aws"] = map[string]any{
		"Timestamp": l.timestamp,
		"CloudWatchMetrics": []any{map[string]any{
			"Namespace": emfNamespace, "Dimensions": [][]string{l.dimensions}, "Metrics": l.metrics,
		}},
	}
	b, err := json.Marshal(l.members)
	if err != nil {
		return fmt.Errorf("encoding metrics: %w", err)
	}
	return to(b)
}
