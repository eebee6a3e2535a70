package expiry

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
)

// day is midnight of some day, and days that far from it.
var day = time.Date(2031, 3, 1, 0, 0, 0, 0, time.UTC)

func days(n float64) time.Time { return day.Add(time.Duration(n * 24 * float64(time.Hour))) }

// compiled returns a policy of one function with a rule for each end.
func compiled(t *testing.T, report time.Time, ends ...time.Time) *policy.Policy {
	t.Helper()
	f := policy.FunctionSpec{Name: "billing", Owner: "payments", ReportUntil: report}
	for i, at := range ends {
		p, err := hostname.ParsePattern(fmt.Sprintf("h%d.example", i))
		if err != nil {
			t.Fatal(err)
		}
		f.Rules = append(f.Rules, policy.RuleSpec{Pattern: p, Line: 10 + i, Conditions: &policy.Conditions{Ports: hostname.Ports(443), Expires: at}})
	}
	p, err := policy.Compile(policy.Spec{Functions: []policy.FunctionSpec{f}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestEndsOfAConfigurationAreInOrderWithTheirLines(t *testing.T) {
	var got []string
	for _, e := range Of(compiled(t, days(2), days(3), days(1), time.Time{}, days(3)), &x509.Certificate{NotAfter: days(0)}) {
		got = append(got, e.What())
	}
	want := []string{
		"the certificate of listen.tls", `the rule of "billing" in line 11`, `the report mode of "billing"`, `2 rules of "billing", in lines 10, 13`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if all := Of(nil, nil); len(all) > 0 {
		t.Errorf("without a policy: %v", all)
	}
}

// What is near is told by a metric and a line, when it begins and each hour, and what ends
// is told once. A certificate is told until it is replaced.
func TestEndsAreToldInTime(t *testing.T) {
	var log bytes.Buffer
	var ended []string
	reg := prometheus.NewRegistry()
	w := NewWatch(reg, slog.New(slog.NewTextHandler(&log, nil)), func(e End) { ended = append(ended, e.What()) })
	w.Set(Of(compiled(t, days(20), days(10), days(40)), &x509.Certificate{NotAfter: days(30)}), day)
	for _, tt := range []struct {
		at           float64
		rule, report float64 // the metrics, in days; -1: no series
		level, line  string  // what is logged; "": nothing
		ended        string  // what is recorded
	}{
		{at: 1, rule: 10, report: 20},
		{at: 3, rule: 10, report: 20, level: "WARN", line: `the rule of \"billing\" in line 10 ends at`},
		{at: 3.02, rule: 10, report: 20},
		{at: 3.05, rule: 10, report: 20, level: "WARN", line: `in line 10 ends at`},
		{at: 10, rule: 10, report: 20, level: "WARN", line: `in line 10 has ended`, ended: `the rule of "billing" in line 10`},
		{at: 10.01, rule: 10, report: 20},
		{at: 13, rule: 10, report: 20, level: "WARN", line: `the report mode of \"billing\" ends`},
		{at: 17, rule: 40, report: 20, level: "INFO", line: `an end is no longer told`},
		{at: 20.5, rule: 40, report: 20, level: "WARN", line: `the report mode of \"billing\" has ended`, ended: `the report mode of "billing"`},
		{at: 28, rule: 40, report: -1, level: "WARN", line: "the certificate of listen.tls ends"},
		{at: 30, rule: 40, report: -1, level: "ERROR", line: "the certificate of listen.tls has ended"},
		{at: 41, rule: 40, report: -1, level: "ERROR", line: "the certificate of listen.tls has ended", ended: `the rule of "billing" in line 11`},
		{at: 60, rule: -1, report: -1, level: "ERROR", line: "the certificate of listen.tls has ended"},
	} {
		log.Reset()
		ended = nil
		w.Look(days(tt.at))
		if got := value(t, reg, "egress_rule_expiry_timestamp_seconds"); got != unix(tt.rule) {
			t.Errorf("day %v: rule %v, want %v", tt.at, got, unix(tt.rule))
		}
		if got := value(t, reg, "egress_report_mode_end_timestamp_seconds"); got != unix(tt.report) {
			t.Errorf("day %v: report mode %v, want %v", tt.at, got, unix(tt.report))
		}
		if got := value(t, reg, "egress_tls_certificate_expiry_timestamp_seconds"); got != unix(30) {
			t.Errorf("day %v: certificate %v", tt.at, got)
		}
		switch text := log.String(); {
		case tt.line == "":
			if text != "" {
				t.Errorf("day %v: logged %s", tt.at, text)
			}
		case !strings.Contains(text, "level="+tt.level) || !strings.Contains(text, tt.line):
			t.Errorf("day %v: logged %q, want %s %s", tt.at, text, tt.level, tt.line)
		}
		if got := strings.Join(ended, "; "); got != tt.ended {
			t.Errorf("day %v: recorded %q, want %q", tt.at, got, tt.ended)
		}
	}
}

// A file that is loaded again, as a clock that jumps back, tells no end twice.
func TestAnEndIsRecordedOnce(t *testing.T) {
	n := 0
	w := NewWatch(nil, slog.New(slog.DiscardHandler), func(End) { n++ })
	p := compiled(t, time.Time{}, days(1))
	w.Set(Of(p, nil), day)
	w.Look(days(2))
	w.Set(Of(p, nil), days(2))
	w.Look(days(0.5))
	w.Look(days(3))
	if n != 1 {
		t.Errorf("recorded %d times", n)
	}
}

// unix is a metric's value of a day; -1: no series.
func unix(day float64) float64 {
	if day < 0 {
		return -1
	}
	return float64(days(day).Unix())
}

// value returns the value of a gauge with one series, -1 where it has none.
func value(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	return -1
}
