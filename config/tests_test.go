package config

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// tested is a policy with rules of each kind and those tests.
func tested(tests string) string {
	return `version: 1
deny: [denied.test]
functions:
  a:
    identify: {sources: [10.0.1.0/24]}
    allow: [x.test, denied.test, {host: old.test, expires: 2000-01-01}, {host: p.test, ports: [8000-8010]}, {cidr: 203.0.113.0/24}]
  b:
    identify: {sources: [10.0.2.0/24]}
    mode: report
    report_until: 2999-12-31
    allow: [.y.test]
tests:
` + tests
}

func TestAPolicyPassesItsTestsOrIsNone(t *testing.T) {
	for test, want := range map[string]string{
		`{function: a, allow: ["x.test:443", "X.TEST.:443", "old.test:443", "p.test:8005", "203.0.113.9:443"]}`:                                      "",
		`{function: a, refuse: ["x.test:80", "denied.test:443", "p.test:8011", "z.test:443", "203.0.114.9:443", "169.254.169.254:80", "[::1]:443"]}`: "",
		`{function: b, allow: ["y.test:443", "a.y.test:443"], refuse: ["x.test:443"]}`:                                                               "",
		`{every: true, refuse: ["169.254.169.254:80", "evil.example:443"]}`:                                                                          "",
		`{every: false, function: a, allow: ["x.test:443"]}`:                                                                                         "",

		`{function: a, allow: ["z.test:443"]}`:      "egress.yaml:13: tests[0].allow[0]: the test fails: a may not reach z.test:443, host_not_allowed; change the rules, or the test",
		`{function: a, allow: ["denied.test:443"]}`: "egress.yaml:13: tests[0].allow[0]: the test fails: a may not reach denied.test:443, host_denied, by deny[0] (line 2); change the rules, or the test",
		`{function: a, allow: ["x.test:80"]}`:       "egress.yaml:13: tests[0].allow[0]: the test fails: a may not reach x.test:80, port_not_allowed, by functions.a.allow[0] (line 6); change the rules, or the test",
		`{function: a, refuse: ["old.test:443"]}`:   "egress.yaml:13: tests[0].refuse[0]: the test fails: a may reach old.test:443, by functions.a.allow[2] (line 6); change the rules, or the test",
		`{function: b, allow: ["x.test:443"]}`:      "egress.yaml:13: tests[0].allow[0]: the test fails: b may not reach x.test:443, host_not_allowed; change the rules, or the test",
		`{every: true, refuse: ["x.test:443"]}`:     "egress.yaml:13: tests[0].refuse[0]: the test fails: a may reach x.test:443, by functions.a.allow[0] (line 6); change the rules, or the test",
		`{every: true, allow: ["x.test:443"]}`:      "egress.yaml:13: tests[0].allow[0]: the test fails: b may not reach x.test:443, host_not_allowed; change the rules, or the test",

		`{function: c, allow: ["x.test:443"]}`:              `egress.yaml:13: tests[0].function: there is no function "c" that tests of this file may be about; `,
		`{function: "", allow: ["x.test:443"]}`:             "egress.yaml:13: tests[0].function: it is empty; ",
		`{function: a, every: true, allow: ["x.test:443"]}`: "egress.yaml:13: tests[0]: it is about no function, or about one and every; ",
		`{allow: ["x.test:443"]}`:                           "egress.yaml:13: tests[0]: it is about no function, or about one and every; ",
		`{every: false, allow: ["x.test:443"]}`:             "egress.yaml:13: tests[0]: it is about no function, or about one and every; ",
		`{}`:                                                "egress.yaml:13: tests[0]: it is about no function, or about one and every; ",
		`{function: a}`:                                     "egress.yaml:13: tests[0]: it asks nothing; ",
		`{function: a, allow: [], refuse: []}`:              "egress.yaml:13: tests[0]: it asks nothing; ",
		`{function: a, allow: [x.test]}`:                    `egress.yaml:13: tests[0].allow[0]: "x.test" is not a target: no port; write a host and a port, such as api.example.com:443`,
		`{function: a, allow: ["*.x.test:443"]}`:            `egress.yaml:13: tests[0].allow[0]: "*.x.test:443" is not a target: `,
		`{function: a, allow: x.test}`:                      "egress.yaml:13: tests[0].allow: it is a single value; write a list",
		`{function: a, deny: ["x.test:443"]}`:               "egress.yaml:13: tests[0].deny: no such key; ",
		`x`:                                                 "egress.yaml:13: tests[0]: it is a single value; write keys and values",
	} {
		cfg, err := Parse("egress.yaml", []byte(tested("  - "+test+"\n")), nil)
		if want == "" && err != nil || want != "" && (cfg != nil || err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%s: %v\nwant %s", test, err, want)
		}
	}
}

// What is compiled for the tests is what Compile returns; without tests it is compiled then.
func TestATestedPolicyIsCompiledOnce(t *testing.T) {
	cfg := parse(t, tested("  - {every: true, refuse: ['evil.example:443']}\n"))
	p, _, err := cfg.Compile()
	if err != nil || p != cfg.compiled || p.Hash() != cfg.Hash() || p.Rules() != 7 {
		t.Errorf("%v, %v", p, err)
	}
	if cfg := parse(t, minimal); cfg.compiled != nil {
		t.Error("one without tests is compiled")
	}
}

func TestManyTestsRunAndTooManyAreRefused(t *testing.T) {
	if _, err := Parse("egress.yaml", []byte(tested(strings.Repeat("  - {function: a, allow: ['x.test:443']}\n", 100_000))), nil); err != nil {
		t.Error(err)
	}
	_, err := Parse("egress.yaml", []byte(tested(strings.Repeat("  - {function: a, allow: ['z.test:443']}\n", 100_000))), nil)
	if err == nil || strings.Count(err.Error(), "\n") != 1000 || !strings.HasSuffix(err.Error(), "there are more than 1000 problems; the rest is not listed") {
		t.Errorf("%d problems", strings.Count(fmt.Sprint(err), "\n"))
	}
	var many strings.Builder
	many.WriteString("version: 1\nfunctions:\n")
	for i := range 1001 {
		fmt.Fprintf(&many, "  f%d: {identify: {sources: [10.%d.%d.0/24]}, allow: []}\n", i, i/256, i%256)
	}
	_, err = Parse("egress.yaml", []byte(many.String()+"tests:\n"+strings.Repeat("  - {every: true, refuse: ['x.test:443']}\n", 1000)), nil)
	if want := "egress.yaml:2004: tests[999]: the tests up to here ask more than 1000000 questions; write fewer, or about fewer functions"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// A team's tests are about its functions: they cannot fail for what others may reach.
func TestTestsOfAnIncludedFileAreAboutItsFunctions(t *testing.T) {
	team := "functions: {" + function("a-1", 1, "x.test") + "}\ntests:\n  - "
	for test, want := range map[string]string{
		`{every: true, allow: ["x.test:443"], refuse: ["y.test:443"]}`: "",
		`{function: a-1, allow: ["x.test:443"]}`:                       "",
		`{function: a-1, allow: ["y.test:443"]}`:                       "t/a.yaml:3: tests[0].allow[0]: the test fails: a-1 may not reach y.test:443, host_not_allowed; ",
		`{function: a-1, refuse: ["x.test:443"]}`:                      "t/a.yaml:3: tests[0].refuse[0]: the test fails: a-1 may reach x.test:443, by functions.a-1.allow[0] (t/a.yaml:1); ",
		`{function: main, refuse: ["y.test:443"]}`:                     `t/a.yaml:3: tests[0].function: there is no function "main" that tests of this file may be about; `,
	} {
		f := files{"egress.yaml": including("may: {ports: [443]}") + "functions: {" + function("main", 2, "y.test") + "}\ntests: [{every: true, refuse: ['z.test:443']}, {function: a-1, allow: ['x.test:443']}]\n", "t/a.yaml": team + test + "\n"}
		cfg, err := f.parse()
		if want == "" && err != nil || want != "" && (cfg != nil || err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%s: %v\nwant %s", test, err, want)
		}
	}
}

// A policy that fails a test does not load from a file either, which is what check, run and
// reload do.
func TestAFileThatFailsItsTestDoesNotLoad(t *testing.T) {
	path := t.TempDir() + "/egress.yaml"
	for test, good := range map[string]bool{"  - {every: true, refuse: ['z.test:443']}\n": true, "  - {every: true, refuse: ['y.test:443']}\n": false} {
		if err := os.WriteFile(path, []byte(tested(test)), 0o600); err != nil {
			t.Fatal(err)
		}
		if cfg, err := Load(path); (err == nil) != good || (cfg != nil) != good {
			t.Errorf("%s: %v", test, err)
		}
	}
}
