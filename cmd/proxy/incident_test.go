package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
)

// incidents are those that can be played everywhere, the longest first.
func incidents() []played {
	return []played{
		{"clients that have no credential", []string{"Challenges"}, unansweredChallenges},
		{"a restart that nobody makes", []string{"RestartPending"}, pendingRestart},
		{"as many tasks as there may be", []string{"TasksAtMaximum"}, allTasks},
		{"fewer tasks than there must be", []string{"TooFewTasks"}, tooFewTasks},
		{"no task", []string{"NoTargets", "NothingReports"}, noTask},
		{"a task that is gone", []string{"UnhealthyTargets"}, oneTaskLess},
		{"all functions refused together", []string{"Refusals"}, refusedFunctions},
		{"a quiet day", []string{}, quietDay},
		{"a reload that fails", []string{"Reload"}, failedReload},
		{"a dead resolver", []string{"ResolverDown"}, deadResolver},
		{"origins that fail, which are no refusals", []string{"OriginsFailing"}, failingOrigins},
		{"a function that is refused", []string{"FunctionRefusals"}, refusedFunction},
		{"a token that was rotated in one place", []string{"CredentialsRejected"}, rotatedToken},
		{"tunnels that are almost full", []string{"Bound"}, manyTunnels},
		{"requests beyond the tunnels", []string{"Limited"}, tooManyTunnels},
		{"a certificate that ends soon", []string{"CertificateEnds"}, endingCertificate},
		{"a certificate that has ended, and handshakes with it", []string{"CertificateExpired", "HandshakesFailing"}, endedCertificate},
		{"two incidents at once that come again", []string{"Bound", "Reload"}, twoIncidentsTwice},
		{"a rule that ends soon", []string{"RuleEnds"}, ends("RuleEnds", 2)},
		{"a rule that has ended", []string{"RuleEnds"}, ends("RuleEnds", -2)},
		{"a report mode that ends soon", []string{"ReportMode"}, ends("ReportMode", 2)},
		{"a report mode that has ended", []string{"ReportMode"}, ends("ReportMode", -2)},
	}
}

// signalled waits for a metric to say so, and checks that it took less than a minute.
func (in *incident) signalled(metric, want string) {
	in.t.Helper()
	began := time.Now()
	in.world.within(time.Minute, metric+" is "+want, func() bool { return in.metric(metric) == want })
	in.t.Logf("%s is %s after %v", metric, want, time.Since(began).Round(time.Millisecond))
}

// calls is what the function billing does all day: a request that is allowed.
func (in *incident) calls() {
	in.t.Helper()
	if !in.allows("before.test") {
		in.t.Error("a request that is allowed is refused")
	}
}

// Clients that are asked for a credential and come back with it, and one refusal, are no
// incident.
func quietDay(t *testing.T) {
	w := newEchoWorld(t)
	in := w.startIncident(t.TempDir(), only("before.test"))
	n := 0
	in.minutes(6, func() {
		in.calls()
		if n++; n == 7 {
			in.connect("billing", "after.test:443")
		}
	})
	in.sets("Reload", in.minute, in.minute)
}

func failedReload(t *testing.T) {
	w := newEchoWorld(t)
	in := w.startIncident(t.TempDir(), only("before.test"))
	in.minutes(2, in.calls)
	w.write(in.config, broken)
	in.signalled("egress_config_last_reload_successful", "0")
	in.minutes(4, in.calls)
	if failed := in.one("reload_failed"); !strings.Contains(failed.Detail, "line") && !strings.Contains(failed.Detail, "egress.yaml:") {
		t.Errorf("the record does not say what is wrong: %s", failed.Detail)
	}
	w.write(in.config, only("before.test"))
	in.signalled("egress_config_last_reload_successful", "1")
	in.minutes(4, in.calls)
	in.sets("Reload", 2, 6)
}

func deadResolver(t *testing.T) {
	w := newEchoWorld(t)
	dies := newZone(t)
	for _, z := range []*zone{w.names, dies} {
		z.set("*.wild.test", "127.0.0.1")
	}
	w.vars["dies"] = dies.addr
	in := w.startIncident(t.TempDir(), strings.Replace(strings.Replace(only(`"*.wild.test"`), `"${dns}"`, `"${dies}", "${dns}"`, 1), "tls: any,", "tls: any,", 1))
	n := 0
	asks := func() {
		n++
		if r := in.connect("billing", fmt.Sprintf("n%d.wild.test:%s", n, w.vars["echo"])); r.StatusCode != http.StatusOK {
			t.Errorf("a lookup that the other resolver answers: %s", r.reason())
		}
	}
	in.minutes(2, asks)
	dies.set("*.wild.test", silence)
	up := fmt.Sprintf("egress_dns_upstream_up{upstream=%q}", dies.addr)
	asks()
	in.signalled(up, "0")
	in.minutes(4, asks)
	if !in.logged("upstream fails") {
		t.Error("the log does not say which upstream fails")
	}
	dies.set("*.wild.test", "127.0.0.1")
	w.within(time.Minute, "it is asked again", func() bool { asks(); return in.metric(up) == "1" })
	in.minutes(5, asks)
	in.sets("ResolverDown", 2, 6)
}

func failingOrigins(t *testing.T) {
	w := newEchoWorld(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	w.vars["closed"] = port(ln)
	w.must(ln.Close())
	in := w.startIncident(t.TempDir(), only("before.test")+"      - {host: after.test, ports: [${closed}], tls: any, addresses: [127.0.0.0/8]}\n")
	in.minutes(2, in.calls)
	in.minutes(4, func() {
		in.calls()
		for range 3 {
			if r := in.connect("billing", "after.test:"+w.vars["closed"]); r.reason() != "dial_failed" {
				t.Errorf("%s, %s", r.Status, r.reason())
			}
		}
	})
	if r := in.of("refused"); len(r) == 0 || !strings.Contains(string(in.output()), `"dial_error":"refused"`) {
		t.Errorf("the records do not say why: %+v", r)
	}
	in.minutes(12, in.calls)
	in.sets("OriginsFailing", 2, 6)
}

func refusedFunction(t *testing.T) {
	w := newEchoWorld(t)
	in := w.startIncident(t.TempDir(), only("before.test"))
	in.minutes(2, in.calls)
	in.minutes(2, func() {
		in.calls()
		for range 4 {
			in.connect("billing", "evil.example:443")
		}
	})
	in.minutes(1, in.calls)
	in.sets("FunctionRefusals", 2, in.minute) // CloudWatch counts five minutes, and says so when they are over
}

// Each function stays below its own alarm.
func refusedFunctions(t *testing.T) {
	w := newEchoWorld(t)
	const functions = 40
	policy := only("before.test")
	for i := range functions {
		policy += fmt.Sprintf("  f%d:\n    identify: {${token_f%[1]d}}\n    allow: [{host: before.test, ports: [${echo}], tls: any, addresses: [127.0.0.0/8]}]\n", i)
	}
	in := w.startIncident(t.TempDir(), policy)
	in.minutes(2, in.calls)
	n := 0
	refused := func() {
		for i := range functions {
			name := fmt.Sprintf("f%d", i)
			if n%perMinute == 0 { // what it asks besides, so that a refusal is not most of it
				for range 2 {
					if r := in.connect(name, "before.test:"+w.vars["echo"]); r.StatusCode != http.StatusOK {
						t.Errorf("%s, %s", r.Status, r.reason())
					}
				}
				in.connect(name, "evil.example:443")
			}
		}
		n++
	}
	in.minutes(4, refused)
	in.minutes(6, in.calls)
	in.setsWithin("Refusals", 2, 6, 3, 3)
	in.page("Refusals", "`reason`")
}

func rotatedToken(t *testing.T) {
	w := newEchoWorld(t)
	in := w.startIncident(t.TempDir(), only("before.test"))
	in.minutes(2, in.calls)
	w.write(in.config, strings.Replace(only("before.test"), "${token_billing}", "${token_other}", 1))
	w.eventually("the old token does not hold", func() bool { return !in.allows("before.test") })
	in.minutes(4, func() { in.connect("billing", "before.test:443") })
	w.write(in.config, only("before.test"))
	w.eventually("the token holds", func() bool { return in.allows("before.test") })
	in.minutes(6, in.calls)
	in.sets("CredentialsRejected", 2, 6)
}

func manyTunnels(t *testing.T) {
	w := newEchoWorld(t)
	in := w.startIncident(t.TempDir(), only("before.test")+"limits: {tunnels: 50}\n")
	in.minutes(2, in.calls)
	open := in.open(45)
	in.signalled(`egress_bound_used{bound="tunnels"}`, "45")
	in.minutes(4, func() {})
	for _, tunnel := range open {
		_ = tunnel.conn.Close()
	}
	in.signalled(`egress_bound_used{bound="tunnels"}`, "0")
	in.minutes(4, in.calls)
	in.sets("Bound", 2, 6)
}

func tooManyTunnels(t *testing.T) {
	w := newEchoWorld(t)
	in := w.startIncident(t.TempDir(), only("before.test")+"limits: {tunnels: 20}\n")
	in.minutes(2, in.calls)
	open := in.open(20)
	in.minutes(4, func() {
		for range 3 {
			if r := in.connect("billing", "before.test:"+w.vars["echo"]); r.reason() != "limit_total" && r.reason() != "limit_function" {
				t.Errorf("%s, %s", r.Status, r.reason())
			}
		}
	})
	for _, tunnel := range open {
		_ = tunnel.conn.Close()
	}
	in.signalled(`egress_bound_used{bound="tunnels"}`, "0")
	in.minutes(5, in.calls)
	in.sets("Limited", 2, 6)
}

// The file has changes that only a start puts in force. Nothing is wrong until it has been
// so for an hour.
func pendingRestart(t *testing.T) {
	w := newEchoWorld(t)
	in := w.startIncident(t.TempDir(), only("before.test"))
	in.minutes(2, in.calls)
	in.calm = true
	w.write(in.config, only("before.test")+"limits: {tunnels: 100}\n")
	in.signalled("egress_config_restart_pending", "1")
	in.minutes(65, func() {})
	if !in.logged("changes that take effect at the next start") {
		t.Error("the log does not say so")
	}
	w.write(in.config, only("before.test"))
	in.signalled("egress_config_restart_pending", "0")
	in.minutes(9, func() {})
	in.setsWithin("RestartPending", 2, 67, 63, 61)
	in.page("RestartPending", "`egress_config_restart_pending`")
}

// Something has the proxy's address and no credential. What is not answered counts half a
// minute to a minute later, so each minute of these lasts until then.
func unansweredChallenges(t *testing.T) {
	const metric = `egress_challenges_total{outcome="unanswered"}`
	w := newEchoWorld(t)
	in := w.startIncident(t.TempDir(), only("before.test"))
	asks := func() {
		if r := in.connect("", "before.test:"+w.vars["echo"]); r.StatusCode != http.StatusProxyAuthRequired {
			t.Errorf("without a credential: %s", r.Status)
		}
	}
	in.minutes(1, asks)
	scrapes, counted := 0, in.number(metric)
	in.minutes(3, func() {
		asks()
		if scrapes%perMinute == 0 {
			w.within(70*time.Second, "challenges count as unanswered", func() bool { return in.number(metric) > counted })
			counted = in.number(metric)
		}
		scrapes++
	})
	challenged := in.of("challenged")
	if len(challenged) == 0 || !strings.HasPrefix(challenged[0].Client, "127.0.0.1:") {
		t.Errorf("the records do not say who it is: %+v", challenged)
	}
	in.minutes(6, in.calls) // it has been given one
	in.setsWithin("Challenges", 1, 4, 3, 2)
	in.page("Challenges", "`challenged`", "`egress_challenges_total{outcome=\"unanswered\"}`")
}

// withCertificate is a policy with a TLS listener that has a certificate.
func (w *world) withCertificate(dir string, c tls.Certificate) string {
	w.t.Helper()
	certificate, key := egresstest.PEM(w.t, c)
	w.must(os.WriteFile(filepath.Join(dir, "cert.pem"), certificate, 0o600))
	w.must(os.WriteFile(filepath.Join(dir, "key.pem"), key, 0o600))
	return strings.Replace(only("before.test"), "listen: {", "listen: {tls: {address: \"127.0.0.1:0\", certificate: cert.pem, key: key.pem}, ", 1)
}

func endingCertificate(t *testing.T) {
	w := newEchoWorld(t)
	dir := t.TempDir()
	in := w.startIncident(dir, w.withCertificate(dir, egresstest.SelfSigned(t, "proxy.test"))) // for a day
	in.minutes(4, in.calls)
	in.sets("CertificateEnds", 0, in.minute)
}

// The listener is dead for whoever checks certificates, and says so in three ways.
func endedCertificate(t *testing.T) {
	w := newEchoWorld(t)
	dir := t.TempDir()
	expired := egresstest.Expired(t, "proxy.test")
	in := w.startIncident(dir, w.withCertificate(dir, expired))
	roots := x509.NewCertPool()
	roots.AddCert(expired.Leaf)
	address := ""
	for _, line := range in.logs() {
		if line["msg"] == "serving" {
			address, _ = line["tls"].(string)
		}
	}
	in.minutes(4, func() {
		in.calls()
		for range 4 {
			c, err := tls.Dial("tcp", address, &tls.Config{RootCAs: roots, ServerName: "proxy.test"})
			if err == nil {
				_ = c.Close()
				t.Error("a client takes a certificate that has ended")
			}
		}
	})
	in.above(`egress_tls_handshakes_total{cause="alert",result="failed"}`, 31)
	in.sets("CertificateExpired", 0, in.minute)
	in.sets("HandshakesFailing", 0, in.minute)
}

// ends is what ends by itself: a rule or a report mode, so many days from now. What has ended
// is not well again at that moment.
func ends(alarm string, days int) func(*testing.T) {
	return func(t *testing.T) {
		last := time.Now().UTC().AddDate(0, 0, days).Format(time.DateOnly)
		change := map[string][2]string{
			"RuleEnds":   {"tls: any,", "tls: any, expires: " + last + ","},
			"ReportMode": {"    allow:", "    mode: report\n    report_until: " + last + "\n    allow:"},
		}[alarm]
		w := newEchoWorld(t)
		in := w.startIncident(t.TempDir(), strings.Replace(only("before.test"), change[0], change[1], 1))
		in.minutes(4, func() {})
		in.sets(alarm, 0, in.minute)
	}
}

// Two at once, over, and both again: each fires each time, and each is over in between.
func twoIncidentsTwice(t *testing.T) {
	w := newEchoWorld(t)
	policy := only("before.test") + "limits: {tunnels: 50}\n"
	in := w.startIncident(t.TempDir(), policy)
	want := map[int][]string{} // what fires in the last minute of each time
	quiet := func(minutes int) {
		in.minutes(minutes, in.calls)
		want[in.minute-1] = nil
	}
	quiet(2)
	for range 2 {
		w.write(in.config, broken)
		in.signalled("egress_config_last_reload_successful", "0")
		open := in.open(45)
		in.minutes(4, func() {})
		want[in.minute-1] = []string{"Bound", "Reload"}
		w.write(in.config, policy)
		in.signalled("egress_config_last_reload_successful", "1")
		for _, tunnel := range open {
			_ = tunnel.conn.Close()
		}
		in.signalled(`egress_bound_used{bound="tunnels"}`, "0")
		quiet(4)
	}
	prometheus := in.scrapes.Firing(t)
	for minute, names := range want {
		cloudWatch := in.history.Firing(in.began.Add(time.Duration(minute+1) * time.Minute))
		for where, firing := range map[string][]string{"CloudWatch": cloudWatch, "Prometheus": prometheus[minute*perMinute+perMinute-1]} {
			if !slices.Equal(firing, names) {
				t.Errorf("%s: in minute %d there fire %v, want %v", where, minute, firing, names)
			}
		}
	}
}
