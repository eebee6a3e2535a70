package alarms_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest/alarms"
)

// condition is what one alarm is about: what a scrape has, and what the line of a minute has.
// n counts from 1 while it lasts, and is 0 before.
type condition struct {
	scrape func(n int) string
	line   map[string]float64
	other  map[string]float64 // of AWS, by metric
	tasks  int                // that are well, where that is not one beside it
	after  int                // minutes after which it must fire, where that is not two
}

// grows is a counter that grows by so many a scrape.
func grows(series string, by int) func(int) string {
	return func(n int) string { return fmt.Sprintf("%s %d\n", series, n*by) }
}

// is is a gauge that has a value before, and another while it lasts.
func is(series string, before, then float64) func(int) string {
	return func(n int) string {
		if n > 0 {
			before = then
		}
		return fmt.Sprintf("%s %g\n", series, before)
	}
}

// all is several series.
func all(of ...func(int) string) func(int) string {
	return func(n int) string {
		text := ""
		for _, series := range of {
			text += series(n)
		}
		return text
	}
}

// soon is a time within the week.
func soon(in time.Duration) float64 { return float64(time.Now().Add(in).Unix()) }

// conditions are those of the table by alarm.
func conditions() map[string]condition {
	const day = 24 * time.Hour
	decisions := func(reason, verdict string) string {
		return fmt.Sprintf("egress_decisions_total{function=\"a\",protocol=\"connect\",reason=%q,verdict=%q}", reason, verdict)
	}
	gone := func(n int) string {
		if n > 0 {
			return "gone"
		}
		return ""
	}
	return map[string]condition{
		"NothingReports":      {scrape: gone},
		"NoTargets":           {other: map[string]float64{"HealthyHostCount": 0}},
		"UnhealthyTargets":    {scrape: gone, other: map[string]float64{"UnHealthyHostCount": 1}},
		"TooFewTasks":         {scrape: gone, other: map[string]float64{"HealthyHostCount": 1}, after: 4},
		"TasksAtMaximum":      {tasks: 7, scrape: func(int) string { return "" }, other: map[string]float64{"HealthyHostCount": 8}, after: 20},
		"Cpu":                 {scrape: all(grows("process_cpu_seconds_total", 30), is("go_sched_gomaxprocs_threads", 2, 2)), other: map[string]float64{"CPUUtilization": 95}, after: 8},
		"Memory":              {scrape: all(is("egress_memory_used_bytes", 10, 67), is("egress_memory_limit_bytes", 100, 100)), line: map[string]float64{"MemoryUsedPercent": 67}},
		"AuditLost":           {scrape: grows("egress_audit_lost_total", 1), line: map[string]float64{"AuditLost": 4}},
		"AuditSlow":           {scrape: is("egress_audit_pending_seconds", 0, 5), line: map[string]float64{"AuditPendingSeconds": 5}},
		"Reload":              {scrape: is("egress_config_last_reload_successful", 1, 0), line: map[string]float64{"LastReloadSuccessful": 0}},
		"RestartPending":      {scrape: is("egress_config_restart_pending", 0, 1), line: map[string]float64{"RestartPending": 1}, after: 65},
		"ResolverDown":        {scrape: is("egress_dns_upstream_up{upstream=\"192.0.2.53:53\"}", 1, 0), line: map[string]float64{"ResolversDown": 1}},
		"OriginsFailing":      {scrape: all(grows(decisions("dial_timeout", "deny"), 3), grows(decisions("", "allow"), 3)), line: map[string]float64{"OriginsFailed": 12, "Requests": 24}},
		"Limited":             {scrape: grows(decisions("limit_total", "deny"), 3), line: map[string]float64{"Limited": 12}},
		"Bound":               {scrape: all(is("egress_bound_used{bound=\"tunnels\"}", 10, 85), is("egress_bound_size{bound=\"tunnels\"}", 100, 100)), line: map[string]float64{"BoundUsedPercent": 85}},
		"Refusals":            {scrape: grows(decisions("host_not_allowed", "deny"), 30), line: map[string]float64{"Refused": 120}, after: 6},
		"FunctionRefusals":    {scrape: all(grows(decisions("host_not_allowed", "deny"), 1), grows(decisions("", "allow"), 1000)), after: 10},
		"CredentialsRejected": {scrape: grows("egress_identity_rejected_total{claimed=\"a\"}", 1), line: map[string]float64{"IdentityRejected": 4}, after: 3},
		"Challenges":          {scrape: grows("egress_challenges_total{outcome=\"unanswered\"}", 1), line: map[string]float64{"ChallengesUnanswered": 4}, after: 4},
		"HandshakesFailing":   {scrape: all(grows("egress_tls_handshakes_total{cause=\"alert\",result=\"failed\"}", 3), grows("egress_tls_handshakes_total{cause=\"\",result=\"ok\"}", 3)), line: map[string]float64{"Handshakes": 24, "HandshakesFailed": 12}},
		"CertificateEnds":     {scrape: is("egress_tls_certificate_expiry_timestamp_seconds{listener=\"tls\"}", soon(30*day), soon(6*day)), line: map[string]float64{"CertificateDaysLeft": 6}},
		"CertificateExpired":  {scrape: is("egress_tls_certificate_expiry_timestamp_seconds{listener=\"tls\"}", soon(30*day), soon(-day)), line: map[string]float64{"CertificateDaysLeft": -1}},
		"RuleEnds":            {scrape: is("egress_rule_expiry_timestamp_seconds{function=\"a\"}", soon(30*day), soon(6*day)), line: map[string]float64{"RuleDaysLeft": 6}},
		"ReportMode":          {scrape: is("egress_report_mode_end_timestamp_seconds{function=\"a\"}", soon(30*day), soon(6*day)), line: map[string]float64{"ReportModeDaysLeft": 6}},
		"LogLinesDropped":     {scrape: grows("egress_log_lines_dropped_total", 1), line: map[string]float64{"LogLinesDropped": 4}},
	}
}

// tasksOf returns the scrapes of all tasks.
func (c condition) tasksOf(a alarms.Alarm, n int) map[string]string {
	own := c.scrape(n)
	scrapes := map[string]string{"a": own}
	for line := range strings.Lines(well()) { // without what the condition is about
		if name, _, _ := strings.Cut(line, " "); own != "gone" && !strings.Contains(own, name+" ") {
			scrapes["a"] += line
		}
	}
	if own == "gone" {
		scrapes["a"] = ""
	}
	for i := range max(c.tasks, 1) {
		switch other := fmt.Sprint("well", i); {
		case n == 0 && i > 0: // not yet
		case n > 0 && a.Name == "NothingReports":
			scrapes[other] = ""
		default:
			scrapes[other] = well()
		}
	}
	return scrapes
}

// Each alarm of the table fires for what it is about, in Prometheus and in CloudWatch, no
// later than it should, and no other does but those that the table names for it.
func TestEachAlarmFiresForWhatItIsAboutAndNoOther(t *testing.T) {
	t.Parallel()
	of := conditions()
	for _, a := range table(t) {
		c, ok := of[a.Name]
		if !ok {
			t.Errorf("nobody tries %s", a.Name)
			continue
		}
		c.after = max(c.after, 2)
		if a.Prometheus != nil {
			t.Run(a.Name+" in Prometheus", func(t *testing.T) {
				t.Parallel()
				s := alarms.NewScrapes(table(t))
				for i := range 4 * (5 + c.after) {
					s.Add(c.tasksOf(a, max(0, i-19)))
				}
				firing := s.Firing(t)
				checkFiring(t, a, firing[:20], firing[len(firing)-1])
			})
		}
		t.Run(a.Name+" in CloudWatch", func(t *testing.T) {
			t.Parallel()
			h := alarms.NewHistory(table(t))
			began := time.Unix(0, 0).Add(10 * time.Hour)
			for minute := -30; minute < c.after; minute++ {
				at := began.Add(time.Duration(minute)*time.Minute + 30*time.Second)
				lasts := minute >= 0
				if !lasts || a.Name != "NothingReports" {
					members := map[string]float64{"LastReloadSuccessful": 1, "Requests": 1000}
					for name, value := range c.line {
						if lasts {
							members[name] = value
						}
					}
					h.Line(t, line(members), at)
					if lasts && a.Name == "FunctionRefusals" {
						h.Line(t, decisions("a", "host_not_allowed", 4), at)
					}
				}
				for name, value := range map[string]float64{"HealthyHostCount": 2, "UnHealthyHostCount": 0, "CPUUtilization": 20} {
					if other, ok := c.other[name]; ok && lasts {
						value = other
					}
					namespace := "AWS/NetworkELB"
					if name == "CPUUtilization" {
						namespace = "AWS/ECS"
					}
					h.Observe(namespace, name, at, value)
				}
			}
			checkFiring(t, a, [][]string{h.Firing(began)}, h.Firing(began.Add(time.Duration(c.after)*time.Minute)))
		})
	}
}

// checkFiring checks what fires before a condition and while it lasts.
func checkFiring(t *testing.T, a alarms.Alarm, before [][]string, lasting []string) {
	t.Helper()
	for _, names := range before {
		if len(names) > 0 {
			t.Errorf("before, there fire %v", names)
		}
	}
	if !slices.Contains(lasting, a.Name) {
		t.Errorf("there fire %v, want %s", lasting, a.Name)
	}
	for _, name := range lasting {
		if name != a.Name && !slices.Contains(a.With, name) {
			t.Errorf("beside %s there fires %s; the table names %v", a.Name, name, a.With)
		}
	}
}
