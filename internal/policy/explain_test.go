package policy_test

import (
	"slices"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
)

// Each rule that was looked at is explained by its place, its line and what is wrong with
// it, and so is an end that no rule brought about.
func TestExplainSaysWhatWasFoundAndWhatWasNot(t *testing.T) {
	spec := oneFunction(host("a.test", 22), opening(host("a.test"), past), host("*.test"), host("b.other", 22), cidr("10.0.0.0/8", 443))
	spec.Deny = deny("evil.test")
	enforcing := mustCompile(t, spec)
	spec.Functions[0].ReportUntil = future
	reporting := mustCompile(t, spec)
	const notDenied, none = "deny list: does not have the host", "no rule of the function has the host"
	const reports = "the function is in report mode: its list is recorded, not enforced"
	const port22, wild = "functions.f.allow[0] (line 10): has the host, not the port", "functions.f.allow[2] (line 12): has the host, the port and the date: allows"
	const old, other = "functions.f.allow[1] (line 11): has the host and the port, but has expired", "functions.f.allow[3] (line 13): has the host, not the port"
	for _, row := range []struct {
		p      *policy.Policy
		target string
		want   []string
	}{
		{enforcing, "a.test:443", []string{notDenied, port22, old, wild}},
		{enforcing, "b.other:443", []string{notDenied, other}},
		{enforcing, "c.other:443", []string{notDenied, none}},
		{enforcing, "evil.test:443", []string{"deny[0] (line 2): the deny list has the host"}},
		{enforcing, "10.0.0.1:443", []string{notDenied, "functions.f.allow[4] (line 14): has the host, the port and the date: allows"}},
		{enforcing, "11.0.0.1:443", []string{notDenied, none}},
		{reporting, "a.test:443", []string{notDenied, port22, old, wild}},
		{reporting, "b.other:443", []string{notDenied, other, reports}},
		{reporting, "c.other:443", []string{notDenied, reports, none}},
		{reporting, "evil.test:443", []string{"deny[0] (line 2): the deny list has the host"}},
	} {
		_, steps := row.p.Explain(row.p.Function("f"), mustTarget(row.target), noon)
		var got []string
		for _, s := range steps {
			got = append(got, s.Text)
		}
		if !slices.Equal(got, row.want) {
			t.Errorf("%s: got %q, want %q", row.target, got, row.want)
		}
	}
	var nobody *policy.Policy
	if _, steps := nobody.Explain(nil, mustTarget("a.test:443"), noon); len(steps) == 0 || steps[0].Text != "no policy, no function or no target: refused" {
		t.Errorf("without a policy: %v", steps)
	}
}

// Whether a wildcard allows a name is what its share of names hangs on: it is one where
// no rule has the name itself, with a port and a date that hold.
func TestDecisionSaysThatAWildcardAllows(t *testing.T) {
	spec := oneFunction(host("*.a.test"), host("own.a.test"), host("ssh.a.test", 22), opening(host("old.a.test"), past),
		policy.RuleSpec{Set: 1, Conditions: on(443)}, cidr("10.0.0.0/8", 443))
	spec.Sets = [][]hostname.Pattern{{mustPattern("*.set.test"), mustPattern("own.set.test")}}
	p := mustCompile(t, spec)
	u := mustUnion(t, p)
	for _, row := range []struct {
		target       string
		wild, lookup bool // by connection, and by lookup
	}{
		{"x.a.test:443", true, true}, {"x.set.test:443", true, true}, {"old.a.test:443", true, true},
		{"own.a.test:443", false, false}, {"own.set.test:443", false, false}, {"10.0.0.1:443", false, false},
		{"ssh.a.test:443", true, false}, // for a lookup it is allowed by itself, on another port
		{"x.a.test:80", false, true}, {"absent.test:443", false, false},
	} {
		target := mustTarget(row.target)
		if got := p.Decide(p.Function("f"), target, noon).ByWildcard; got != row.wild {
			t.Errorf("%s: by a wildcard %t", row.target, got)
		}
		if name := target.Host.Name(); !name.IsZero() {
			if f, all := p.Lookup(p.Function("f"), name, noon), u.Lookup(name, noon); f.ByWildcard != row.lookup || all.ByWildcard != row.lookup {
				t.Errorf("%s: by a wildcard for the function %t, for all %t", row.target, f.ByWildcard, all.ByWildcard)
			}
		}
	}
}
