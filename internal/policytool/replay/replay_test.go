package replay

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/traffic"
)

// noon is when the requests of this file were made.
var noon = time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)

// past is a history of two functions.
func past(t *testing.T) *traffic.Traffic {
	t.Helper()
	c := &egresstest.Chain{Process: "b"}
	c.Started(noon)
	for _, r := range []egresstest.Request{
		{Host: "kept.example", Port: 443},
		{Host: "gone.example", Port: 443, Suppressed: 2},
		{Host: "denied.example", Port: 443},
		{Host: "kept.example", Port: 22},
		{Host: "expired.example", Port: 443},
		{Host: "inside.example", Port: 443, Address: "10.0.0.1"},
		{Host: "plain.example", Port: 80, Protocol: "http"},
		{Host: "plain.example", Port: 8080, Protocol: "http"},
		{Host: "ssh.example", Port: 443, Verdict: "report", Reason: "host_not_allowed"},
		{Host: "ssh.example", Port: 443, Verdict: "report", Reason: "not_tls"},
		{Host: "any.example", Port: 443},
		{Host: "any.example", Port: 443, Event: "closed"},
		{Host: "kept.example", Port: 443, Event: "closed", SNI: "kept.example"},
		{Host: "kept.example", Protocol: "dns", Event: "answered"},
		{Host: "gone.example", Protocol: "dns", Event: "answered"},
		{Host: "new.example", Port: 443, Event: "refused", Verdict: "deny", Reason: "host_not_allowed"},
		{Host: "still.example", Port: 443, Event: "refused", Verdict: "deny", Reason: "host_not_allowed"},
		{Host: "new.example", Port: 443, Event: "refused", Verdict: "deny", Reason: "dial_failed"},
		{Host: "kept.example", Port: 443, Function: "g"},
		{Host: "any.example", Port: 443, Event: "refused", Verdict: "deny", Reason: "host_not_allowed", Function: "reporting"},
	} {
		r.At = noon
		if r.Function == "" {
			r.Function = "f"
		}
		c.Add(r)
	}
	got, err := traffic.Read(traffic.Options{Files: []string{"-"}, Stdin: bytes.NewReader(c.Bytes())})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

const changed = `version: 1
deny: [denied.example]
functions:
  f:
    identify: {sources: [10.0.1.0/24]}
    allow:
      - {host: kept.example, ports: [443]}
      - denied.example
      - {host: expired.example, expires: 2026-11-01}
      - inside.example
      - {host: plain.example, ports: [80, 8080]}
      - ssh.example
      - any.example
      - new.example
  reporting:
    mode: report
    report_until: 2026-12-31
    identify: {sources: [10.0.2.0/24]}
    allow: []
`

func TestPastTrafficIsJudgedByTheNewPolicy(t *testing.T) {
	cfg, err := config.Parse("new.yaml", []byte(changed), nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := Run(Query{Config: cfg, File: "new.yaml", Traffic: past(t), Now: noon})
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Unsure) != 1 || a.Unsure[0].Target != "any.example:443" || a.Unsure[0].Requests != 1 {
		t.Errorf("unsure: %+v", a.Unsure)
	}
	var b strings.Builder
	if err := a.Write(&b); err != nil {
		t.Fatal(err)
	}
	want := `refuses denied.example:443 for f, 1 requests: host_denied, deny[0] (line 2)
refuses expired.example:443 for f, 1 requests: rule_expired, functions.f.allow[2] (line 9)
refuses gone.example for f, 1 requests: host_not_allowed
refuses gone.example:443 for f, 3 requests: host_not_allowed
refuses inside.example:443 for f, 1 requests: address_not_allowed, functions.f.allow[3] (line 10)
refuses kept.example:22 for f, 1 requests: port_not_allowed, functions.f.allow[0] (line 7)
refuses plain.example:8080 for f, 1 requests: not_tls, functions.f.allow[4] (line 11)
refuses ssh.example:443 for f, 1 requests: not_tls, functions.f.allow[5] (line 12)
refuses kept.example:443 for g, 1 requests: host_not_allowed
newly allows new.example:443 for f, 1 requests: functions.f.allow[7] (line 14)
newly allows any.example:443 for reporting, 1 requests: by report mode
targets that the records do not know to be TLS to the host, which their rule wants: 1
18 requests for 16 targets: refused 9 targets, newly allowed 2
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}
