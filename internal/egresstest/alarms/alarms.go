// Package alarms has the table of alarms for tests: deploy/alarms.yaml, what is made of it,
// and what it says of metrics that a test has gathered.
//
// What it does: it reads the table; writes the rules of Prometheus and the alarms of
// CloudFormation that the table stands for; evaluates the alarms of CloudWatch over lines
// of the embedded metric format; and has promtool evaluate the rules over scrapes.
//
// What it does not do: it is no CloudWatch. A period is taken when it is over, none is
// looked at beyond those that an alarm counts, and nothing comes late.
//
//	table := alarms.Read(t, "../../deploy/alarms.yaml", yaml.Unmarshal)
//	history := alarms.NewHistory(table)
//	history.Line(line, at)
//	…
//	firing := history.Firing(at)
package alarms

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/bounds"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// Alarm is a row of the table; the table itself says what each column is.
type Alarm struct {
	Name     string   `yaml:"name"`
	Severity string   `yaml:"severity"`
	Means    string   `yaml:"means"`
	Contact  string   `yaml:"ask"`
	Do       string   `yaml:"do"`
	Section  string   `yaml:"section"`
	With     []string `yaml:"with"`

	Prometheus   *Rule      `yaml:"prometheus"`    // nil: NoPrometheus says why
	NoPrometheus string     `yaml:"no_prometheus"` // why Prometheus has none
	CloudWatch   CloudWatch `yaml:"cloudwatch"`
}

// Rule is an alerting rule of Prometheus.
type Rule struct {
	Expr string `yaml:"expr"`
	For  string `yaml:"for"` // "": it fires at once
}

// CloudWatch is an alarm of CloudWatch. One of Metric, Share and Group is set, and one of the
// four comparisons, or Share; a comparison is with a number, or with a parameter's name.
type CloudWatch struct {
	Namespace string `yaml:"namespace"` // "": the program's own
	Metric    string `yaml:"metric"`
	Statistic string `yaml:"statistic"`
	Share     *Share `yaml:"share"`
	Group     string `yaml:"group"` // a kind of reasons: refused, origins or limited

	Above  any `yaml:"above"`
	Below  any `yaml:"below"`
	Least  any `yaml:"least"`
	AtMost any `yaml:"atMost"`

	Period    int    `yaml:"period"`  // seconds
	Of        int    `yaml:"of"`      // so many periods are looked at
	Periods   int    `yaml:"periods"` // in so many of them it must be so
	Missing   string `yaml:"missing"`
	Condition string `yaml:"condition"` // of the template; "": it is always there
}

// Share is a part of a whole that must not be too large.
type Share struct {
	Part    string `yaml:"part"`
	Whole   string `yaml:"whole"`
	Least   int    `yaml:"least"`   // below so many the share says nothing
	Percent int    `yaml:"percent"` // more than that is too much
}

// Namespace is where CloudWatch has the program's metrics.
const Namespace = "Egress"

// Page is where the sections of the table stand.
const Page = "https://github.com/lambda-egress-proxy/lambda-egress-proxy/blob/main/docs/operations.md"

// Read reads the table; unmarshal is that of YAML.
func Read(t testing.TB, path string, unmarshal func([]byte, any) error) []Alarm {
	t.Helper()
	var table struct {
		Alarms []Alarm `yaml:"alarms"`
	}
	b, err := os.ReadFile(path)
	if err == nil {
		err = unmarshal(b, &table)
	}
	if err != nil || len(table.Alarms) == 0 {
		t.Fatalf("%s has %d alarms: %v", path, len(table.Alarms), err)
	}
	for i := range table.Alarms {
		a := &table.Alarms[i]
		if a.Prometheus != nil {
			a.Prometheus.Expr = expand(t, a.Prometheus.Expr)
		}
		a.CloudWatch.fillIn()
	}
	return table.Alarms
}

// fillIn sets what the table leaves out.
func (c *CloudWatch) fillIn() {
	if c.Namespace == "" {
		c.Namespace = Namespace
	}
	if c.Period == 0 {
		c.Period = 60
	}
	c.Of, c.Periods = max(c.Of, 1), max(c.Periods, 1)
	if c.Missing == "" {
		c.Missing = "notBreaching"
	}
}

// expand writes out what stands for the names of a kind in an expression.
func expand(t testing.TB, expr string) string {
	t.Helper()
	return regexp.MustCompile(`\$\w+`).ReplaceAllStringFunc(expr, func(kind string) string {
		names := Names(kind[1:])
		if len(names) == 0 {
			t.Fatalf("the table of alarms has %s, which stands for nothing", kind)
		}
		return strings.Join(names, "|")
	})
}

// classes are the kinds of reasons that the table and the dashboards speak of.
var classes = map[string]verdict.Class{"refused": verdict.ClassRefused, "origins": verdict.ClassOrigin, "limited": verdict.ClassLimited}

// Names returns the reasons of a kind: refused, origins or limited; or as bounds the rows of
// the table of limits where somebody is refused when all is taken.
func Names(kind string) (names []string) {
	if kind != "bounds" {
		return verdict.OfClass(classes[kind])
	}
	for _, b := range bounds.All {
		if b.Refuses {
			names = append(names, b.Name)
		}
	}
	return names
}

// others returns the reasons that are not of a kind.
func others(kind string) (reasons []string) {
	for _, r := range verdict.Reasons() {
		if r.Class() != classes[kind] {
			reasons = append(reasons, r.String())
		}
	}
	return reasons
}

// Anchor returns the fragment of the alarm's section.
func (a Alarm) Anchor() string {
	return strings.ReplaceAll(strings.ToLower(strings.ReplaceAll(a.Section, ",", "")), " ", "-")
}
