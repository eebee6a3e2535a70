package readiness

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/schedule"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/report"
)

const (
	day     = 24 * time.Hour
	enforce = "version: 1\nfunctions:\n  g: {identify: {sources: [10.0.2.0/24]}, allow: [a.example]}\n"
	policy  = enforce + "  f: {owner: team, mode: report, report_until: 2999-12-31, identify: {sources: [10.0.1.0/24]}, allow: [a.example]}\n"
)

var monday = time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC)

// nights are records of so many days, with a request of f for that host each night.
func nights(days int, host string) []byte {
	c := &egresstest.Chain{Process: "p", Policy: "aaaaaaaaaaaa"}
	c.Started(monday)
	for at := time.Duration(0); at <= time.Duration(days)*day; at += time.Hour {
		if at%day == 3*time.Hour {
			c.Add(egresstest.Request{At: monday.Add(at), Function: "f", Host: host, Port: 443})
		}
		c.Heartbeat(monday.Add(at + time.Second))
	}
	return c.Bytes()
}

// watched returns what is said of those records.
func watched(t *testing.T, policy string, o Options, records []byte) report.Readiness {
	t.Helper()
	cfg, err := config.Parse("egress.yaml", []byte(policy), nil)
	if err != nil {
		t.Fatal(err)
	}
	o.Config, o.File, o.Sources, o.Now = cfg, "egress.yaml", []string{"-"}, monday
	w := New(o)
	if err := evidence.Read(o.Sources, bytes.NewReader(records), w.Add); err != nil {
		t.Fatal(err)
	}
	return w.Ready()
}

func TestReportSaysOfEachFunctionInReportModeWhetherItMayBeEnforced(t *testing.T) {
	t.Parallel()
	monthly, err := schedule.ReadList(strings.NewReader("f cron(0 6 1 * ? *)\n"), "jobs.txt")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		o       Options
		records []byte
		because []string
	}{
		"two weeks":                 {Options{}, nights(14, "a.example"), []string{}},
		"a monthly job not yet run": {Options{Schedules: monthly}, nights(14, "a.example"), []string{"cron(0 6 1 * ? *) was not due while the records were written; it is on 2026-12-01"}},
		"a host without a rule":     {Options{}, nights(14, "b.example"), []string{"1 hosts that it used have no rule yet"}},
		"a period of five days":     {Options{From: monday, To: monday.Add(5 * day)}, nights(14, "a.example"), []string{"the records are of 5.0 days, less than 7"}},
		"a record that is missing":  {Options{}, bytes.Replace(nights(14, "a.example"), lineOf(nights(14, "a.example"), 9), nil, 1), []string{"the records have gaps (1, the first: boot p: missing), so it cannot be known"}},
	} {
		got := watched(t, policy, c.o, c.records)
		if got.Unknown != "" || len(got.Functions) != 1 || got.Functions[0].Name != "f" || got.Functions[0].Owner != "team" || !slices.Equal(got.Functions[0].Because, c.because) {
			t.Errorf("%s: %+v, want %q", name, got, c.because)
		}
	}
}

// lineOf returns a line of records.
func lineOf(records []byte, n int) []byte { return bytes.SplitAfter(records, []byte("\n"))[n] }

// Records that somebody has changed say nothing, and the report says that; one of no
// function in report mode has nothing to say.
func TestChangedRecordsAreNoAnswerAndNoFailure(t *testing.T) {
	t.Parallel()
	got := watched(t, policy, Options{}, bytes.Replace(nights(14, "a.example"), []byte("a.example"), []byte("b.example"), 1))
	if !strings.HasPrefix(got.Unknown, "the records are not as they were written") || got.Functions != nil {
		t.Errorf("changed: %+v", got)
	}
	if got := watched(t, policy, Options{}, nil); got.Unknown != "there are no records in it" {
		t.Errorf("none: %+v", got)
	}
	if got := watched(t, enforce, Options{}, nights(14, "a.example")); got.Unknown != "" || got.Functions != nil {
		t.Errorf("no function in report mode: %+v", got)
	}
}
