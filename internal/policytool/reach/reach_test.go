package reach_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/explain"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/reach"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// file is a policy that has each kind of rule.
const file = `version: 1
deny: ["*.paste.example", exact.example.com]
sets:
  shared: [api.example.com, "*.example.org"]
functions:
  exact:
    owner: payments
    identify: {sources: [10.0.1.0/24]}
    allow: [api.example.com, exact.example.com]
  wild:
    identify: {sources: [10.0.2.0/24]}
    allow:
      - {host: "*.example.com", ports: [443, 8443], tls: any, addresses: [10.1.0.0/16], ticket: SEC-1}
      - "*.paste.example"
  set:
    identify: {sources: [10.0.3.0/24]}
    allow: [{set: shared, expires: 2999-12-31}]
  over:
    identify: {sources: [10.0.4.0/24]}
    allow: [{host: api.example.com, expires: 2020-01-31}]
  literal:
    identify: {sources: [10.0.5.0/24]}
    allow: [{cidr: 0.0.0.0/0, tls: any}, {cidr: "64:ff9b::/96", tls: any}]
  reports:
    mode: report
    report_until: 2999-12-31
    identify: {sources: [10.0.6.0/24]}
    allow: [{host: api.example.com, ports: [80]}]
  idle:
    identify: {sources: [10.0.7.0/24]}
    allow: []
`

// targets are one of each kind.
var targets = []string{
	"api.example.com:443", "api.example.com:80", "exact.example.com:443", "a.b.example.com:8443", "example.com:443", "x.example.org:443",
	"x.paste.example:443", "paste.example:443", "other.example:22", "203.0.113.7:443", "1.1.1.1:443", "10.1.2.3:443", "169.254.169.254:443",
	"[64:ff9b::a9fe:a9fe]:443", "[64:ff9b::101:101]:443", "[2606:4700::1111]:443", "127.0.0.1:3128", "127.0.0.1:443",
}

// self is the listener of the proxy.
func self(a netip.AddrPort) bool { return a == netip.MustParseAddrPort("127.0.0.1:3128") }

// find parses the file and asks for one target.
func find(t *testing.T, target string) (*config.Config, *reach.Answer) {
	t.Helper()
	cfg, err := config.Parse("egress.yaml", []byte(file), nil)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := hostname.ParseTarget(target)
	if err != nil {
		t.Fatal(err)
	}
	a, err := reach.Find(reach.Query{Config: cfg, File: "egress.yaml", Target: parsed, Now: time.Now(), Self: self})
	if err != nil {
		t.Fatal(err)
	}
	return cfg, a
}

func TestWhoMayReachATargetIsWhomExplainLetsThrough(t *testing.T) {
	some, all := 0, 0
	for _, target := range targets {
		cfg, a := find(t, target)
		for _, f := range cfg.Functions {
			q := explain.Query{Config: cfg, File: "egress.yaml", Function: f.Name, Target: target, Self: self}
			reason, err := q.Run(t.Context(), io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			may := slices.ContainsFunc(a.Functions, func(x reach.Function) bool { return x.Name == f.Name })
			if may != (reason == verdict.ReasonNone) {
				t.Errorf("%s for %s: explain says %q, who lists %v", target, f.Name, reason, a.Functions)
			}
			if all++; may {
				some++
			}
		}
	}
	if some < 15 || some > all-15 {
		t.Errorf("%d of %d are let through: the test says little", some, all)
	}
}

func TestEachFunctionComesWithTheRuleThatLetsItThrough(t *testing.T) {
	for target, want := range map[string]string{
		"api.example.com:443": `exact ("payments"): functions.exact.allow[0], egress.yaml:9: api.example.com, tls: verify
reports: report mode until 2999-12-31; by the list alone: port_not_allowed
set: functions.set.allow[0], egress.yaml:17: set shared, tls: verify, expires: 2999-12-31
wild: functions.wild.allow[0], egress.yaml:13: *.example.com, tls: any, addresses: [10.1.0.0/16]
4 of 7 functions may reach api.example.com:443
`,
		"203.0.113.7:443":       "literal: functions.literal.allow[0], egress.yaml:23: 0.0.0.0/0, tls: any\n1 of 7 functions may reach 203.0.113.7:443\n",
		"x.paste.example:443":   "no function may reach x.paste.example:443: deny[0] has it, egress.yaml:2: *.paste.example\n",
		"exact.example.com:443": "no function may reach exact.example.com:443: deny[1] has it, egress.yaml:2: exact.example.com\n",
		"169.254.169.254:443":   "no function may reach 169.254.169.254:443, of 7\n",
		"127.0.0.1:3128":        "no function may reach 127.0.0.1:3128: the proxy itself listens there\n",
	} {
		_, a := find(t, target)
		var out strings.Builder
		if err := a.Write(&out); err != nil || out.String() != want {
			t.Errorf("%s: %v, got\n%swant\n%s", target, err, out.String(), want)
		}
	}
}

// Programs find the same in JSON, with an empty list where nobody may.
func TestJSONHasTheWholeAnswer(t *testing.T) {
	_, a := find(t, "api.example.com:443")
	var out bytes.Buffer
	if err := a.WriteJSON(&out); err != nil {
		t.Fatal(err)
	}
	var back reach.Answer
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || len(back.Functions) != 4 {
		t.Fatalf("%v: %s", err, out.Bytes())
	}
	r := back.Functions[3].Rule
	if r == nil || r.Line != 13 || r.Covers != "*.example.com" || r.TLS != "any" || r.Ticket != "SEC-1" || len(r.Addresses) != 1 {
		t.Errorf("got %+v", r)
	}
	_, a = find(t, "x.paste.example:443")
	out.Reset()
	if err := a.WriteJSON(&out); err != nil || !strings.Contains(out.String(), `"functions": []`) || !strings.Contains(out.String(), `"path": "deny[0]"`) {
		t.Errorf("%v: %s", err, out.String())
	}
}

func TestARuleOfAnIncludedFileIsFoundThere(t *testing.T) {
	cfg, err := config.Parse("p/egress.yaml", []byte("version: 1\ninclude: [{file: t/a.yaml, functions: [a], may: {ports: [443], wildcards: true}}]\n"),
		func(string) ([]byte, error) {
			return []byte("functions:\n  a:\n    identify: {sources: [10.0.1.0/24]}\n    allow: [.x.test]\n"), nil
		})
	if err != nil {
		t.Fatal(err)
	}
	target, err := hostname.ParseTarget("x.test:443")
	if err != nil {
		t.Fatal(err)
	}
	a, err := reach.Find(reach.Query{Config: cfg, File: "p/egress.yaml", Target: target, Now: time.Now()})
	if err != nil || len(a.Functions) != 1 || a.Functions[0].Rule.File != "t/a.yaml" {
		t.Fatalf("%+v, %v", a, err)
	}
	var out bytes.Buffer
	if err := a.Write(&out); err != nil || !strings.Contains(out.String(), "p/t/a.yaml:4: .x.test") {
		t.Errorf("%v: %s", err, out.String())
	}
}
