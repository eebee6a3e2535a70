package ready

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/learn"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/schedule"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/traffic"
)

const hour, day = time.Hour, 24 * time.Hour

// monday is when the histories begin.
var monday = time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC)

// reporting is the policy of the histories: f is in report mode, enforced is not.
const reporting = `version: 1
deny: [denied.example]
functions:
  f:
    mode: report
    report_until: 2027-12-31
    identify: {sources: [10.0.1.0/24]}
    allow: [a.example, b.example, {host: old.example, expires: 2026-01-31}]
  enforced:
    identify: {sources: [10.0.2.0/24]}
    allow: [a.example]
`

// ask is a request of f, so long after monday.
type ask struct {
	at   time.Duration
	host string
}

// daily returns a request each day for so many days, at an hour.
func daily(days int, at time.Duration, host string) (all []ask) {
	for d := range days {
		all = append(all, ask{time.Duration(d)*day + at, host})
	}
	return all
}

// history writes the records of so much time, with a record each four minutes as heartbeats
// are, but for the silence.
func history(long time.Duration, asks []ask, from, to time.Duration) []byte {
	c := &egresstest.Chain{Process: "p", Policy: "aaaaaaaaaaaa"}
	c.Started(monday)
	var second *egresstest.Chain
	for at := time.Duration(0); at <= long; at += 4 * time.Minute {
		if to > from && at > from && at < to {
			continue
		}
		if to > from && at >= to && second == nil {
			second = &egresstest.Chain{Process: "q", Policy: "aaaaaaaaaaaa"}
			second.Started(monday.Add(at))
		}
		on := c
		if second != nil {
			on = second
		}
		for _, a := range asks {
			if a.at >= at && a.at < at+4*time.Minute {
				on.Add(egresstest.Request{At: monday.Add(a.at), Function: "f", Host: a.host, Port: 443})
			}
		}
		on.Heartbeat(monday.Add(at + time.Second))
	}
	if second != nil {
		return append(c.Bytes(), second.Bytes()...)
	}
	return c.Bytes()
}

func TestThirtyHistories(t *testing.T) {
	two := daily(14, 3*hour, "a.example")
	late := func(at time.Duration, host string) []ask {
		return append(daily(14, 3*hour, "a.example"), ask{at, host})
	}
	for _, c := range []struct {
		name      string
		long      time.Duration
		asks      []ask
		schedules string
		change    func([]byte) []byte
		want      string // "": ready
	}{
		{"two weeks of a nightly job", 14 * day, two, "", nil, ""},
		{"a week, and no more", 7 * day, daily(7, 3*hour, "a.example"), "", nil, ""},
		{"six days", 6 * day, daily(6, 3*hour, "a.example"), "", nil, "the records are of 6.0 days, less than 7"},
		{"an hour", hour, []ask{{0, "a.example"}}, "", nil, "the records are of 0.0 days"},
		{"it never ran", 14 * day, nil, "", nil, "it was never seen"},
		{"it ran once, long ago", 14 * day, []ask{{hour, "a.example"}}, "", nil, ""},
		{"a name on the last day", 14 * day, late(13*day+20*hour, "b.example"), "", nil, "its last new name, b.example, came 0.2 days before the end"},
		{"a name in the last hour", 14 * day, late(14*day-10*time.Minute, "b.example"), "", nil, "b.example, came 0.0 days"},
		{"a name two days before the end", 14 * day, late(12*day, "b.example"), "", nil, "came 2.0 days"},
		{"a name three days before the end", 14 * day, late(11*day, "b.example"), "", nil, ""},
		{"an old name on the last day", 14 * day, late(13*day+20*hour, "a.example"), "", nil, ""},
		{"a host without a rule", 14 * day, late(hour, "new.example"), "", nil, "1 hosts that it used have no rule yet"},
		{"two hosts without a rule", 14 * day, append(late(hour, "new.example"), ask{hour, "other.example"}), "", nil, "2 hosts"},
		{"an expired rule", 14 * day, late(hour, "old.example"), "", nil, "1 doubts"},
		{"a denied host", 14 * day, late(hour, "denied.example"), "", nil, "1 doubts"},
		{"a nightly schedule that fires", 14 * day, two, "f cron(0 3 * * ? *)", nil, ""},
		{"one that fires ten minutes late", 14 * day, daily(14, 3*hour+10*time.Minute, "a.example"), "f cron(0 3 * * ? *)", nil, ""},
		{"one that fires an hour late", 14 * day, daily(14, 4*hour, "a.example"), "f cron(0 3 * * ? *)", nil, "was due 14 times, and no request followed"},
		{"a monthly job not yet run", 14 * day, two, "f cron(0 6 1 * ? *)", nil, "cron(0 6 1 * ? *) was not due while the records were written; it is on 2026-12-01"},
		{"a monthly job that has run", 30 * day, append(daily(30, 3*hour, "a.example"), ask{29*day + 6*hour, "a.example"}), "f cron(0 6 1 * ? *)", nil, ""},
		{"a monthly job that was due and silent", 30 * day, daily(30, 3*hour, "a.example"), "f cron(0 6 1 * ? *)", nil, "was due 1 times, and no request followed"},
		{"a weekly job not seen in its week", 14 * day, two, "f cron(0 22 ? * SUN *)", nil, "was due 2 times, and no request followed"},
		{"a weekly job seen once", 14 * day, late(6*day+22*hour, "a.example"), "f cron(0 22 ? * SUN *)", nil, ""},
		{"one schedule of two", 14 * day, two, "f cron(0 3 * * ? *)\nf cron(0 0 1 1 ? *)", nil, "it is on 2027-01-01"},
		{"a schedule of another function", 14 * day, two, "g cron(0 0 1 1 ? *)", nil, ""},
		{"a rate that fits", 14 * day, two, "f rate(1 day)", nil, ""},
		{"a rate longer than the records", 14 * day, two, "f rate(30 days)", nil, "rate(30 days) has a longer period than the records"},
		{"a schedule in the past alone", 14 * day, two, "f cron(0 0 * * ? 2020)", nil, "is never due"},
		{"a record is gone", 14 * day, two, "", func(b []byte) []byte { return without(b, 40) }, "so it cannot be known"},
		{"half a line", 14 * day, two, "", func(b []byte) []byte { return b[:len(b)-30] }, "so it cannot be known"},
		{"two days without records", 14 * day, two, "", func([]byte) []byte { return history(14*day, two, 5*day, 7*day) }, "no records from 2026-11-07"},
		{"the beginning is gone", 14 * day, two, "", func(b []byte) []byte { return b[bytes.IndexByte(b, '\n')+1:] }, "so it cannot be known"},
	} {
		data := history(c.long, c.asks, 0, 0)
		if c.change != nil {
			data = c.change(data)
		}
		f := judged(t, data, c.schedules)
		got := strings.Join(f.Because, "; ")
		if f.Name != "f" || f.Ready != (c.want == "") || !strings.Contains(got, c.want) || c.want != "" && c.long >= MinTime && len(f.Because) != 1 {
			t.Errorf("%s: ready %t, because %q; want %q", c.name, f.Ready, got, c.want)
		}
	}
}

// without returns the lines without one.
func without(data []byte, line int) []byte {
	lines := bytes.SplitAfter(data, []byte("\n"))
	return bytes.Join(append(append([][]byte{}, lines[:line]...), lines[line+1:]...), nil)
}

// judged returns what is said of the one function in report mode.
func judged(t *testing.T, data []byte, schedules string) Function {
	t.Helper()
	cfg, err := config.Parse("egress.yaml", []byte(reporting), nil)
	if err != nil {
		t.Fatal(err)
	}
	past, err := traffic.Read(traffic.Options{Files: []string{"-"}, Stdin: bytes.NewReader(data)})
	if err != nil {
		t.Fatal(err)
	}
	p, err := learn.Propose(learn.Query{Config: cfg, File: "egress.yaml", Traffic: past, Now: monday})
	if err != nil {
		t.Fatal(err)
	}
	list, err := schedule.ReadList(strings.NewReader(schedules), "jobs.txt")
	if err != nil {
		t.Fatal(err)
	}
	a := Judge(Query{Config: cfg, Traffic: past, Proposal: p, Schedules: list})
	if len(a.Functions) != 1 || a.Ready() != a.Functions[0].Ready {
		t.Fatalf("%+v", a)
	}
	return a.Functions[0]
}

func TestAnswerIsALineOfEachFunction(t *testing.T) {
	a := &Answer{Functions: []Function{{Name: "f", Ready: true, Runs: 14, Days: 14, Since: monday}, {Name: "g", Because: []string{"one", "two"}}}}
	var b, none strings.Builder
	if err := a.Write(&b); err != nil || b.String() != "f: ready: 14 runs on 14 days, last new name on 2026-11-02\ng: not yet, because one; two\n" {
		t.Errorf("%q, %v", b.String(), err)
	}
	if err := (&Answer{}).Write(&none); err != nil || none.String() != "no function is in report mode\n" {
		t.Errorf("%q, %v", none.String(), err)
	}
}
