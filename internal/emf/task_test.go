package emf

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// What an alarm watches stands in one line, without a dimension but the deployment.
func TestLineOfTheTaskHasWhatAlarmsWatch(t *testing.T) {
	c, p := newCounted(), &printer{}
	e := New(Options{Every: time.Minute, Gatherer: c, Print: p.print})
	const now = 1_900_000_000
	for _, d := range []struct {
		verdict, reason, protocol string
		n                         float64
	}{
		{"allow", "", "connect", 100}, {"allow", "", "dns", 1000}, {"report", "host_not_allowed", "connect", 10},
		{"deny", "host_not_allowed", "connect", 1}, {"deny", "identity_rejected", "http", 2}, {"deny", "sni_mismatch", "connect", 3}, {"deny", "host_denied", "dns", 4},
		{"deny", "identity_required", "connect", 50}, {"deny", "bad_request", "http", 60},
		{"deny", "limit_total", "connect", 5}, {"deny", "limit_function", "http", 6}, {"deny", "limit_names", "dns", 7}, {"deny", "draining", "connect", 8}, {"deny", "audit_unavailable", "connect", 9},
		{"deny", "dial_failed", "connect", 20}, {"deny", "dial_timeout", "http", 21}, {"deny", "dns_failed", "connect", 22}, {"deny", "dns_timeout", "connect", 23}, {"deny", "origin_failed", "http", 24}, {"deny", "dns_failed", "dns", 500},
	} {
		c.decisions.WithLabelValues("billing", d.verdict, d.reason, d.protocol).Add(d.n)
	}
	c.tunnels.WithLabelValues("billing").Set(2)
	c.tunnels.WithLabelValues("nightly").Set(3)
	c.lost.Add(4)
	c.reload.Set(1)
	c.counter(5, "egress_log_lines_dropped_total")
	c.counter(6, "egress_identity_rejected_total", "claimed", "billing")
	c.counter(7, "egress_identity_rejected_total", "claimed", "")
	c.counter(8, "egress_challenges_total", "outcome", "unanswered")
	c.counter(9, "egress_challenges_total", "outcome", "answered")
	c.counter(10, "egress_tls_handshakes_total", "result", "ok", "cause", "")
	c.counter(11, "egress_tls_handshakes_total", "result", "failed", "cause", "alert")
	c.counter(12, "egress_tls_handshakes_total", "result", "failed", "cause", "client_left") // health checks
	c.gauge(1, "egress_dns_upstream_up", "upstream", "192.0.2.1:53")
	c.gauge(0, "egress_dns_upstream_up", "upstream", "192.0.2.2:53")
	c.gauge(0, "egress_dns_upstream_up", "upstream", "192.0.2.3:53")
	c.gauge(2.5, "egress_audit_pending_seconds")
	c.gauge(3, "egress_config_restart_pending")
	c.gauge(300, "egress_memory_used_bytes")
	c.gauge(400, "egress_memory_limit_bytes")
	c.gauge(now+86400, "egress_tls_certificate_expiry_timestamp_seconds", "listener", "tls")
	c.gauge(now+10*86400, "egress_rule_expiry_timestamp_seconds", "function", "billing")
	c.gauge(now-86400/2, "egress_rule_expiry_timestamp_seconds", "function", "nightly")
	c.gauge(now+2*86400, "egress_report_mode_end_timestamp_seconds", "function", "nightly")
	for bound, used := range map[string]float64{"tunnels": 30, "dials": 90, "lookups": 5, "cached_lookups": 100, "lingering": 99} {
		c.gauge(used, "egress_bound_used", "bound", bound)
		c.gauge(100, "egress_bound_size", "bound", bound)
	}
	e.emit(time.Unix(now, 0))
	last := parseEMF(t, p.lines[len(p.lines)-1])
	if last.dimensions != "" || last.bound != "dials" {
		t.Errorf("dimensions %q, bound %q", last.dimensions, last.bound)
	}
	want := map[string]string{
		"Tunnels": "5 Count", "Requests": "364 Count", "Refused": "10 Count", "Limited": "35 Count", "OriginsFailed": "110 Count",
		"AuditLost": "4 Count", "LogLinesDropped": "5 Count", "IdentityRejected": "13 Count", "ChallengesUnanswered": "8 Count",
		"Handshakes": "21 Count", "HandshakesFailed": "11 Count", "ResolversDown": "2 Count", "AuditPendingSeconds": "2.5 Seconds",
		"RestartPending": "3 Count", "MemoryUsedPercent": "75 Percent", "BoundUsedPercent": "90 Percent", "LastReloadSuccessful": "1 None",
		"CertificateDaysLeft": "1 None", "RuleDaysLeft": "-0.5 None", "ReportModeDaysLeft": "2 None",
	}
	got := map[string]string{}
	for name, value := range last.metrics {
		got[name] = fmt.Sprintf("%g %s", value, last.units[name])
	}
	if !maps.Equal(got, want) {
		t.Errorf("%v\nwant\n%v", got, want)
	}
	p.lines = nil
	e.emit(time.Unix(now, 0))
	for name, value := range parseEMF(t, p.lines[0]).metrics {
		if slices.Contains(counters, name) && value != 0 {
			t.Errorf("when nothing happened %s is %g", name, value)
		}
	}
}

// What is by function costs by the number of functions, so it has to be asked for.
func TestFunctionsArePrintedWhereThatIsAskedForAlone(t *testing.T) {
	c, p := newCounted(), &printer{}
	e := New(Options{Every: time.Minute, Gatherer: c, Print: p.print})
	for i := range 100 {
		name := fmt.Sprintf("function-%d", i)
		c.decisions.WithLabelValues(name, "deny", "host_not_allowed", "connect").Add(2)
		c.decisions.WithLabelValues(name, "allow", "", "connect").Inc()
		c.tunnels.WithLabelValues(name).Set(1)
		c.days.WithLabelValues(name).Set(3)
	}
	e.emit(time.Unix(1, 0))
	want := []string{
		"Verdict=allow Reason=none: Decisions=100", "Verdict=deny Reason=host_not_allowed: Decisions=200",
		": AuditLost=0 LastReloadSuccessful=0 Refused=200 Requests=300 Tunnels=100",
	}
	if got := p.said(t); !slices.Equal(got, want) {
		t.Errorf("%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A function that is gone from the policy has no series, and goes on where it was if it
// comes back. What the others did is not held against that.
func TestSeriesThatAreGoneTakeNothingBack(t *testing.T) {
	for _, byFunction := range []bool{true, false} {
		c, p := newCounted(), &printer{}
		e := New(Options{Every: time.Minute, Gatherer: c, Print: p.print, Functions: byFunction})
		sums := map[string]float64{}
		emit := func() {
			e.emit(time.Unix(1, 0))
			for _, line := range p.lines {
				m := parseEMF(t, line).metrics
				sums["decisions"] += m["Decisions"]
				sums["requests"] += m["Requests"]
				if m["Decisions"] < 0 || m["Requests"] < 0 {
					t.Errorf("less than nothing: %s", line)
				}
			}
			p.lines = nil
		}
		gone, stays := []string{"gone", "allow", "", "connect"}, []string{"stays", "allow", "", "connect"}
		anew := []string{"anew", "allow", "", "connect"}
		c.decisions.WithLabelValues(gone...).Add(100)
		c.decisions.WithLabelValues(anew...).Add(50)
		c.decisions.WithLabelValues(stays...).Add(10)
		emit()
		c.decisions.DeleteLabelValues(gone...)
		c.decisions.DeleteLabelValues(anew...)
		c.decisions.WithLabelValues(stays...).Add(1)
		emit()
		c.decisions.WithLabelValues(gone...).Add(103)
		c.decisions.WithLabelValues(anew...).Add(20)
		emit()
		c.decisions.WithLabelValues(gone...).Add(4)
		emit()
		if sums["decisions"] != 188 || sums["requests"] != 188 {
			t.Errorf("by function %v: %v, want 188", byFunction, sums)
		}
	}
}

func TestALineOfAnotherProgramHasItsMetricsAndTheDeployment(t *testing.T) {
	b, err := Line(time.UnixMilli(1769817600000), "blue", map[string]float64{"FenceHolds": 0, "ProbeControl": 1})
	want := `{"Deployment":"blue","FenceHolds":0,"ProbeControl":1,"_aws":{"CloudWatchMetrics":[{"Dimensions":[["Deployment"]],"Metrics":[{"Name":"FenceHolds","Unit":"None"},{"Name":"ProbeControl","Unit":"None"}],"Namespace":"Egress"}],"Timestamp":1769817600000}}`
	if err != nil || string(b) != want {
		t.Errorf("%v %s", err, b)
	}
}
