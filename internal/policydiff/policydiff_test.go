package policydiff

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
)

// pattern parses a pattern that the test knows to be good.
func pattern(t testing.TB, s string) hostname.Pattern {
	t.Helper()
	p, err := hostname.ParsePattern(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// of compiles a policy: the deny list, the sets, and by function its rules, each a pattern,
// a prefix, or "set N", with what stands behind it as conditions.
func of(t testing.TB, deny []string, sets [][]string, functions map[string][]string) *policy.Policy {
	t.Helper()
	var s policy.Spec
	for i, d := range deny {
		s.Deny = append(s.Deny, policy.DenySpec{Pattern: pattern(t, d), Line: i})
	}
	for _, set := range sets {
		var all []hostname.Pattern
		for _, p := range set {
			all = append(all, pattern(t, p))
		}
		s.Sets = append(s.Sets, all)
	}
	for name, rules := range functions {
		f := policy.FunctionSpec{Name: name}
		for i, rule := range rules {
			var what, how string
			_, _ = fmt.Sscan(rule, &what, &how)
			r := policy.RuleSpec{Line: i, Conditions: &policy.Conditions{Ports: hostname.Ports(443, 80), Ticket: fmt.Sprint(len(rules))}}
			switch how {
			case "any":
				r.Conditions.TLS = policy.TLSAny
			case "ports":
				r.Conditions.Ports = hostname.Ports(80, 443) // the same
			case "ends":
				r.Conditions.Expires = time.Unix(1e9, 0)
			}
			if n := 0; len(what) > 3 && what[:3] == "set" {
				_, _ = fmt.Sscanf(what, "set%d", &n)
				r.Set = n
			} else if prefix, err := netip.ParsePrefix(what); err == nil {
				r.Prefix = prefix
			} else {
				r.Pattern = pattern(t, what)
			}
			f.Rules = append(f.Rules, r)
		}
		s.Functions = append(s.Functions, f)
	}
	p, err := policy.Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestLoadSaysWhatEachFunctionGainedAndLost(t *testing.T) {
	before := of(t, []string{"bad.test", "worse.test"}, [][]string{{"s1.test", "s2.test", "s3.test"}, {"t.test"}}, map[string][]string{
		"same":    {"a.test", "*.a.test", "192.0.2.0/24", "set1"},
		"grown":   {"a.test"},
		"shrunk":  {"a.test", "b.test", "192.0.2.0/24"},
		"changed": {"a.test", "b.test ends", "c.test"},
		"wild":    {"a.test"},
		"by-set":  {"set1", "set2 any"},
		"gone":    {"a.test", "set1"},
		"fewer":   {"set2", "set1"},
		"empty":   nil,
	})
	now := of(t, []string{"worse.test", "worst.test", "more.test"}, [][]string{{"t.test"}, {"s4.test", "s3.test", "s2.test", "s1.test"}}, map[string][]string{
		"same":    {"192.0.2.0/24 ports", "set2", "*.a.test ports", "a.test"},
		"grown":   {"a.test", "b.test", "198.51.100.0/24"},
		"shrunk":  {"b.test"},
		"changed": {"c.test any", "a.test", "b.test"},
		"wild":    {"*.a.test"},
		"by-set":  {"set2", "set1"},
		"new":     nil,
		"fewer":   {"set1", "a.test"},
		"empty":   nil,
	})
	deny, functions := Of(before, now)
	if want := (Change{"", 2, 1}); deny != want {
		t.Errorf("the deny list: %+v, want %+v", deny, want)
	}
	want := []Change{
		{"by-set", 2, 1}, {"changed", 2, 2}, {"fewer", 1, 3}, {"gone", 0, 4}, {"grown", 2, 0}, {"new", 0, 0}, {"same", 1, 0}, {"shrunk", 0, 2}, {"wild", 1, 1},
	}
	if !slices.Equal(functions, want) {
		t.Errorf("%+v\nwant\n%+v", functions, want)
	}
	if deny, functions := Of(now, now); deny != (Change{}) || len(functions) > 0 {
		t.Errorf("against itself: %+v, %+v", deny, functions)
	}
}

// The same file, loaded twice, is another policy with the same rules.
func TestLoadOfTheSameFileHasChangedNothing(t *testing.T) {
	var large []string
	for i := range 10_000 {
		large = append(large, fmt.Sprintf("h%d.test", i))
	}
	load := func() *policy.Policy {
		return of(t, []string{"bad.test"}, [][]string{large}, map[string][]string{"a": {"set1", "x.test"}, "b": {"set1 any"}})
	}
	if deny, functions := Of(load(), load()); deny != (Change{}) || len(functions) > 0 {
		t.Errorf("%+v, %+v", deny, functions)
	}
}

// A set that many functions have is compared once, however many they are.
func TestSetThatManyFunctionsHaveIsComparedOnce(t *testing.T) {
	const size = 100_000
	policies := func(functions int) (old, now *policy.Policy) {
		sets := [2][][]string{{nil}, {nil}}
		for i := range size {
			sets[0][0] = append(sets[0][0], fmt.Sprintf("old%d.test", i))
			sets[1][0] = append(sets[1][0], fmt.Sprintf("new%d.test", i))
		}
		rules := map[string][]string{}
		for i := range functions {
			rules[fmt.Sprintf("f%d", i)] = []string{"set1"}
		}
		return of(t, nil, sets[0], rules), of(t, nil, sets[1], rules)
	}
	const many = 500
	took := [2]time.Duration{time.Hour, time.Hour} // the least of three
	for i, functions := range []int{1, many} {
		old, now := policies(functions)
		for range 3 {
			began := time.Now()
			_, changes := Of(old, now)
			took[i] = min(took[i], time.Since(began))
			if len(changes) != functions || changes[0].Gained != size || changes[0].Lost != size {
				t.Fatalf("%d functions differ, the first by %+v", len(changes), changes[0])
			}
		}
	}
	if took[1] > took[0]*many/20 {
		t.Errorf("%d functions take %v, one takes %v", many, took[1], took[0])
	}
}
