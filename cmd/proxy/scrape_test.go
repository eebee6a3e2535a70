package main

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/standin"
)

// documented returns the metrics of docs/metrics.md with their types.
func documented(t *testing.T) map[string]string {
	t.Helper()
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(egress_\\w+)` \\| (\\w+) \\|").FindAllStringSubmatch(string(page), -1) {
		all[m[1]] = m[2]
	}
	return all
}

// That every page, rule and panel asks for what docs/metrics.md has is a test of deploy.
func TestEveryMetricOfTheDocumentsIsInAScrapeAndTheOtherWayRound(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	dir := t.TempDir()
	policy := w.withCertificate(dir, egresstest.SelfSigned(t, "proxy.test"))
	last := time.Now().UTC().AddDate(0, 0, 2).Format(time.DateOnly)
	policy = strings.Replace(policy, "tls: any,", "tls: any, expires: "+last+",", 1)
	policy = strings.Replace(policy, "    allow:", "    mode: report\n    report_until: "+last+"\n    allow:", 1)
	policy = strings.Replace(policy, "listen: {", `listen: {dns: "127.0.0.1:0", `, 1)
	issuer, err := standin.New(attestedAccount, "https://issuer.test")
	w.must(err)
	w.must(os.WriteFile(filepath.Join(dir, "jwks.json"), issuer.JWKS(), 0o600))
	policy = strings.Replace(policy, "functions:", "aws: {audience: a, accounts: {\""+attestedAccount+"\": {issuer: \"https://issuer.test\", keys: jwks.json}}}\nfunctions:", 1)
	policy = strings.Replace(policy, "dns: {", "dns: {clients: [127.0.0.0/8], ", 1)
	p := w.startFile(dir, func() []string {
		w.write(dir+"/egress.yaml", policy)
		return []string{"run", "--config", dir + "/egress.yaml"}
	}())
	tunnels := p.open(1)
	_ = tunnels[0].conn.Close()
	p.connect("", "before.test:443")
	p.lookup("127.0.0.1", "udp", "before.test", dns.TypeA)
	got := map[string]string{}
	_, text := p.get("/metrics")
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (egress_\w+) (\w+)$`).FindAllStringSubmatch(text, -1) {
		got[m[1]] = m[2]
	}
	want := documented(t)
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got[name] != want[name] {
			t.Errorf("%s is %q in a scrape, want %q", name, got[name], want[name])
		}
		delete(got, name)
	}
	for name := range got {
		t.Errorf("a scrape has %s, which docs/metrics.md does not have", name)
	}
}
