package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
)

// What ends within a week is told ahead: by check, by a line of the log at the start and
// by a metric. So is a change that waits for a restart.
func TestWhatEndsSoonIsToldBeforeItDoes(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	cert, key := egresstest.PEM(t, egresstest.SelfSigned(t, "proxy.test"))
	w.must(os.WriteFile(filepath.Join(dir, "cert.pem"), cert, 0o600))
	w.must(os.WriteFile(filepath.Join(dir, "key.pem"), key, 0o600))
	last := time.Now().UTC().AddDate(0, 0, 2).Format(time.DateOnly)
	config := filepath.Join(dir, "egress.yaml")
	policy := fmt.Sprintf(strings.Replace(head, "listen: {", "listen: {tls: {address: \"127.0.0.1:0\", certificate: cert.pem, key: key.pem}, ", 1)+`functions:
  billing:
    identify: {${token_billing}}
    mode: report
    report_until: %s
    allow: [{host: a.test, expires: %s}, b.test]
`, last, last)
	w.write(config, policy)

	out, err := exec.Command("proxy", "check", config).CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "ok: 1 functions, 2 rules\n") {
		t.Fatalf("check: %v, %s", err, out)
	}
	p := w.startFile(dir, []string{"run", "--config", config})
	for what, metric := range map[string]string{
		"the certificate of listen.tls ends at":   `egress_tls_certificate_expiry_timestamp_seconds{listener="tls"}`,
		`the rule of "billing" in line 9 ends at`: `egress_rule_expiry_timestamp_seconds{function="billing"}`,
		`the report mode of "billing" ends at`:    `egress_report_mode_end_timestamp_seconds{function="billing"}`,
	} {
		if !strings.Contains(string(out), "note: "+what) {
			t.Errorf("check says nothing of what %q: %s", what, out)
		}
		told := 0
		for _, line := range p.logs() {
			if msg, _ := line["msg"].(string); strings.HasPrefix(msg, what) && line["level"] == "WARN" {
				told++
			}
		}
		if told != 1 {
			t.Errorf("%d lines of the log begin with %q, want 1", told, what)
		}
		at, err := strconv.ParseFloat(p.metric(metric), 64)
		w.must(err)
		ahead := time.Until(time.Unix(int64(at), 0))
		if ahead <= 0 || ahead > 4*24*time.Hour {
			t.Errorf("%s is %v ahead", metric, ahead)
		}
	}
	if n := p.metric("egress_config_restart_pending"); n != "0" {
		t.Errorf("%s sections wait for a restart", n)
	}
	w.write(config, policy+"limits: {tunnels: 100}\n")
	w.eventually("a restart is pending", func() bool { return p.metric("egress_config_restart_pending") == "1" })
	w.write(config, policy)
	w.eventually("no restart is pending", func() bool { return p.metric("egress_config_restart_pending") == "0" })
}
