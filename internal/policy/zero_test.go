package policy_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// public is an address that any rule permits.
var public = netip.MustParseAddr("8.8.8.8")

func TestTheZeroOfEveryVerdictRefuses(t *testing.T) {
	var (
		d policy.Decision
		r policy.Rule
		m policy.TLSMode
	)
	if d.Verdict != verdict.Deny || d.PermitsAddress(public) {
		t.Error("the zero Decision lets through")
	}
	if !r.IsZero() || r.String() != "" || r.Line() != 0 || r.Ticket() != "" || r.TLS() != policy.TLSVerify {
		t.Error("the zero Rule says something")
	}
	if (policy.Decision{Verdict: verdict.Allow}).PermitsAddress(netip.MustParseAddr("10.0.0.1")) {
		t.Error("the zero Rule opens a private address")
	}
	if l := (policy.Lookup{Decision: policy.Decision{Verdict: verdict.Allow}}); l.PermitsAddress(netip.MustParseAddr("10.0.0.1")) {
		t.Error("a Lookup of no rules opens a private address")
	}
	if m != policy.TLSVerify || m.String() != "verify" || policy.TLSMode(9).String() != "verify" || policy.TLSAny.String() != "any" {
		t.Error("the zero TLSMode does not verify")
	}
}

func TestAnUnknownVerdictRefuses(t *testing.T) {
	for v := range 256 {
		d := policy.Decision{Verdict: verdict.Verdict(v)}
		want := d.Verdict == verdict.Allow || d.Verdict == verdict.Report
		if got := d.PermitsAddress(public); got != want {
			t.Errorf("Verdict(%d) permits a public address: %t", v, got)
		}
	}
}

func TestWhatIsNotThereIsRefused(t *testing.T) {
	full := mustCompile(t, oneFunction(host("a.test"), cidr("0.0.0.0/0", 443)))
	reporting := oneFunction()
	reporting.Functions[0].ReportUntil = noon.Add(time.Hour)
	report := mustCompile(t, reporting)
	empty := mustCompile(t, policy.Spec{})
	target := mustTarget("a.test:443")
	var none *policy.Policy
	for _, c := range []struct {
		what   string
		p      *policy.Policy
		f      *policy.Function
		target hostname.Target
	}{
		{"nil policy, nil function", none, nil, target},
		{"nil policy", none, full.Function("f"), target},
		{"zero policy, nil function", &policy.Policy{}, nil, target},
		{"nil function", full, nil, target},
		{"absent function", full, full.Function("g"), target},
		{"function without a name", full, full.Function(""), target},
		{"empty policy", empty, empty.Function("f"), target},
		{"zero target", full, full.Function("f"), hostname.Target{}},
		{"no port", full, full.Function("f"), hostname.Target{Host: target.Host}},
		{"no port, literal", full, full.Function("f"), hostname.Target{Host: hostname.AddrHost(public)}},
		{"no host", full, full.Function("f"), hostname.Target{Port: 443}},
		{"zero name", full, full.Function("f"), hostname.Target{Host: hostname.NameHost(hostname.Name{}), Port: 443}},
		{"zero address", full, full.Function("f"), hostname.Target{Host: hostname.AddrHost(netip.Addr{}), Port: 443}},
		{"zero target in report mode", report, report.Function("f"), hostname.Target{}},
		{"no host in report mode", report, report.Function("f"), hostname.Target{Port: 443}},
		{"no port in report mode", report, report.Function("f"), hostname.Target{Host: target.Host}},
	} {
		d := c.p.Decide(c.f, c.target, noon)
		if d.Verdict != verdict.Deny || d.Reason != verdict.ReasonHostNotAllowed || !d.Rule.IsZero() || d.PermitsAddress(public) {
			t.Errorf("%s: %v", c.what, plain(d))
		}
		if e, steps := c.p.Explain(c.f, c.target, noon); e != d || len(steps) == 0 {
			t.Errorf("%s: explained as %v in %d steps", c.what, plain(e), len(steps))
		}
	}
}

func TestNilPolicyAndFunctionAnswerEmpty(t *testing.T) {
	var p *policy.Policy
	var f *policy.Function
	if p.Hash() != "" || p.Function("f") != nil || p.Functions() != nil || p.Rules() != 0 {
		t.Error("a nil policy says something")
	}
	if f.Name() != "" || f.Owner() != "" || f.Rules() != 0 || f.Reports(noon) || !f.ReportUntil().IsZero() || !f.LastReportDay().IsZero() || f.Expiries() != nil {
		t.Error("a nil function says something")
	}
	if u, err := policy.NewUnion(p); err != nil || u.Patterns() != 0 {
		t.Error("the union of nothing has patterns")
	}
}
