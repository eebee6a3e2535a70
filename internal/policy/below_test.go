package policy_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// allNames returns the names of one to depth labels, of the letters a and b.
func allNames(depth int) (all []string) {
	if depth == 0 {
		return nil
	}
	shorter := allNames(depth - 1)
	all = append(all, "a", "b")
	for _, n := range shorter {
		all = append(all, "a."+n, "b."+n)
	}
	return all
}

// randomPattern returns a pattern of up to four labels.
func randomPattern(t *testing.T, r *rand.Rand, names []string) hostname.Pattern {
	t.Helper()
	p, err := hostname.ParsePattern([]string{"", "*.", "."}[r.IntN(3)] + names[r.IntN(len(names))])
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A name has allowed names below it where one can be found by asking for all of them, for
// a function as for the union, whether its rules are its own or a set's.
func TestNameHasBelowWhatCanBeFoundThere(t *testing.T) {
	const depth = 6
	now := time.Unix(1000, 0)
	r := rand.New(rand.NewPCG(1, 2))
	names, short := allNames(depth), allNames(4)
	ports := &policy.Conditions{Ports: hostname.Ports(443)}
	for round := range 60 {
		spec := policy.Spec{Sets: make([][]hostname.Pattern, 1), Functions: []policy.FunctionSpec{{Name: "f"}, {Name: "empty"}}}
		f := &spec.Functions[0]
		for range r.IntN(3) {
			f.Rules = append(f.Rules, policy.RuleSpec{Pattern: randomPattern(t, r, short), Conditions: ports})
		}
		for range r.IntN(3) {
			spec.Sets[0] = append(spec.Sets[0], randomPattern(t, r, short))
		}
		f.Rules = append(f.Rules, policy.RuleSpec{Set: 1, Conditions: ports})
		for range r.IntN(2) {
			spec.Deny = append(spec.Deny, policy.DenySpec{Pattern: randomPattern(t, r, short)})
		}
		p, err := policy.Compile(spec)
		if err != nil {
			t.Fatal(err)
		}
		u, err := policy.NewUnion(p)
		if err != nil {
			t.Fatal(err)
		}
		if round%2 == 0 { // which is sooner, and nothing else
			p.PrepareLookups()
			u.Prepare()
		}
		below := map[string]bool{} // names that have allowed names below
		for _, n := range names {
			name, err := hostname.ParseName(n)
			if err != nil {
				t.Fatal(err)
			}
			if l := p.Lookup(p.Function("f"), name, now); l.Verdict == verdict.Allow {
				for parent := n; parent != ""; {
					_, parent, _ = strings.Cut(parent, ".")
					below[parent] = true
				}
			}
		}
		for _, n := range append(allNames(depth-1), "") {
			if len(spec.Deny) > 0 && !below[n] {
				continue // what is denied below is not looked at one by one
			}
			if got := p.HasBelow(p.Function("f"), n, now); got != below[n] {
				t.Errorf("%+v: below %q for the function: %t, want %t", spec, n, got, below[n])
			}
			if got := u.HasBelow(n); got != below[n] {
				t.Errorf("%+v: below %q for the union: %t, want %t", spec, n, got, below[n])
			}
			if p.HasBelow(p.Function("empty"), n, now) {
				t.Errorf("%+v: below %q for a function without rules", spec, n)
			}
		}
	}
}

func TestNothingIsBelowWhatIsDeniedWithAllBelow(t *testing.T) {
	pattern := func(text string) hostname.Pattern {
		p, err := hostname.ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	now := time.Unix(1000, 0)
	p, err := policy.Compile(policy.Spec{
		Deny: []policy.DenySpec{{Pattern: pattern("*.denied.test")}, {Pattern: pattern("never.wild.test")}},
		Functions: []policy.FunctionSpec{
			{Name: "f", Rules: []policy.RuleSpec{{Pattern: pattern("*.wild.test")}, {Pattern: pattern("a.b.denied.test")}}},
			{Name: "reports", ReportUntil: now.Add(time.Hour)},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	p.PrepareLookups()
	for name, want := range map[string]string{
		"b.denied.test": "", "denied.test": "f reports", "never.wild.test": "f reports", "wild.test": "f reports", "test": "f reports", "": "f reports",
		"other.test": "reports", `a\032b.wild.test`: "reports", "x.wild.test": "f reports", "b.wild.test.test": "reports",
	} {
		got := ""
		for _, f := range []string{"f", "reports"} {
			if p.HasBelow(p.Function(f), name, now) {
				got += " " + f
			}
		}
		if got = strings.TrimSpace(got); got != want {
			t.Errorf("below %q for %q, want %q", name, got, want)
		}
	}
	var nobody *policy.Policy
	var nothing *policy.Union
	nobody.PrepareLookups()
	nothing.Prepare()
	if nobody.HasBelow(p.Function("f"), "", now) || p.HasBelow(nil, "", now) || nothing.HasBelow("") {
		t.Error("nobody has names")
	}
}

// Lists so long that equal names above are taken out on the way.
func TestNamesAboveManyAreFound(t *testing.T) {
	var rules []policy.RuleSpec
	for i := range 200_000 {
		p, err := hostname.ParsePattern(fmt.Sprintf("h%d.zone%d.test", i, i%10))
		if err != nil {
			t.Fatal(err)
		}
		rules = append(rules, policy.RuleSpec{Pattern: p})
	}
	p, err := policy.Compile(policy.Spec{Functions: []policy.FunctionSpec{{Name: "f", Rules: rules}}})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1000, 0)
	for name, want := range map[string]bool{"": true, "test": true, "zone9.test": true, "h9.zone9.test": false, "zone10.test": false} {
		if got := p.HasBelow(p.Function("f"), name, now); got != want {
			t.Errorf("below %q: %t", name, got)
		}
	}
}
