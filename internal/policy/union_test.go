package policy_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// mustName parses a name that the test knows to be good.
func mustName(s string) hostname.Name {
	n, err := hostname.ParseName(s)
	if err != nil {
		panic(s + ": " + err.Error())
	}
	return n
}

// mustUnion builds a union that the test knows to be possible.
func mustUnion(tb testing.TB, p *policy.Policy) *policy.Union {
	tb.Helper()
	u, err := policy.NewUnion(p)
	if err != nil {
		tb.Fatal(err)
	}
	return u
}

// opening gives a rule addresses and an expiry; a zero expiry: none.
func opening(r policy.RuleSpec, expires time.Time, addresses ...string) policy.RuleSpec {
	t := *r.Conditions
	t.Expires = expires
	for _, a := range addresses {
		t.Addresses = append(t.Addresses, netip.MustParsePrefix(a))
	}
	r.Conditions = &t
	return r
}

// past and future are expiries.
var past, future = noon.Add(-time.Hour), noon.Add(time.Hour)

// lookupSpec is a policy of two functions, one in report mode, and a set.
func lookupSpec() policy.Spec {
	return policy.Spec{
		Deny: deny("*.denied.test"),
		Sets: [][]hostname.Pattern{{mustPattern("in.set.test"), mustPattern("*.set.test")}},
		Functions: []policy.FunctionSpec{
			{Name: "f", Rules: []policy.RuleSpec{
				host("any.test", 5432), host("*.wild.test"), host("*.denied.test"),
				opening(host("old.test"), past), opening(host("twice.test"), past), host("twice.test", 80),
				{Set: 1, Conditions: on(443)}, {Pattern: mustPattern("portless.test")},
				host("db.test"), opening(host("db.test", 5432), time.Time{}, "10.1.0.0/16"), opening(host("db.test", 1), past, "10.2.0.0/16"),
			}},
			{Name: "g", ReportUntil: future, Rules: []policy.RuleSpec{host("g.test"), opening(host("old.test"), future), opening(host("in.set.test"), past)}},
		},
	}
}

func TestALookupIsAllowedByAnyRuleThatHasTheNameWhateverItsPort(t *testing.T) {
	p := mustCompile(t, lookupSpec())
	u := mustUnion(t, p)
	for _, c := range []struct {
		name     string
		f, g, u  string // verdict and reason, and the rule where it is not another's
		wildcard string
	}{
		{"any.test", "allow ", "report host_not_allowed", "allow ", ""},
		{"a.wild.test", "allow ", "report host_not_allowed", "allow ", "wild.test"},
		{"a.b.wild.test", "allow ", "report host_not_allowed", "allow ", "wild.test"},
		{"wild.test", "deny host_not_allowed", "report host_not_allowed", "deny host_not_allowed", ""},
		{"a.denied.test", "deny host_denied", "deny host_denied", "deny host_denied", ""},
		{"old.test", "deny rule_expired", "allow ", "allow ", ""},
		{"twice.test", "allow ", "report host_not_allowed", "allow ", ""},
		{"in.set.test", "allow ", "report rule_expired", "allow ", ""},
		{"x.set.test", "allow ", "report host_not_allowed", "allow ", "set.test"},
		{"portless.test", "deny port_not_allowed", "report host_not_allowed", "deny port_not_allowed", ""},
		{"g.test", "deny host_not_allowed", "allow ", "allow ", ""},
		{"evil.test", "deny host_not_allowed", "report host_not_allowed", "deny host_not_allowed", ""},
	} {
		n := mustName(c.name)
		for _, by := range []struct {
			want string
			l    policy.Lookup
		}{{c.f, p.Lookup(p.Function("f"), n, noon)}, {c.g, p.Lookup(p.Function("g"), n, noon)}, {c.u, u.Lookup(n, noon)}} {
			if got := fmt.Sprint(by.l.Verdict, " ", by.l.Reason); got != by.want {
				t.Errorf("%s: %s, want %s", c.name, got, by.want)
			}
			if by.l.Verdict == verdict.Allow && by.l.Wildcard != c.wildcard {
				t.Errorf("%s: wildcard %q, want %q", c.name, by.l.Wildcard, c.wildcard)
			}
			if none := by.l.Reason == verdict.ReasonHostNotAllowed; by.l.Rule.IsZero() != none {
				t.Errorf("%s: %s has the rule %q", c.name, by.l.Reason, by.l.Rule)
			}
		}
	}
}

func TestALookupPermitsWhatAnyOfItsRulesOpens(t *testing.T) {
	p := mustCompile(t, lookupSpec())
	for who, l := range map[string]policy.Lookup{
		"f": p.Lookup(p.Function("f"), mustName("db.test"), noon), "all": mustUnion(t, p).Lookup(mustName("db.test"), noon),
	} {
		for text, want := range map[string]bool{
			"8.8.8.8": true, "10.1.2.3": true, "::ffff:10.1.2.3": true,
			"10.2.0.1": false, "10.9.9.9": false, "169.254.169.254": false, "64:ff9b::a9fe:a9fe": false,
		} {
			if got := l.PermitsAddress(netip.MustParseAddr(text)); got != want {
				t.Errorf("%s, %s: %t", who, text, got)
			}
		}
	}
	for what, l := range map[string]policy.Lookup{
		"the zero Lookup": {}, "a refusal": p.Lookup(p.Function("f"), mustName("evil.test"), noon),
		"an expired rule": p.Lookup(p.Function("f"), mustName("old.test"), noon),
		"a denied name":   p.Lookup(p.Function("f"), mustName("a.denied.test"), noon),
	} {
		if l.Verdict != verdict.Deny || l.PermitsAddress(public) {
			t.Errorf("%s permits", what)
		}
	}
	report := p.Lookup(p.Function("g"), mustName("db.test"), noon)
	if !report.PermitsAddress(public) || report.PermitsAddress(netip.MustParseAddr("10.1.2.3")) {
		t.Error("report mode permits what no rule of its own opens")
	}
}

func TestALookupOfWhatIsNotThereIsRefused(t *testing.T) {
	p := mustCompile(t, lookupSpec())
	var none *policy.Policy
	u, err := policy.NewUnion(none)
	if u != nil || err != nil {
		t.Fatalf("the union of no policy: %v, %v", u, err)
	}
	n := mustName("any.test")
	for what, l := range map[string]policy.Lookup{
		"no policy": none.Lookup(p.Function("f"), n, noon), "no function": p.Lookup(nil, n, noon),
		"no name": p.Lookup(p.Function("f"), hostname.Name{}, noon), "no name in report mode": p.Lookup(p.Function("g"), hostname.Name{}, noon), "no union": u.Lookup(n, noon),
		"no name of a union": mustUnion(t, p).Lookup(hostname.Name{}, noon), "an empty policy": mustUnion(t, mustCompile(t, policy.Spec{})).Lookup(n, noon),
	} {
		if l.Verdict != verdict.Deny || l.Reason != verdict.ReasonHostNotAllowed {
			t.Errorf("%s: %s %s", what, l.Verdict, l.Reason)
		}
	}
	if _, denied := none.Denies(n); denied {
		t.Error("no policy denies")
	}
}

func TestALookupIsAllowedWhereAConnectionToSomePortIs(t *testing.T) {
	const rules = 101
	verdicts := map[verdict.Verdict]int{}
	for seed := range uint64(20) {
		w := newGenerator(seed, rules)
		spec := w.spec(rules)
		p := mustCompile(t, spec)
		u := mustUnion(t, p)
		for range 100 {
			name := w.host(spec)
			n, err := hostname.ParseName(name)
			if err != nil {
				continue // a literal address
			}
			f := p.Function("f")
			want, union := best(p, f, n), verdict.Deny
			for _, other := range p.Functions() {
				if best(p, p.Function(other), n) == verdict.Allow {
					union = verdict.Allow
				}
			}
			if got := p.Lookup(f, n, noon).Verdict; got != want {
				t.Fatalf("seed %d, %s: a lookup gets %s, a connection %s", seed, name, got, want)
			}
			if got := u.Lookup(n, noon).Verdict; got != union {
				t.Fatalf("seed %d, %s: an unknown caller gets %s, the functions %s", seed, name, got, union)
			}
			verdicts[want]++
		}
	}
	if len(verdicts) < 2 {
		t.Errorf("all are %v: the test says little", verdicts)
	}
}

// best is the best verdict on a connection to any port that the rules of a
// random policy have.
func best(p *policy.Policy, f *policy.Function, n hostname.Name) verdict.Verdict {
	v := verdict.Deny
	for _, port := range []uint16{443, 80, 22} {
		v = max(v, p.Decide(f, hostname.Target{Host: hostname.NameHost(n), Port: port}, noon).Verdict)
	}
	return v
}

func TestALookupDoesNotAllocate(t *testing.T) {
	p := mustCompile(t, lookupSpec())
	u := mustUnion(t, p)
	f := p.Function("f")
	private := netip.MustParseAddr("10.1.2.3")
	for _, name := range []string{"any.test", "a.wild.test", "x.set.test", "evil.test", "a.denied.test", "db.test"} {
		n := mustName(name)
		if got := testing.AllocsPerRun(100, func() {
			l, all := p.Lookup(f, n, noon), u.Lookup(n, noon)
			l.PermitsAddress(private)
			all.PermitsAddress(private)
		}); got != 0 {
			t.Errorf("%s: %g allocations", name, got)
		}
	}
}

func TestAUnionTakesOneEntryForWhatFunctionsShare(t *testing.T) {
	spec := policy.Spec{Sets: [][]hostname.Pattern{nil}}
	for i := range 1000 {
		spec.Sets[0] = append(spec.Sets[0], mustPattern(fmt.Sprintf("n%d.set.test", i)))
	}
	for i := range 1000 {
		spec.Functions = append(spec.Functions, policy.FunctionSpec{
			Name:  fmt.Sprintf("f%d", i),
			Rules: []policy.RuleSpec{{Set: 1, Conditions: on(443)}, host("shared.test"), host(strings.Repeat("a", 1+i%60) + ".own.test")},
		})
	}
	u := mustUnion(t, mustCompile(t, spec))
	if got, want := u.Patterns(), 1000+1+60; got != want {
		t.Errorf("%d entries, want %d", got, want)
	}
}

// Of rules for one pattern the union has the one that holds longest, whichever function
// comes first, and of equal ones the first. That of a set is the one that names it.
func TestAUnionKeepsTheRuleThatHoldsLongest(t *testing.T) {
	forms := []*policy.Conditions{ // one that holds longer stands behind those that it outlives
		nil, {Ports: hostname.Ports(443), Expires: past}, {Ports: hostname.Ports(443), Expires: future}, {Ports: hostname.Ports(443, 80), Expires: future.Add(time.Second)}, on(22),
	}
	rules := map[string]func(*policy.Conditions) policy.RuleSpec{
		"a pattern": func(c *policy.Conditions) policy.RuleSpec {
			return policy.RuleSpec{Pattern: mustPattern("a.test"), Conditions: c}
		},
		"a set": func(c *policy.Conditions) policy.RuleSpec { return policy.RuleSpec{Set: 1, Conditions: c} },
	}
	for what, rule := range rules {
		for i, first := range forms {
			for j, second := range forms {
				u := mustUnion(t, mustCompile(t, policy.Spec{
					Sets: [][]hostname.Pattern{{mustPattern("a.test")}},
					Functions: []policy.FunctionSpec{
						{Name: "f", Rules: []policy.RuleSpec{rule(first)}}, {Name: "g", Rules: []policy.RuleSpec{rule(second)}},
					},
				}))
				want := "functions.f.allow[0]"
				if j > i {
					want = "functions.g.allow[0]"
				}
				l := u.Lookup(mustName("a.test"), noon)
				if got := l.Rule.String(); got != want || (l.Verdict == verdict.Allow) != (max(i, j) > 1) || u.Patterns() != 1 {
					t.Errorf("%s, forms %d and %d: %s by %s, want %s; %d patterns", what, i, j, l.Verdict, got, want, u.Patterns())
				}
			}
		}
	}
}

// Rules for one pattern that open other addresses are entries of their own, so that the
// union opens what any of them does, by a pattern as by a set.
func TestAUnionOpensWhatAnyFunctionDoes(t *testing.T) {
	set := policy.RuleSpec{Set: 1, Conditions: on(443)}
	for what, rule := range map[string]policy.RuleSpec{"a pattern": host("a.test"), "a set": set} {
		u := mustUnion(t, mustCompile(t, policy.Spec{
			Sets: [][]hostname.Pattern{{mustPattern("a.test")}},
			Functions: []policy.FunctionSpec{
				{Name: "f", Rules: []policy.RuleSpec{opening(rule, time.Time{}, "10.1.0.0/16")}},
				{Name: "g", Rules: []policy.RuleSpec{opening(rule, time.Time{}, "10.2.0.0/16")}},
				{Name: "h", Rules: []policy.RuleSpec{rule}},
				{Name: "i", Rules: []policy.RuleSpec{opening(rule, time.Time{}, "10.1.0.0/16")}},
			},
		}))
		l := u.Lookup(mustName("a.test"), noon)
		for text, want := range map[string]bool{"10.1.0.1": true, "10.2.0.1": true, "8.8.8.8": true, "10.3.0.1": false} {
			if got := l.PermitsAddress(netip.MustParseAddr(text)); got != want {
				t.Errorf("%s at %s: permitted = %t", what, text, got)
			}
		}
		if u.Patterns() != 3 {
			t.Errorf("%s: %d entries", what, u.Patterns())
		}
	}
}

// BenchmarkUnion measures the lookup of a caller who might be any of 1,000
// functions. It leaves out the building of the union.
//
//	go test -run=^$ -bench=Union ./internal/policy
func BenchmarkUnion(b *testing.B) {
	spec := policy.Spec{}
	for i := range 1000 {
		spec.Functions = append(spec.Functions, policy.FunctionSpec{Name: fmt.Sprintf("f%d", i), Rules: []policy.RuleSpec{host(fmt.Sprintf("n%d.test", i))}})
	}
	u := mustUnion(b, mustCompile(b, spec))
	for _, name := range []string{"n999.test", "evil.test"} {
		n := mustName(name)
		b.Run("name="+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				u.Lookup(n, noon)
			}
		})
	}
}
