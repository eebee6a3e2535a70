package alarms

import (
	"fmt"
	"strings"
)

// Rules returns the alarms as a file of alerting rules of Prometheus.
func Rules(table []Alarm) string {
	var b strings.Builder
	b.WriteString(`# Made of ../alarms.yaml, which says what each alarm is; change it there and write this anew:
#
#   go test ./deploy -run TestAlarms -update
#
# Scrape each 15 s, under a job whose name begins with egress; each deployment has a job of its own.
groups:
  - name: egress
    interval: 15s
    rules:
`)
	for _, a := range table {
		if a.Prometheus != nil {
			b.WriteString(a.rule())
		}
	}
	return b.String()
}

// Alert is what Prometheus calls the alarm.
func (a Alarm) Alert() string { return "Egress" + a.Name }

// rule returns an alarm as an alerting rule.
func (a Alarm) rule() string {
	var b strings.Builder
	fmt.Fprintf(&b, "      - alert: %s\n        expr: |-\n", a.Alert())
	for line := range strings.Lines(a.Prometheus.Expr) {
		fmt.Fprintf(&b, "          %s\n", strings.TrimRight(line, "\n"))
	}
	if a.Prometheus.For != "" {
		fmt.Fprintf(&b, "        for: %s\n", a.Prometheus.For)
	}
	fmt.Fprintf(&b, "        labels: {severity: %s}\n        annotations:\n", a.Severity)
	for _, annotation := range [][2]string{{"summary", a.Means}, {"ask", a.Contact}, {"action", a.Do}, {"runbook_url", Page + "#" + a.Anchor()}} {
		fmt.Fprintf(&b, "          %s: %q\n", annotation[0], annotation[1])
	}
	return b.String()
}
