package lint_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/diff"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/lint"
)

// noon is when these tests look at policies.
var noon = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// load parses a policy.
func load(t *testing.T, text string) *config.Config {
	t.Helper()
	cfg, err := config.Parse("egress.yaml", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// find returns the findings about a policy.
func find(t *testing.T, cfg *config.Config) []lint.Finding {
	t.Helper()
	all, err := lint.Of(cfg, "egress.yaml", noon)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestEachKindOfFindingHasItsLineAndItsCure(t *testing.T) {
	cfg := load(t, `version: 1
deny: ["*.evil.example", evil.example]
sets:
  used: [api.github.com]
  unused: [a.example]
  empty: []
functions:
  billing:
    owner: payments
    identify: {sources: [10.0.1.0/24]}
    allow:
      - a.example.org
      - "*.example.org"
      - x.evil.example
      - "*.y.evil.example"
      - set: used
      - set: empty
      - {host: "*.github.io", shared_suffix: true}
      - s3.eu-west-1.amazonaws.com
      - bucket.s3.eu-west-1.amazonaws.com
      - {host: old.example, expires: 2026-12-02}
      - {cidr: 10.1.0.0/16}
      - {cidr: 10.0.0.0/8}
  idle:
    identify: {sources: [10.0.2.0/24]}
    allow: []
`)
	var got strings.Builder
	for _, f := range find(t, cfg) {
		fmt.Fprintln(&got, f)
	}
	want := `egress.yaml:4: sets.used: api.github.com: anyone can write to gists and repositories of their own; send it through a service of your own that knows the one address [anyone-can-post]
egress.yaml:5: sets.unused: no rule names it; take it out, or name it in a rule [unused-set]
egress.yaml:12: functions.billing.allow[0]: all that it allows is allowed without it, by line 13; take it out [covered]
egress.yaml:14: functions.billing.allow[2]: it allows nothing: deny[0] (line 2) has it; take it out [never-fits]
egress.yaml:15: functions.billing.allow[3]: it allows nothing: deny[0] (line 2) has all of it; take it out [never-fits]
egress.yaml:17: functions.billing.allow[5]: it allows nothing: the set has no pattern; take it out [never-fits]
egress.yaml:18: functions.billing.allow[6]: *.github.io covers names that anyone can rent; write the names that are needed [shared-suffix]
egress.yaml:19: functions.billing.allow[7]: s3.eu-west-1.amazonaws.com: every account's buckets are behind it; write bucket.s3.REGION.amazonaws.com [anyone-can-post]
egress.yaml:21: functions.billing: the rule of "billing" in line 21 ends at 2026-12-03T00:00:00Z: what it allows is refused then; ask its owner, and take it out or give it another day [ends-soon]
egress.yaml:22: functions.billing.allow[10]: all that it allows is allowed without it, by line 23; take it out [covered]
egress.yaml:24: functions.idle: it has no owner; write owner: and who is to be asked about it [no-owner]
`
	if got.String() != want {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
}

func TestAGoodPolicyHasNoFindings(t *testing.T) {
	cfg := load(t, `version: 1
deny: [x.example.org]
sets: {used: [c.example]}
functions:
  billing:
    owner: payments
    identify: {sources: [10.0.1.0/24]}
    allow:
      - "*.example.org"
      - {host: a.example.org, tls: any}
      - {host: b.example.org, ports: [443, 22]}
      - {host: d.example.org, addresses: [10.0.0.0/8]}
      - {set: used, expires: 2027-12-31}
      - c.example
      - bucket.s3.eu-west-1.amazonaws.com
      - account.blob.core.windows.net
      - .example.net
`)
	if all := find(t, cfg); len(all) > 0 {
		t.Errorf("got %v", all)
	}
}

func TestAWildcardThatTheDenyListHasWholeAllowsNothing(t *testing.T) {
	for pattern, never := range map[string]bool{"*.evil.example": true, "*.x.evil.example": true, "*.example.org": false, "evil.example": false, "*.notevil.example": false, ".evil.example": false, ".x.evil.example": true} {
		all := find(t, load(t, "version: 1\ndeny: [\"*.evil.example\", x.example.org]\nfunctions: {f: {owner: o, identify: {sources: [10.0.1.0/24]}, allow: [\""+pattern+"\"]}}\n"))
		if found := len(all) == 1 && all[0].Kind == lint.NeverFit; found != never || !never && len(all) > 0 {
			t.Errorf("%s: got %v", pattern, all)
		}
	}
}

// In report mode the rule that is nearest says at which addresses a host may be reached on
// other ports, though another one allows all that it does.
func TestOfAFunctionInReportModeNoRuleIsCovered(t *testing.T) {
	for mode, want := range map[string]int{"": 1, "mode: report, report_until: 2026-11-29, ": 1, "mode: report, report_until: 2026-12-31, ": 0} {
		found := 0
		for _, f := range find(t, load(t, "version: 1\nfunctions: {f: {owner: o, "+mode+"identify: {sources: [10.0.1.0/24]}, allow: [a.example.org, \"*.example.org\"]}}\n")) {
			if f.Kind == lint.Covered {
				found++
			}
		}
		if found != want {
			t.Errorf("%q: %d are covered, want %d", mode, found, want)
		}
	}
}

// rule is a random rule of few, which overlap a great deal.
func rule(g *rand.Rand) string {
	one := func(all ...string) string { return all[g.IntN(len(all))] }
	what := "host: " + one(`a.b.example`, `b.b.example`, `"*.b.example"`, `a.a.b.example`, `"*.a.b.example"`, `c.example`, `.b.example`, `.a.b.example`)
	switch g.IntN(8) {
	case 0:
		what = "set: s"
	case 1:
		what = "cidr: " + one("10.0.0.0/8", "10.1.0.0/16", "10.1.1.0/24", "1.1.0.0/16")
	}
	r := "{" + what + one("", "", ", ports: [443, 22]", ", ports: [22]", ", ports: [80, 443]", ", ports: [22-80]", ", ports: [80-443, 22]") + one("", "", ", tls: any") + one("", "", ", expires: 2026-12-31", ", expires: 2027-12-31")
	if strings.HasPrefix(what, "host") {
		r += one("", "", "", ", addresses: [10.0.0.0/8]")
	}
	return r + "}"
}

// What lint calls covered can be taken out, all of it: then diff has nothing to say.
func TestWhatIsCoveredCanBeTakenOutAndNothingChanges(t *testing.T) {
	covered, rules := 0, 0
	for seed := range 400 {
		g := rand.New(rand.NewPCG(uint64(seed), 3))
		text := "version: 1\nsets: {s: [a.b.example, \"*.a.b.example\"]}\nfunctions:\n  f:\n    owner: o\n    identify: {sources: [10.0.1.0/24]}\n    allow:\n"
		for range 2 + g.IntN(6) {
			text += "      - " + rule(g) + "\n"
			rules++
		}
		cfg := load(t, text)
		found := find(t, cfg)
		less := cfg.Spec()
		less.Functions[0].Rules = slices.DeleteFunc(slices.Clone(less.Functions[0].Rules), func(r policy.RuleSpec) bool {
			return slices.ContainsFunc(found, func(f lint.Finding) bool { return f.Kind == lint.Covered && f.Line == r.Line })
		})
		covered += len(cfg.Functions[0].Allow) - len(less.Functions[0].Rules)
		d, err := diff.Compare(diff.Side{Spec: cfg.Spec()}, diff.Side{Spec: less}, noon)
		if err != nil || len(d.Functions) > 0 {
			t.Fatalf("%s\n%v\nwithout them %+v, %v", text, found, d.Functions, err)
		}
	}
	if covered < rules/20 {
		t.Errorf("%d of %d rules are covered: the test says little", covered, rules)
	}
}
