package policy_test

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
)

// public is an address that any rule permits.
var public = netip.MustParseAddr("8.8.8.8")

func TestTheZeroOfEveryVerdictRefuses(t *testing.T) {
	var (
		d policy.Decision
		v policy.Verdict
		r policy.Rule
		m policy.TLSMode
	)
	if d.Verdict != policy.Deny || d.PermitsAddress(public) {
		t.Error("the zero Decision lets through")
	}
	if v != policy.Deny || v.String() != "deny" {
		t.Error("the zero Verdict is no deny")
	}
	if !r.IsZero() || r.String() != "" || r.Line() != 0 || r.Ticket() != "" || r.TLS() != policy.TLSVerify {
		t.Error("the zero Rule says something")
	}
	if (policy.Decision{Verdict: policy.Allow}).PermitsAddress(netip.MustParseAddr("10.0.0.1")) {
		t.Error("the zero Rule opens a private address")
	}
	if m != policy.TLSVerify || m.String() != "verify" || policy.TLSMode(9).String() != "verify" || policy.TLSAny.String() != "any" {
		t.Error("the zero TLSMode does not verify")
	}
}

func TestAnUnknownVerdictRefuses(t *testing.T) {
	for v := range 256 {
		want := map[policy.Verdict]string{policy.Allow: "allow", policy.Report: "report"}[policy.Verdict(v)]
		if want == "" {
			want = "deny"
		}
		if got := policy.Verdict(v).String(); got != want {
			t.Errorf("Verdict(%d) is %q, want %q", v, got, want)
		}
		d := policy.Decision{Verdict: policy.Verdict(v)}
		if got := d.PermitsAddress(public); got != (want != "deny") {
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
		if d.Verdict != policy.Deny || d.Reason != policy.ReasonHostNotAllowed || !d.Rule.IsZero() || d.PermitsAddress(public) {
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
	if f.Name() != "" || f.Owner() != "" || f.Rules() != 0 || f.Reports(noon) || !f.ReportUntil().IsZero() {
		t.Error("a nil function says something")
	}
}

func TestReasonsAreAClosedSetOfWords(t *testing.T) {
	all := policy.Reasons()
	seen := map[string]bool{}
	word := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	for _, r := range all {
		if s := r.String(); !word.MatchString(s) || seen[s] {
			t.Errorf("reason %d is %q", r, s)
		}
		seen[r.String()] = true
	}
	want := strings.Fields(`bad_request bad_target loop method_not_allowed scheme_not_supported https_not_tunneled
		identity_required identity_rejected limit_failures limit_total limit_function limit_names draining
		host_denied host_not_allowed port_not_allowed rule_expired type_not_allowed dns_failed dns_timeout address_not_allowed
		audit_unavailable dial_failed dial_timeout origin_failed sni_mismatch sni_missing not_tls hello_timeout`)
	for _, s := range want {
		if !seen[s] {
			t.Errorf("no reason %s", s)
		}
	}
	if len(all) != len(want) {
		t.Errorf("%d reasons, want %d", len(all), len(want))
	}
	if policy.ReasonNone.String() != "" {
		t.Errorf("ReasonNone is %q", policy.ReasonNone)
	}
	for r := len(all) + 1; r < 256; r++ {
		if s := policy.Reason(r).String(); s == "" || seen[s] {
			t.Errorf("the unknown reason %d is %q", r, s)
		}
	}
}
