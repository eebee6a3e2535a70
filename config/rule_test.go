package config

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/suggest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/yamlread"
)

// Rules with equal conditions share them. What differs in one thing alone must not.
func TestRulesThatDifferInOneConditionKeepIt(t *testing.T) {
	var text strings.Builder
	var want []policy.Conditions
	for _, c := range []struct {
		text string
		set  func(*policy.Conditions)
	}{
		{"", func(*policy.Conditions) {}},
		{"ports: [443]", func(*policy.Conditions) {}},
		{"ports: [80]", func(c *policy.Conditions) { c.Ports = hostname.Ports(80) }},
		{"ports: [443, 80]", func(c *policy.Conditions) { c.Ports = hostname.Ports(443, 80) }},
		{"ports: [80, 443]", func(c *policy.Conditions) { c.Ports = hostname.Ports(80, 443) }},
		{"ports: [8080]", func(c *policy.Conditions) { c.Ports = hostname.Ports(8080) }},
		{"ports: [443, 8080]", func(c *policy.Conditions) { c.Ports = hostname.Ports(443, 8080) }},
		{"tls: any", func(c *policy.Conditions) { c.TLS = policy.TLSAny }},
		{"expires: 2027-01-31", func(c *policy.Conditions) { c.Expires = day(2027, 2, 1) }},
		{"expires: 2027-02-01", func(c *policy.Conditions) { c.Expires = day(2027, 2, 2) }},
		{"ticket: S-1", func(c *policy.Conditions) { c.Ticket = "S-1" }},
		{"ticket: S-2", func(c *policy.Conditions) { c.Ticket = "S-2" }},
		{"addresses: [10.0.0.0/8]", func(c *policy.Conditions) { c.Addresses = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} }},
		{"addresses: [10.0.0.0/9]", func(c *policy.Conditions) { c.Addresses = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/9")} }},
	} {
		one := policy.Conditions{Ports: hostname.Ports(443)}
		c.set(&one)
		want = append(want, one)
		fmt.Fprintf(&text, "{host: a.test, %s},", c.text)
	}
	got := parse(t, allow("", text.String())).Functions[0].Allow
	for i, c := range want {
		if diff := cmp.Diff(&c, got[i].Conditions, comparers); diff != "" {
			t.Errorf("rule %d (-want +got):\n%s", i, diff)
		}
	}
	if got[0].Conditions != got[1].Conditions {
		t.Error("the long form of the short one does not share its conditions")
	}
}

// A file may have a hundred thousand of them.
func TestConditionsOfAShortRuleAreFoundWithoutWritingThemOut(t *testing.T) {
	r := &reader{conditions: map[string]*policy.Conditions{}}
	short := policy.Conditions{Ports: hostname.Ports(443)}
	if n := testing.AllocsPerRun(100, func() { r.intern(short) }); n > 1 {
		t.Errorf("%v allocations", n)
	}
}

// Which of them is meant is not looked for among many, for every mistake again.
func TestMisspeltSetIsComparedWithFewSetsAlone(t *testing.T) {
	for n, want := range map[int]string{suggest.MaxWords: `did you mean "set1"?`, suggest.MaxWords + 1: "write one that is defined"} {
		var sets strings.Builder
		for i := range n {
			fmt.Fprintf(&sets, "set%d: [],", i)
		}
		_, err := Parse("egress.yaml", []byte(allow("sets: {"+sets.String()+"}\n", "{set: sett1}")), nil)
		if err == nil || !strings.HasSuffix(err.Error(), `there is no set "sett1"; `+want) {
			t.Errorf("of %d sets: %v", n, err)
		}
	}
}

func TestOnlyHostsAreCountedForTooManyRules(t *testing.T) {
	t.Parallel()
	rules := strings.Repeat("{set: s},", maxSameHost+1) + strings.Repeat("{cidr: 203.0.113.0/24, tls: any},", maxSameHost+1)
	if _, err := Parse("egress.yaml", []byte(allow("sets: {s: [a.test]}\n", rules)), nil); err != nil {
		t.Error(err)
	}
}

// ".a.test" is a rule of the name, and of those below it.
func TestARuleForANameAndThoseBelowCountsAsEach(t *testing.T) {
	t.Parallel()
	for _, other := range []string{"a.test", `"*.a.test"`} {
		rules := strings.Repeat(".a.test,", maxSameHost/2) + strings.Repeat(other+",", maxSameHost/2)
		if _, err := Parse("egress.yaml", []byte(allow("", rules)), nil); err != nil {
			t.Errorf("%s: %v", other, err)
		}
		if _, err := Parse("egress.yaml", []byte(allow("", rules+other)), nil); err == nil || !strings.Contains(err.Error(), "has more than 1000 rules") {
			t.Errorf("%s: %v", other, err)
		}
	}
}

// Each by itself would be megabytes for a list that is loaded beside the one in use.
func TestManyHostsAreCountedTogether(t *testing.T) {
	rules := make([]policy.RuleSpec, 50_000)
	for i := range rules {
		rules[i].Pattern = pat(t, fmt.Sprintf("a%d.test", i))
	}
	r := &reader{}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r.checkRepeats(yamlread.Node{}, rules)
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
		t.Errorf("%d bytes are allocated for %d hosts", got, len(rules))
	}
}
