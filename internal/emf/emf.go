// Package emf prints the metrics of the program for CloudWatch, in its embedded
// metric format: JSON lines that a log group makes metrics of, without an agent.
//
// What it does: at each interval, and once more at the end, it gathers a
// registry and prints the few metrics that alarms and dashboards need. Counters
// are printed as what they grew by since their last line.
//
// What it does not do: it counts nothing, opens no output, and prints no word of
// a client's. Without Options.Functions it prints nothing by function.
//
//	p := emf.New(emf.Options{Every: time.Minute, Gatherer: reg, Print: log.WriteRaw})
//	p.Run(ctx)
package emf

import (
	"cmp"
	"context"
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

	// Functions says that lines have the dimension Function: three metrics and more for each,
	// which cost by their number. False: decisions are printed by verdict and reason alone, and
	// the rest for the task as a whole.
	Functions bool

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
	lines map[string]float64 // the series of decisions, as the last line about each had them
	task  map[string]float64 // every series of a counter, as the last line of the task had it
}

// New returns a Printer that has printed nothing yet.
func New(o Options) *Printer {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Printer{Options: o, lines: map[string]float64{}, task: map[string]float64{}}
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
	t, err := p.sum()
	if err != nil {
		p.Log.Error("gathering metrics failed", "error", err)
		return
	}
	// An output that takes nothing is not tried line by line: each try may wait.
	for _, print := range []func(time.Time, *totals) error{p.printDecisions, p.printFunctions, p.printTask} {
		if err := print(now, t); err != nil {
			p.Log.Error("printing metrics failed", "error", err)
			return
		}
	}
}

// printDecisions prints a line for each kind of decision that was made since
// its last line.
func (p *Printer) printDecisions(now time.Time, t *totals) error {
	for _, d := range slices.SortedFunc(maps.Keys(t.decisions), func(a, b decision) int {
		return cmp.Or(cmp.Compare(a.function, b.function), cmp.Compare(a.verdict, b.verdict), cmp.Compare(a.reason, b.reason))
	}) {
		if t.decisions[d].by > 0 {
			dimensions := []string{"Function", d.function, "Verdict", d.verdict, "Reason", d.reason}
			if !p.Functions {
				dimensions = dimensions[2:]
			}
			line := p.newLine(now, dimensions...)
			line.metric("Decisions", "Count", t.decisions[d].by)
			if err := line.print(p.Print); err != nil {
				return err
			}
		}
		for _, series := range t.decisions[d].series {
			p.lines[series] = t.seen[series]
		}
	}
	return nil
}

// printFunctions prints a line for each function, where that is asked for.
func (p *Printer) printFunctions(now time.Time, t *totals) error {
	if !p.Functions {
		return nil
	}
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
	for _, name := range counters {
		line.metric(name, "Count", t.counted[name])
	}
	line.metric("Tunnels", "Count", t.tunnels)
	line.metric("ResolversDown", "Count", t.resolversDown)
	line.metric("RestartPending", "Count", t.restartPending)
	line.metric("LastReloadSuccessful", "None", t.loaded)
	line.metric("AuditPendingSeconds", "Seconds", t.auditPending)
	line.daysLeft("CertificateDaysLeft", t.certificateEnd)
	line.daysLeft("RuleDaysLeft", t.ruleEnd)
	line.daysLeft("ReportModeDaysLeft", t.reportEnd)
	if t.memoryLimit > 0 {
		line.metric("MemoryUsedPercent", "Percent", t.memoryUsed/t.memoryLimit*100)
	}
	if name, percent := t.fullestBound(); name != "" {
		line.metric("BoundUsedPercent", "Percent", percent)
		line.members["Bound"] = name // which one that is, for whoever reads the line
	}
	if err := line.print(p.Print); err != nil {
		return err
	}
	maps.Copy(p.task, t.seen) // one that is gone, as its function is, may come back
	return nil
}
