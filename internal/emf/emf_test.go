package emf

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// counted is a registry with the metrics that are printed.
type counted struct {
	*prometheus.Registry
	decisions        *prometheus.CounterVec
	tunnels, days    *prometheus.GaugeVec
	lost             prometheus.Counter
	reload, unwanted prometheus.Gauge
}

// gauge sets a gauge of the registry; labels are names and values by turns.
func (c *counted) gauge(number float64, name string, labels ...string) {
	of := prometheus.Labels{}
	for pair := range slices.Chunk(labels, 2) {
		of[pair[0]] = pair[1]
	}
	promauto.With(c).NewGauge(prometheus.GaugeOpts{Name: name, ConstLabels: of}).Set(number)
}

// counter adds to a counter of the registry.
func (c *counted) counter(number float64, name string, labels ...string) {
	of := prometheus.Labels{}
	for pair := range slices.Chunk(labels, 2) {
		of[pair[0]] = pair[1]
	}
	promauto.With(c).NewCounter(prometheus.CounterOpts{Name: name, ConstLabels: of}).Add(number)
}

func newCounted() *counted {
	c := &counted{Registry: prometheus.NewRegistry()}
	f := promauto.With(c)
	c.decisions = f.NewCounterVec(prometheus.CounterOpts{Name: "egress_decisions_total"}, []string{"function", "verdict", "reason", "protocol"})
	c.tunnels = f.NewGaugeVec(prometheus.GaugeOpts{Name: "egress_tunnels"}, []string{"function"})
	c.days = f.NewGaugeVec(prometheus.GaugeOpts{Name: "egress_report_mode_days_left"}, []string{"function"})
	c.lost = f.NewCounter(prometheus.CounterOpts{Name: "egress_audit_lost_total"})
	c.reload = f.NewGauge(prometheus.GaugeOpts{Name: "egress_config_last_reload_successful"})
	c.unwanted = f.NewGauge(prometheus.GaugeOpts{Name: "egress_other"})
	return c
}

// parsedEMF is a line as CloudWatch reads it: the metrics with their values,
// below their dimensions.
type parsedEMF struct {
	dimensions string // "Function=billing Verdict=deny …", in the order of the line
	metrics    map[string]float64
	units      map[string]string
	timestamp  int64
	bound      string // the member of that name
}

// parseEMF reads a line by the rules of the format: every name that it declares
// is a member, dimensions are texts that are not empty, and metrics are numbers.
func parseEMF(t testing.TB, line []byte) parsedEMF {
	t.Helper()
	var head struct {
		AWS struct {
			Timestamp         int64
			CloudWatchMetrics []struct {
				Namespace  string
				Dimensions [][]string
				Metrics    []struct{ Name, Unit string }
			}
		} `json:"_aws"`
	}
	var members map[string]any
	if err := errors.Join(json.Unmarshal(line, &head), json.Unmarshal(line, &members)); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	if bytes.Count(line, []byte("\n")) > 0 || len(line) > 16<<10 {
		t.Errorf("it is not one line under 16 KiB: %q", line)
	}
	if n := len(head.AWS.CloudWatchMetrics); n != 1 || head.AWS.CloudWatchMetrics[0].Namespace != "Egress" || len(head.AWS.CloudWatchMetrics[0].Dimensions) != 1 {
		t.Fatalf("%s has another shape", line)
	}
	p := parsedEMF{metrics: map[string]float64{}, units: map[string]string{}, timestamp: head.AWS.Timestamp}
	declared := 1 // _aws
	var dimensions []string
	for _, name := range head.AWS.CloudWatchMetrics[0].Dimensions[0] {
		value, ok := members[name].(string)
		if !ok || value == "" {
			t.Errorf("%s: the dimension %s has no value", line, name)
		}
		dimensions = append(dimensions, name+"="+value)
		declared++
	}
	p.dimensions = strings.Join(dimensions, " ")
	for _, m := range head.AWS.CloudWatchMetrics[0].Metrics {
		value, ok := members[m.Name].(float64)
		if !ok {
			t.Errorf("%s: the metric %s has no value", line, m.Name)
		}
		p.metrics[m.Name], p.units[m.Name] = value, m.Unit
		declared++
	}
	if name, ok := members["Bound"]; ok { // says what a metric is of
		if _, ok := name.(string); !ok || p.units["BoundUsedPercent"] == "" {
			t.Errorf("%s: the bound is %v", line, name)
		}
		p.bound = fmt.Sprint(name)
		declared++
	}
	if len(members) != declared {
		t.Errorf("%s has members that it does not declare", line)
	}
	return p
}

// printer collects lines; while it fails it takes none.
type printer struct {
	lines [][]byte
	fails bool
}

func (p *printer) print(line []byte) error {
	if p.fails {
		return errors.New("the output is full")
	}
	p.lines = append(p.lines, bytes.Clone(line))
	return nil
}

// said returns the lines as "dimensions: name=value …", and forgets them. Counts of nothing
// are left out of a line of the task.
func (p *printer) said(t testing.TB) (all []string) {
	t.Helper()
	for _, line := range p.lines {
		e := parseEMF(t, line)
		var values []string
		for name, value := range e.metrics {
			if value == 0 && slices.Contains(quiet, name) {
				continue
			}
			values = append(values, fmt.Sprintf("%s=%g", name, value))
		}
		slices.Sort(values)
		all = append(all, e.dimensions+": "+strings.Join(values, " "))
	}
	p.lines = nil
	return all
}

// quiet are members of the task's line that most tests are not about.
var quiet = append(slices.Clone(counters[1:]), "ResolversDown", "RestartPending", "AuditPendingSeconds")

func newTestEMF(c *counted, p *printer) *Printer {
	return New(Options{Every: time.Minute, Gatherer: c, Print: p.print, Functions: true})
}

func TestLinesHoldWhatWasCountedSinceTheLastOnes(t *testing.T) {
	c, p := newCounted(), &printer{}
	e := newTestEMF(c, p)
	c.reload.Set(1)
	c.unwanted.Set(7)
	c.decisions.WithLabelValues("billing", "deny", "host_not_allowed", "connect").Add(3)
	c.decisions.WithLabelValues("billing", "deny", "host_not_allowed", "http").Add(2)
	c.decisions.WithLabelValues("billing", "allow", "", "connect").Add(1)
	c.decisions.WithLabelValues("", "deny", "identity_rejected", "connect").Add(4)
	c.tunnels.WithLabelValues("billing").Set(2)
	c.tunnels.WithLabelValues("nightly").Set(5)
	c.days.WithLabelValues("nightly").Set(1.5)
	c.days.WithLabelValues("weekly").Set(9)
	c.gauge(86401+43200, "egress_report_mode_end_timestamp_seconds", "function", "nightly")
	c.gauge(9*86400, "egress_report_mode_end_timestamp_seconds", "function", "weekly")
	c.lost.Add(6)
	gauges := []string{
		"Function=billing: Tunnels=2",
		"Function=nightly: ReportModeDaysLeft=1.5 Tunnels=5",
		"Function=weekly: ReportModeDaysLeft=9 Tunnels=0",
	}
	for _, step := range []struct {
		name   string
		before func()
		want   []string
	}{
		{"the first time", func() {}, slices.Concat([]string{
			"Function=billing Verdict=allow Reason=none: Decisions=1",
			"Function=billing Verdict=deny Reason=host_not_allowed: Decisions=5",
			"Function=none Verdict=deny Reason=identity_rejected: Decisions=4",
		}, gauges, []string{": AuditLost=6 LastReloadSuccessful=1 Refused=9 ReportModeDaysLeft=1.5 Requests=10 Tunnels=7"})},
		{"when nothing happened", func() {}, slices.Concat(gauges,
			[]string{": AuditLost=0 LastReloadSuccessful=1 ReportModeDaysLeft=1.5 Tunnels=7"})},
		{"when the output takes nothing", func() {
			p.fails = true
			c.lost.Add(1)
			c.decisions.WithLabelValues("billing", "allow", "", "connect").Add(10)
		}, nil},
		{"when it takes lines again", func() {
			p.fails = false
			c.reload.Set(0)
			c.days.Reset()
			c.decisions.WithLabelValues("billing", "allow", "", "connect").Add(10)
		}, []string{
			"Function=billing Verdict=allow Reason=none: Decisions=20",
			"Function=billing: Tunnels=2", "Function=nightly: Tunnels=5",
			": AuditLost=1 LastReloadSuccessful=0 ReportModeDaysLeft=1.5 Requests=20 Tunnels=7",
		}},
	} {
		step.before()
		e.emit(time.Unix(1, 0))
		if got := p.said(t); !slices.Equal(got, step.want) {
			t.Errorf("%s:\n%s\nwant\n%s", step.name, strings.Join(got, "\n"), strings.Join(step.want, "\n"))
		}
	}
}

// Two deployments of one account and region write into one namespace.
func TestEveryLineHasTheDeploymentWhereOneIsNamed(t *testing.T) {
	c, p := newCounted(), &printer{}
	e := New(Options{Every: time.Minute, Gatherer: c, Print: p.print, Functions: true, Deployment: "egress-eu"})
	c.decisions.WithLabelValues("billing", "allow", "", "connect").Add(1)
	c.tunnels.WithLabelValues("billing").Set(2)
	e.emit(time.Unix(1, 0))
	want := []string{
		"Deployment=egress-eu Function=billing Verdict=allow Reason=none: Decisions=1",
		"Deployment=egress-eu Function=billing: Tunnels=2",
		"Deployment=egress-eu: AuditLost=0 LastReloadSuccessful=0 Requests=1 Tunnels=2",
	}
	if got := p.said(t); !slices.Equal(got, want) {
		t.Errorf("%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestDeploymentIsWhatADimensionMayBe(t *testing.T) {
	for name, want := range map[string]bool{
		"egress-proxy": true, "Egress of team 7": true, strings.Repeat("x", 255): true,
		"": false, " ": false, ":egress": false, "egress\n": false, "égress": false, strings.Repeat("x", 256): false,
	} {
		if err := CheckDeployment(name); (err == nil) != want {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestLineOfMetricsReadsAsTheFormatSays(t *testing.T) {
	p := &printer{}
	line := newTestEMF(newCounted(), p).newLine(time.UnixMilli(1700000000123), "Function", "billing")
	line.metric("Tunnels", "Count", 2)
	if err := line.print(p.print); err != nil {
		t.Fatal(err)
	}
	const want = `{"Function":"billing","Tunnels":2,"_aws":{"CloudWatchMetrics":[{"Dimensions":[["Function"]],` +
		`"Metrics":[{"Name":"Tunnels","Unit":"Count"}],"Namespace":"Egress"}],"Timestamp":1700000000123}}`
	if got := string(p.lines[0]); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

func TestMetricsArePrintedEachIntervalAndAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := newCounted(), &printer{}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { newTestEMF(c, p).Run(ctx); close(done) }()
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := len(p.said(t)); n != 1 {
			t.Errorf("%d lines after a minute", n)
		}
		c.lost.Add(2)
		cancel()
		<-done
		if got, want := p.said(t), []string{": AuditLost=2 LastReloadSuccessful=0 Tunnels=0"}; !reflect.DeepEqual(got, want) {
			t.Errorf("at the end: %q, want %q", got, want)
		}
	})
}
