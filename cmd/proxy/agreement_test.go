package main

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
)

// agreementPolicy has a rule for every way in which a target can be decided.
// ${port} is where an origin listens, ${admin} is the proxy's own.
const agreementPolicy = `version: 1
listen: {proxy: "127.0.0.1:0", admin: "127.0.0.1:${admin}"}
dns: {upstreams: ["${dns}"], families: ip4}
limits: {dial_timeout: 30s}
sets: {common: [shared.test, "*.many.test"]}
deny: ["*.denied.test", denied.test, never.wild.test]
functions:
  billing:
    identify: {${token_billing}}
    allow:
      - {host: exact.test, ports: [${port}], tls: any, addresses: [127.0.0.0/8]}
      - {host: "*.wild.test", ports: [${port}], tls: any, addresses: [127.0.0.0/8]}
      - {host: "*.deep.wild.test", ports: [1], tls: any, addresses: [127.0.0.0/8]}
      - {set: common, ports: [${port}]}
      - {cidr: 127.0.0.0/31, ports: [${port}, ${admin}], tls: any}
      - {host: old.test, ports: [${port}], expires: 2020-01-31}
      - {host: renewed.test, ports: [${port}], tls: any, expires: 2020-01-31}
      - {host: renewed.test, ports: [${port}], tls: any, addresses: [127.0.0.0/8]}
      - {host: ports.test, ports: [1]}
      - {host: ports.test, ports: [${port}], tls: any, expires: 2999-12-31, addresses: [127.0.0.0/8]}
      - {host: private.test, ports: [${port}]}
      - {host: mixed.test, ports: [${port}], addresses: [127.0.0.0/8]}
      - {host: metadata.test, ports: [${port}], addresses: [10.0.0.0/8]}
      - {host: self.test, ports: [${admin}], addresses: [127.0.0.0/8]}
      - {host: nowhere.test, ports: [${port}]}
      - {host: silent.test, ports: [${port}]}
      - {host: denied.test, ports: [${port}]}
      - {host: bücher.test, ports: [${port}], tls: any, addresses: [127.0.0.0/8]}
  idle:
    identify: {${token_idle}}
    allow: []
  nightly:
    mode: report
    report_until: 2999-12-31
    identify: {${token_nightly}}
    allow:
      - {host: exact.test, ports: [${port}], tls: any, addresses: [127.0.0.0/8]}
      - {host: ports.test, ports: [1], addresses: [127.0.0.0/8]}
      - {host: old.test, ports: [${port}], expires: 2020-01-31, addresses: [127.0.0.0/8]}
  lapsed:
    mode: report
    report_until: 2020-01-31
    identify: {${token_lapsed}}
    allow: []
`

// agreementTargets are the questions. PORT stands for the origin's port and
// ADMIN for the admin listener's; outcome is "allow", a reason, or "report " and a reason.
var agreementTargets = []struct{ function, target, outcome string }{
	{"billing", "exact.test:PORT", "allow"},
	{"billing", "EXACT.tesT:PORT", "allow"},
	{"billing", "exact.test.:PORT", "allow"},
	{"billing", "a.wild.test:PORT", "allow"},
	{"billing", "a.b.c.wild.test:PORT", "allow"},
	{"billing", "x.deep.wild.test:PORT", "allow"},
	{"billing", "127.0.0.1:PORT", "allow"},
	{"billing", "[::ffff:127.0.0.1]:PORT", "allow"},
	{"billing", "renewed.test:PORT", "allow"},
	{"billing", "ports.test:PORT", "allow"},
	{"billing", "xn--bcher-kva.test:PORT", "allow"},
	{"billing", "wild.test:PORT", "host_not_allowed"},
	{"billing", "awild.test:PORT", "host_not_allowed"},
	{"billing", "exact.test.evil.test:PORT", "host_not_allowed"},
	{"billing", "www.exact.test:PORT", "host_not_allowed"},
	{"billing", "many.test:PORT", "host_not_allowed"},
	{"billing", "127.0.0.2:PORT", "host_not_allowed"},
	{"billing", "169.254.169.254:PORT", "host_not_allowed"},
	{"billing", "[::1]:PORT", "host_not_allowed"},
	{"billing", "exact.test:1", "port_not_allowed"},
	{"billing", "ports.test:2", "port_not_allowed"},
	{"billing", "127.0.0.1:1", "port_not_allowed"},
	{"billing", "old.test:PORT", "rule_expired"},
	{"billing", "old.test:1", "port_not_allowed"},
	{"billing", "denied.test:PORT", "host_denied"},
	{"billing", "a.denied.test:PORT", "host_denied"},
	{"billing", "never.wild.test:PORT", "host_denied"},
	{"billing", "alias.wild.test:PORT", "host_denied"},
	{"billing", "private.test:PORT", "address_not_allowed"},
	{"billing", "mixed.test:PORT", "address_not_allowed"},
	{"billing", "metadata.test:PORT", "address_not_allowed"},
	{"billing", "shared.test:PORT", "address_not_allowed"},
	{"billing", "a.many.test:PORT", "address_not_allowed"},
	{"billing", "127.0.0.1:ADMIN", "address_not_allowed"},
	{"billing", "self.test:ADMIN", "address_not_allowed"},
	{"billing", "nowhere.test:PORT", "dns_failed"},
	{"billing", "silent.test:PORT", "dns_timeout"},
	{"billing", "exact.test", "bad_target"},
	{"billing", "exact.test:0PORT", "bad_target"},
	{"billing", "127.1:PORT", "bad_target"},
	{"billing", "a..test:PORT", "bad_target"},
	{"billing", "[exact.test]:PORT", "bad_target"},
	{"billing", "me@exact.test:PORT", "bad_target"},
	{"idle", "exact.test:PORT", "host_not_allowed"},
	{"nightly", "exact.test:PORT", "allow"},
	{"nightly", "ports.test:PORT", "report port_not_allowed"},
	{"nightly", "old.test:PORT", "report rule_expired"},
	{"nightly", "private.test:PORT", "address_not_allowed"},
	{"nightly", "a.denied.test:PORT", "host_denied"},
	{"nightly", "nowhere.test:PORT", "dns_failed"},
	{"lapsed", "exact.test:PORT", "host_not_allowed"},
}

// decided is what was found about one target: by explain or by the proxy.
type decided struct {
	outcome string // as in agreementTargets
	rule    string // "" where none decided, or explain does not say
}

func TestExplainAgreesWithTheRunningProxy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.vars["port"] = port(w.listen(echo))
	w.vars["admin"] = "0"
	for name, addrs := range map[string][]string{
		"exact.test": {"127.0.0.1"}, "a.wild.test": {"127.0.0.1"}, "a.b.c.wild.test": {"127.0.0.1"},
		"x.deep.wild.test": {"127.0.0.1"}, "renewed.test": {"127.0.0.1"}, "ports.test": {"127.0.0.1"},
		"xn--bcher-kva.test": {"127.0.0.1"}, "old.test": {"127.0.0.1"}, "self.test": {"127.0.0.1"},
		"private.test": {"10.1.2.3"}, "mixed.test": {"127.0.0.1", "10.1.2.3"}, "metadata.test": {"169.254.169.254"},
		"shared.test": {"192.168.0.1"}, "a.many.test": {"100.64.0.1"}, "silent.test": {silence},
		"alias.wild.test": {"->cdn.test", "->a.denied.test", "127.0.0.1"},
	} {
		w.names.set(name, addrs...)
	}
	p := w.start(strings.NewReplacer(", ${admin}]", "]", "[${admin}]", "[1]").Replace(agreementPolicy))
	// The kernel has picked a port for admin; now the file says which.
	_, w.vars["admin"], _ = net.SplitHostPort(p.admin)
	w.write(p.config, agreementPolicy)
	p.signal(syscall.SIGHUP)
	w.eventually("the file is loaded", func() bool { return len(p.of("reloaded")) > 0 })

	results := make(chan func(), len(agreementTargets))
	for _, row := range agreementTargets {
		target := strings.NewReplacer(":PORT", ":"+w.vars["port"], ":ADMIN", ":"+w.vars["admin"], ":0PORT", ":0"+w.vars["port"]).Replace(row.target)
		go func() {
			said := explained(t, p.config, row.function, target)
			did := p.decides(row.function, target)
			results <- func() {
				if said.outcome != row.outcome || did.outcome != row.outcome {
					t.Errorf("%s to %s: explain says %q, the proxy does %q, want %q", row.function, target, said.outcome, did.outcome, row.outcome)
				}
				if said.rule != "" && said.rule != did.rule {
					t.Errorf("%s to %s: explain says rule %s, the record %s", row.function, target, said.rule, did.rule)
				}
			}
		}()
	}
	for range agreementTargets {
		(<-results)()
	}
}

// explained runs explain and reads its last line.
func explained(t *testing.T, config, function, target string) (d decided) {
	var out, errs bytes.Buffer
	code := execute(t.Context(), []string{"explain", "--config", config, "--function", function, target}, &out, &errs)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	last := lines[len(lines)-1]
	word, rest, _ := strings.Cut(last, ": ")
	switch {
	case code == exitRefused && word == "refused":
		d.outcome = rest
	case code == exitOK && word == "let through":
		_, reason, _ := strings.Cut(rest, "by the list alone: ")
		d.outcome = "report " + reason
	case code == exitOK && word == "allowed":
		d.outcome = "allow"
		d.rule, _, _ = strings.Cut(rest, ",")
	default:
		d.outcome = fmt.Sprintf("exit %d: %s%s", code, last, errs.String())
	}
	return d
}

// decides asks the proxy and reads the record.
func (p *running) decides(function, target string) (d decided) {
	r, err := p.tryConnect(function, target)
	if err != nil {
		return decided{outcome: err.Error()}
	}
	if r.conn != nil {
		defer r.conn.Close()
	}
	rec, found := p.recordOf(r)
	if !found {
		return decided{outcome: fmt.Sprintf("status %s without a record", r.Status)}
	}
	if (rec.Event == "opened") != (r.StatusCode == http.StatusOK) || rec.Event == "refused" && rec.Reason != r.reason() {
		return decided{outcome: fmt.Sprintf("status %s and a record of %s %s", r.Status, rec.Event, rec.Reason)}
	}
	d.rule = rec.Rule
	switch rec.Verdict {
	case "deny":
		d.outcome = rec.Reason
	case "report":
		d.outcome = "report " + rec.Reason
	default:
		d.outcome = rec.Verdict
	}
	return d
}

// recordOf finds the record that decided a request: by its id where the answer
// names one, and else by the client's address. That is the last record of the
// address: a port that the client of a refusal gave back is soon another's, and
// the port of an open tunnel is not.
func (p *running) recordOf(r reply) (last record, found bool) {
	id := r.Header.Get("X-Egress-Request-Id")
	for _, rec := range p.records() {
		if rec.Event != "opened" && rec.Event != "refused" {
			continue
		}
		if id != "" && rec.ID == id || id == "" && rec.Client == r.from {
			last, found = rec, true
		}
	}
	return last, found
}
