package policy_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// noon is the instant at which the tests decide unless they say otherwise.
var noon = time.Date(2027, 1, 15, 12, 0, 0, 0, time.UTC)

// mustPattern parses a pattern that the test knows to be good.
func mustPattern(s string) hostname.Pattern {
	p, err := hostname.ParsePattern(s)
	if err != nil {
		panic(s + ": " + err.Error())
	}
	return p
}

// mustTarget parses a target that the test knows to be good.
func mustTarget(s string) hostname.Target {
	t, err := hostname.ParseTarget(s)
	if err != nil {
		panic(s + ": " + err.Error())
	}
	return t
}

// mustCompile compiles a spec that the test knows to be good.
func mustCompile(tb testing.TB, s policy.Spec) *policy.Policy {
	tb.Helper()
	p, err := policy.Compile(s)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// on returns conditions with these ports and nothing else.
func on(ports ...uint16) *policy.Conditions {
	return &policy.Conditions{Ports: hostname.Ports(ports...)}
}

// host is a rule for a name or a wildcard, on port 443 if none is given.
func host(pattern string, ports ...uint16) policy.RuleSpec {
	if len(ports) == 0 {
		ports = []uint16{443}
	}
	return policy.RuleSpec{Pattern: mustPattern(pattern), Conditions: on(ports...)}
}

// cidr is a rule for literal addresses.
func cidr(prefix string, ports ...uint16) policy.RuleSpec {
	return policy.RuleSpec{Prefix: netip.MustParsePrefix(prefix), Conditions: on(ports...)}
}

// oneFunction is a policy of the function "f" with these rules, on lines 10, 11 and so on.
func oneFunction(rules ...policy.RuleSpec) policy.Spec {
	for i := range rules {
		rules[i].Line = 10 + i
	}
	return policy.Spec{Functions: []policy.FunctionSpec{{Name: "f", Rules: rules}}}
}

// deny returns the lines of a deny list, on lines 2, 3 and so on.
func deny(patterns ...string) []policy.DenySpec {
	var lines []policy.DenySpec
	for i, p := range patterns {
		lines = append(lines, policy.DenySpec{Pattern: mustPattern(p), Line: 2 + i})
	}
	return lines
}

// line is one row of a policy test: a request and the answer to it.
type line struct{ target, verdict, reason, rule string }

// checkLines decides every row for the function "f" at noon.
func checkLines(t *testing.T, p *policy.Policy, rows []line) {
	t.Helper()
	for _, c := range rows {
		got := plain(p.Decide(p.Function("f"), mustTarget(c.target), noon))
		if want := (answer{c.verdict, c.reason, c.rule}); got != want {
			t.Errorf("%s: got %v, want %v", c.target, got, want)
		}
	}
}

func TestAnExactRuleCoversItsNameAlone(t *testing.T) {
	p := mustCompile(t, oneFunction(host("allowed.test")))
	checkLines(t, p, []line{
		{"allowed.test:443", "allow", "", "functions.f.allow[0]"},
		{"ALLOWED.test.:443", "allow", "", "functions.f.allow[0]"},
		{"www.allowed.test:443", "deny", "host_not_allowed", ""},
		{"allowed.test.evil.test:443", "deny", "host_not_allowed", ""},
		{"evilallowed.test:443", "deny", "host_not_allowed", ""},
		{"allowed.tes:443", "deny", "host_not_allowed", ""},
		{"test:443", "deny", "host_not_allowed", ""},
		{"allowed.test:22", "deny", "port_not_allowed", "functions.f.allow[0]"},
	})
}

func TestAWildcardCoversTheNamesBelowNeverItsOwn(t *testing.T) {
	p := mustCompile(t, oneFunction(host("*.example.com")))
	checkLines(t, p, []line{
		{"example.com:443", "deny", "host_not_allowed", ""},
		{"a.example.com:443", "allow", "", "functions.f.allow[0]"},
		{"a.b.example.com:443", "allow", "", "functions.f.allow[0]"},
		{"aexample.com:443", "deny", "host_not_allowed", ""},
		{"a.example.com.evil.test:443", "deny", "host_not_allowed", ""},
		{"com:443", "deny", "host_not_allowed", ""},
	})
}

func TestTheDenyListWinsOverEveryAllow(t *testing.T) {
	spec := oneFunction(host("a.x.test"), host("b.a.x.test"), host("x.test"), host("*.y.test"))
	for _, lines := range [][]string{{"*.x.test", "b.a.x.test"}, {"b.a.x.test", "*.x.test"}} {
		for _, report := range []time.Time{{}, noon.Add(time.Hour)} {
			spec.Deny = append(deny(lines...), deny("z.y.test", "*.z.y.test")...)
			spec.Functions[0].ReportUntil = report
			p := mustCompile(t, spec)
			exact, wild := "deny[1]", "deny[0]"
			if lines[0] == "b.a.x.test" {
				exact, wild = wild, exact
			}
			checkLines(t, p, []line{
				{"a.x.test:443", "deny", "host_denied", wild},
				{"b.a.x.test:443", "deny", "host_denied", exact},
				{"c.a.x.test:22", "deny", "host_denied", wild},
				{"x.test:443", "allow", "", "functions.f.allow[2]"},
				{"a.y.test:443", "allow", "", "functions.f.allow[3]"},
				{"z.y.test:443", "deny", "host_denied", "deny[2]"},
				{"a.z.y.test:443", "deny", "host_denied", "deny[3]"},
			})
		}
	}
}

func TestExactGoesBeforeWildcardAndLongBeforeShort(t *testing.T) {
	spec := oneFunction(
		host("*.test", 443, 80, 25), host("*.b.test", 443, 80), host("a.b.test", 443), host("*.a.b.test", 8443),
		policy.RuleSpec{Set: 1, Conditions: on(443, 22)}, host("only.own.test"))
	spec.Sets = [][]hostname.Pattern{{mustPattern("a.b.test"), mustPattern("*.set.test"), mustPattern("only.own.test")}}
	checkLines(t, mustCompile(t, spec), []line{
		{"a.b.test:443", "allow", "", "functions.f.allow[2]"},
		{"a.b.test:22", "allow", "", "functions.f.allow[4]"}, // the set has the exact name, too
		{"a.b.test:80", "allow", "", "functions.f.allow[1]"}, // any rule that fits allows
		{"a.b.test:25", "allow", "", "functions.f.allow[0]"},
		{"a.b.test:1", "deny", "port_not_allowed", "functions.f.allow[2]"},
		{"x.a.b.test:8443", "allow", "", "functions.f.allow[3]"},
		{"x.a.b.test:443", "allow", "", "functions.f.allow[1]"},
		{"x.set.test:22", "allow", "", "functions.f.allow[4]"},
		{"only.own.test:443", "allow", "", "functions.f.allow[5]"},
		{"set.test:443", "allow", "", "functions.f.allow[0]"},
	})
}

func TestARuleHoldsUntilItExpires(t *testing.T) {
	expires := host("a.test")
	expires.Conditions.Expires = noon
	forever := host("b.test")
	both := host("c.test")
	both.Conditions.Expires = noon
	p := mustCompile(t, oneFunction(expires, forever, both, host("c.test", 80)))
	f := p.Function("f")
	for _, c := range []struct {
		target  string
		at      time.Duration
		verdict verdict.Verdict
		reason  verdict.Reason
	}{
		{"a.test:443", -time.Nanosecond, verdict.Allow, verdict.ReasonNone},
		{"a.test:443", 0, verdict.Deny, verdict.ReasonRuleExpired},
		{"a.test:443", 1e6 * time.Hour, verdict.Deny, verdict.ReasonRuleExpired},
		{"a.test:80", time.Hour, verdict.Deny, verdict.ReasonPortNotAllowed},
		{"b.test:443", 1e6 * time.Hour, verdict.Allow, verdict.ReasonNone},
		{"c.test:443", time.Hour, verdict.Deny, verdict.ReasonRuleExpired},
		{"c.test:80", time.Hour, verdict.Allow, verdict.ReasonNone},
	} {
		d := p.Decide(f, mustTarget(c.target), noon.Add(c.at))
		if d.Verdict != c.verdict || d.Reason != c.reason {
			t.Errorf("%s at %+d: got %v", c.target, c.at, plain(d))
		}
	}
}

func TestReportModeLetsThroughWhatTheRulesRefuseUntilItEnds(t *testing.T) {
	expired := host("old.test")
	expired.Conditions.Expires = noon.Add(-time.Hour)
	private := host("private.test")
	private.Conditions.Addresses = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	spec := oneFunction(host("a.test"), expired, private)
	spec.Deny = deny("*.evil.test")
	spec.Functions[0].ReportUntil = noon.Add(time.Hour)
	p := mustCompile(t, spec)
	checkLines(t, p, []line{
		{"a.test:443", "allow", "", "functions.f.allow[0]"},
		{"a.test:22", "report", "port_not_allowed", "functions.f.allow[0]"},
		{"old.test:443", "report", "rule_expired", "functions.f.allow[1]"},
		{"absent.test:443", "report", "host_not_allowed", ""},
		{"10.0.0.1:443", "report", "host_not_allowed", ""},
		{"a.evil.test:443", "deny", "host_denied", "deny[0]"},
	})
	f := p.Function("f")
	for target, addr := range map[string]string{
		"absent.test:443": "10.0.0.1", "10.0.0.1:443": "10.0.0.1", "169.254.169.254:80": "169.254.169.254", "private.test:22": "169.254.169.254",
	} {
		if d := p.Decide(f, mustTarget(target), noon); d.Verdict != verdict.Report || d.PermitsAddress(netip.MustParseAddr(addr)) {
			t.Errorf("%s in report mode: %v, permitted at %s", target, plain(d), addr)
		}
	}
	if d := p.Decide(f, mustTarget("absent.test:443"), noon.Add(time.Hour-time.Nanosecond)); d.Verdict != verdict.Report {
		t.Errorf("in the last instant of report mode: %v", plain(d))
	}
	if d := p.Decide(f, mustTarget("absent.test:443"), noon.Add(time.Hour)); d.Verdict != verdict.Deny {
		t.Errorf("after report mode: %v", plain(d))
	}
	if got := f.ReportUntil(); !got.Equal(noon.Add(time.Hour)) || !f.Reports(noon) || f.Reports(noon.Add(time.Hour)) {
		t.Errorf("it reports until %s", got)
	}
}

// Every rule that ends has its end and its line, those of sets and of addresses too.
func TestEndsOfRulesStandInTheOrderOfTheFile(t *testing.T) {
	ending := policy.RuleSpec{Set: 1, Conditions: &policy.Conditions{Ports: hostname.Ports(443), Expires: noon}}
	spec := oneFunction(opening(host("a.test"), future), host("b.test"), ending, policy.RuleSpec{Pattern: mustPattern("c.test")}, opening(cidr("10.0.0.0/8", 443), past))
	spec.Sets = [][]hostname.Pattern{nil}
	want := []policy.Expiry{{At: future, Line: 10}, {At: noon, Line: 12}, {At: past, Line: 14}}
	if got := mustCompile(t, spec).Function("f").Expiries(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// The file has the last day, and the instant behind it is what is compiled.
func TestLastDayOfReportModeIsTheOneBeforeItsEnd(t *testing.T) {
	midnight := time.Date(2027, 3, 1, 0, 0, 0, 0, time.UTC)
	spec := oneFunction()
	spec.Functions[0].ReportUntil = midnight
	spec.Functions = append(spec.Functions, policy.FunctionSpec{Name: "enforces"})
	p := mustCompile(t, spec)
	if got := p.Function("f").LastReportDay(); !got.Equal(midnight.AddDate(0, 0, -1)) || got.Format(time.DateOnly) != "2027-02-28" {
		t.Errorf("until %s: the last day is %s", midnight, got)
	}
	if f := p.Function("enforces"); !f.LastReportDay().IsZero() || !f.ReportUntil().IsZero() {
		t.Errorf("a function that enforces reports until %s", f.LastReportDay())
	}
}

// A clock that says nothing opens nothing.
func TestFunctionThatEnforcesDoesSoAtEveryInstant(t *testing.T) {
	p := mustCompile(t, oneFunction(host("a.test")))
	f := p.Function("f")
	for _, now := range []time.Time{{}, time.Unix(-1, 0), time.Unix(0, 0), noon} {
		if d := p.Decide(f, mustTarget("b.test:443"), now); d.Verdict != verdict.Deny || f.Reports(now) {
			t.Errorf("at %s: %v", now, plain(d))
		}
		if l := p.Lookup(f, mustName("b.test"), now); l.Verdict != verdict.Deny || p.HasBelow(f, "b.test", now) {
			t.Errorf("at %s a lookup: %v", now, plain(l.Decision))
		}
	}
}

func TestALiteralIsJudgedByTheLongestPrefix(t *testing.T) {
	spec := oneFunction(cidr("10.0.0.0/8", 443), cidr("10.1.0.0/16", 80), cidr("10.1.0.0/16", 22), cidr("2001:db8::/32", 443), cidr("0.0.0.0/0", 8443), host("*.test"))
	spec.Deny = deny("*.test")
	checkLines(t, mustCompile(t, spec), []line{
		{"10.0.0.1:443", "allow", "", "functions.f.allow[0]"},
		{"10.1.0.1:443", "allow", "", "functions.f.allow[0]"},
		{"10.1.0.1:80", "allow", "", "functions.f.allow[1]"},
		{"10.1.0.1:22", "allow", "", "functions.f.allow[2]"},
		{"10.1.0.1:8443", "allow", "", "functions.f.allow[4]"},
		{"10.1.0.1:1", "deny", "port_not_allowed", "functions.f.allow[1]"},
		{"[::ffff:10.1.0.1]:80", "allow", "", "functions.f.allow[1]"},
		{"[2001:db8::1]:443", "allow", "", "functions.f.allow[3]"},
		{"[2001:db9::1]:443", "deny", "host_not_allowed", ""},
		{"[::10.0.0.1]:443", "deny", "host_not_allowed", ""},
	})
}

func TestAFunctionIsAllowedWhatItsOwnRulesSay(t *testing.T) {
	spec := oneFunction(host("one.test"))
	spec.Functions = append(spec.Functions, policy.FunctionSpec{Name: "g", Rules: []policy.RuleSpec{host("two.test")}}, policy.FunctionSpec{Name: "empty"})
	p := mustCompile(t, spec)
	for _, c := range []struct {
		function, target string
		verdict          verdict.Verdict
	}{
		{"f", "one.test:443", verdict.Allow}, {"g", "one.test:443", verdict.Deny}, {"empty", "one.test:443", verdict.Deny},
		{"f", "two.test:443", verdict.Deny}, {"g", "two.test:443", verdict.Allow}, {"empty", "two.test:443", verdict.Deny},
	} {
		if d := p.Decide(p.Function(c.function), mustTarget(c.target), noon); d.Verdict != c.verdict {
			t.Errorf("%s to %s: %v", c.function, c.target, plain(d))
		}
	}
}

func TestTheRuleOfADecisionIsTheLineOfTheFile(t *testing.T) {
	r := host("a.test")
	r.Conditions.TLS, r.Conditions.Ticket = policy.TLSAny, "SEC-1"
	spec := oneFunction(host("b.test"), r, policy.RuleSpec{Set: 1, Conditions: on(443)})
	spec.Sets = [][]hostname.Pattern{{mustPattern("c.test"), mustPattern("c.test")}}
	spec.Deny = deny("x.test", "y.test", "y.test")
	spec.Hash, spec.Functions[0].Owner = "0123456789ab", "team"
	p := mustCompile(t, spec)
	f := p.Function("f")
	a := p.Decide(f, mustTarget("a.test:443"), noon).Rule
	if a.Line() != 11 || a.Ticket() != "SEC-1" || a.TLS() != policy.TLSAny || a.IsZero() {
		t.Errorf("a.test: line %d, ticket %q, %s", a.Line(), a.Ticket(), a.TLS())
	}
	if c := p.Decide(f, mustTarget("c.test:443"), noon).Rule; c.Line() != 12 || c.TLS() != policy.TLSVerify || c.Ticket() != "" {
		t.Errorf("c.test: line %d", c.Line())
	}
	if y := p.Decide(f, mustTarget("y.test:443"), noon).Rule; y.Line() != 3 || y.String() != "deny[1]" || y.TLS() != policy.TLSVerify {
		t.Errorf("y.test: %s, line %d", y, y.Line())
	}
	if p.Hash() != "0123456789ab" || f.Name() != "f" || f.Owner() != "team" || p.Rules() != 3 || f.Rules() != 3 || len(p.Functions()) != 1 {
		t.Errorf("%s %s %s: %d rules", p.Hash(), f.Name(), f.Owner(), p.Rules())
	}
}

func TestExplainNamesEveryRuleItLookedAt(t *testing.T) {
	old := host("*.a.test")
	old.Conditions.Expires = noon
	p := mustCompile(t, oneFunction(host("x.a.test", 22), old, host("*.test")))
	d, steps := p.Explain(p.Function("f"), mustTarget("x.a.test:443"), noon)
	var got []string
	for _, s := range steps {
		if s.Text == "" {
			t.Error("a step without a text")
		}
		if !s.Rule.IsZero() {
			got = append(got, s.Rule.String())
		}
	}
	want := []string{"functions.f.allow[0]", "functions.f.allow[1]", "functions.f.allow[2]"}
	if d.Verdict != verdict.Allow || !slices.Equal(got, want) {
		t.Errorf("%v by way of %v, want %v", plain(d), got, want)
	}
}

func TestASpecThatContradictsItselfDoesNotCompile(t *testing.T) {
	two := host("a.test")
	two.Set = 1
	three := cidr("10.0.0.0/8", 443)
	three.Pattern = mustPattern("a.test")
	for what, spec := range map[string]policy.Spec{
		"a function twice":             {Functions: []policy.FunctionSpec{{Name: "f"}, {Name: "f"}}},
		"a function without a name":    {Functions: []policy.FunctionSpec{{}}},
		"a rule that covers nothing":   oneFunction(policy.RuleSpec{Conditions: on(443)}),
		"a rule of a host and a set":   oneFunction(two),
		"a rule of a host and a cidr":  oneFunction(three),
		"a set that is not there":      oneFunction(policy.RuleSpec{Set: 1}),
		"a set below zero":             oneFunction(policy.RuleSpec{Set: -1}),
		"a deny line without anything": {Deny: []policy.DenySpec{{Line: 3}}},
	} {
		if p, err := policy.Compile(spec); err == nil || p != nil {
			t.Errorf("%s compiles", what)
		}
	}
}

func TestARuleWithoutConditionsOrPatternsAllowsNothing(t *testing.T) {
	spec := oneFunction(
		policy.RuleSpec{Pattern: mustPattern("a.test")}, policy.RuleSpec{Pattern: mustPattern("b.test"), Conditions: &policy.Conditions{}},
		policy.RuleSpec{Set: 1, Conditions: on(443)}, policy.RuleSpec{Set: 2, Conditions: on(443)})
	spec.Sets = [][]hostname.Pattern{nil, {hostname.Pattern{}}}
	checkLines(t, mustCompile(t, spec), []line{
		{"a.test:443", "deny", "port_not_allowed", "functions.f.allow[0]"},
		{"b.test:443", "deny", "port_not_allowed", "functions.f.allow[1]"},
		{"c.test:443", "deny", "host_not_allowed", ""},
	})
}
