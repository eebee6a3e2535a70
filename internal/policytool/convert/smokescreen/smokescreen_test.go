package smokescreen_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/convert"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/convert/smokescreen"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// The files say what those say that Smokescreen's own tests of its ACL read.
const (
	plain = `---
version: v1
services:
  - name: enforcing
    project: people
    action: enforce
    allowed_domains: [one.example, two.example]
  - name: reporting
    project: safety
    action: report
    allowed_domains:
      - three.example
  - name: globbing
    project: none
    action: enforce
    allowed_domains: ["*.glob.example"]
default:
  project: rest
  action: enforce
  allowed_domains: [default.glob.example]
`
	global = `version: v1
services:
  - {name: enforcing, project: people, action: enforce, allowed_domains: [one.example]}
  - {name: reporting, project: safety, action: report, allowed_domains: [three.example]}
default: {project: rest, action: report, allowed_domains: [default.glob.example]}
global_allow_list: [good1.example, good2.example, both.example]
global_deny_list: [bad1.example, bad2.example, both.example]
`
	override = `version: v1
services:
  - {name: enforcing, project: people, action: enforce, allowed_domains: [one.example, bad1.example]}
global_allow_list: [good1.example, both.example]
global_deny_list: [bad1.example, bad2.example, both.example]
`
	open         = "version: v1\nservices:\n  - {name: opening, project: a, action: open}\n"
	noDefault    = "version: v1\nservices:\n  - {name: enforcing, action: enforce, allowed_domains: [one.example]}\n"
	reportingToo = "  - {name: reporting, action: report}\n"
	until        = "2999-12-31"
)

// What Smokescreen's own tests expect of its ACL, the policy decides too.
func TestPublishedCasesOfSmokescreenHaveTheSameVerdict(t *testing.T) {
	for name, c := range map[string]struct {
		acl, service, host string
		want               string // allow, report, deny
	}{
		"allowed by list when enforcing":               {plain, "enforcing", "one.example", "allow"},
		"disallowed when enforcing":                    {plain, "enforcing", "www.one.example", "deny"},
		"allowed by list when reporting":               {plain, "reporting", "three.example", "allow"},
		"reported when reporting":                      {plain, "reporting", "one.example", "report"},
		"deny by glob":                                 {plain, "globbing", "shouldbreak.example", "deny"},
		"deny by glob missing subdomain":               {plain, "globbing", "glob.example", "deny"},
		"allow by glob":                                {plain, "globbing", "api.glob.example", "allow"},
		"deny from default":                            {plain, "unlisted", "nope.glob.example", "deny"},
		"allow from default list":                      {plain, "unlisted", "default.glob.example", "allow"},
		"allow from global allowlist enforce service":  {global, "enforcing", "good1.example", "allow"},
		"allow from global allowlist unknown service":  {global, "unlisted", "good2.example", "allow"},
		"allowed domains override the global denylist": {override, "enforcing", "bad1.example", "allow"},
		"deny from global denylist report service":     {global, "reporting", "bad1.example", "deny"},
		"deny from global denylist unknown service":    {global, "unlisted", "bad2.example", "deny"},
		"deny from conflicting lists":                  {global, "enforcing", "both.example", "deny"},
		"deny from conflicting lists, reporting":       {global, "reporting", "both.example", "deny"},
		"deny from conflicting lists, no deny line":    {override, "enforcing", "both.example", "deny"},
		"unknown service without default":              {noDefault, "unlisted", "one.example", "deny"},
	} {
		o := smokescreen.Options{ReportUntil: until}
		if strings.Contains(c.acl, "default:") {
			o.DefaultFor = []string{"unlisted"}
		}
		p, err := converted(c.acl, o)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, port := range []uint16{80, 443, 8443} {
			if got := decided(t, p, c.service, c.host, port); got != c.want {
				t.Errorf("%s: %s, port %d", name, got, port)
			}
		}
	}
}

func TestWhatNoPolicySaysIsNamedWithItsLine(t *testing.T) {
	service := func(keys string) string {
		return "version: v1\nservices:\n  - name: a\n    action: enforce\n    " + keys + "\n"
	}
	for _, c := range []struct {
		acl  string
		want string
	}{
		{open, "acl:3: services[0].action: open allows every host"},
		{noDefault + reportingToo, "acl:4: services[1].action: report mode needs an end; give its last day with --report-until"},
		{noDefault + "default: {action: enforce, allowed_domains: [a.example]}\n", "acl:4: default: no function is everybody else"},
		{noDefault + "default: {action: report}\n", "acl:4: default.action: report mode needs an end"},
		{noDefault + "default: {action: enforce}\nglobal_allow_list: [a.example]\n", "acl:4: default: no function is everybody else"},
		{service("allowed_domains: [\"*.com\"]"), `acl:5: services[0].allowed_domains[0]: "*.com" covers every name of a public registry`},
		{service("allowed_domains: [\"a.*.example\"]"), `acl:5: services[0].allowed_domains[0]: "a.*.example" is not a pattern`},
		{service("allowed_domains: [\"*\"]"), `acl:5: services[0].allowed_domains[0]: "*" is`},
		{service("allowed_domains: [.example.org]"), `".example.org" is no glob of Smokescreen`},
		{service("allowed_domains: [203.0.113.7]"), `"203.0.113.7" is an address, not a name; write a rule with cidr`},
		{service("allowed_external_proxies: [p.example]"), "acl:5: services[0].allowed_external_proxies[0]: no request goes on to another proxy"},
		{service("mitm_domains: [{domain: a.example}]"), "acl:5: services[0].mitm_domains[0]: TLS is not opened"},
		{service("allowed_domain: [a.example]"), `acl:5: services[0].allowed_domain: no such key; did you mean "allowed_domains"?`},
		{"version: v1\nservices: [{name: a b, action: enforce}]", `acl:2: services[0].name: "a b" cannot be the name of a function`},
		{"version: v1\nservices: [{name: a, action: enforce}, {name: a, action: enforce}]", `acl:2: services[1].name: service "a" is there already`},
		{"version: v1\nservices: [{name: a, action: permit}]", `acl:2: services[0].action: "permit" is not known`},
		{"version: v1\nservices: [{name: a}]", `acl:2: services[0]: the key "action" is missing`},
		{"version: v2\nservices: []", `acl:1: version: "v2" is not known`},
		{"services: []", `acl:1: file: the key "version" is missing`},
		{"version: v1", `the key "services" is missing`},
	} {
		_, err := smokescreen.Read("acl", []byte(c.acl), smokescreen.Options{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q:\n%v, want\n%s", c.acl, err, c.want)
		}
	}
	// There the domain goes before the deny list, and the list is needed for who reports.
	_, err := smokescreen.Read("acl", []byte(strings.Replace(override, "global_allow", reportingToo+"global_allow", 1)), smokescreen.Options{ReportUntil: until})
	if want := "acl:3: services[0].allowed_domains[1]: the service allows bad1.example although global_deny_list has bad1.example (line 6)"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v", err)
	}
	for want, o := range map[string]smokescreen.Options{
		`acl:1: default: there is none, and "b" is to have it`: {DefaultFor: []string{"b"}},
	} {
		if _, err := smokescreen.Read("acl", []byte(noDefault), o); err == nil || err.Error() != want+"; leave --default-for out" {
			t.Errorf("%v, want %s", err, want)
		}
	}
	for _, who := range []string{"enforcing", "a b"} {
		if _, err := smokescreen.Read("acl", []byte(plain), smokescreen.Options{ReportUntil: until, DefaultFor: []string{who}}); err == nil || !strings.Contains(err.Error(), who) {
			t.Errorf("the default for %q: %v", who, err)
		}
	}
}

func TestTLSOnlyNarrowsEachRule(t *testing.T) {
	p, err := converted(plain, smokescreen.Options{ReportUntil: until, DefaultFor: []string{"unlisted"}, TLSOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	for port, want := range map[uint16]string{443: "allow", 80: "deny", 8443: "deny"} {
		if got := decided(t, p, "globbing", "api.glob.example", port); got != want {
			t.Errorf("port %d: %s", port, got)
		}
	}
}

// acl is a random one, in the words of its file.
type acl struct {
	services    []rule
	allow, deny []string
}

type rule struct {
	action  string
	domains []string
}

// decide is what Smokescreen does, written down slowly.
func (a *acl) decide(r rule, host string) string {
	matches := func(globs []string) bool {
		return slices.ContainsFunc(globs, func(glob string) bool {
			below, wild := strings.CutPrefix(glob, "*")
			return wild && strings.HasSuffix(host, below) || host == glob
		})
	}
	switch {
	case matches(r.domains):
		return "allow"
	case matches(a.deny):
		return "deny"
	case matches(a.allow):
		return "allow"
	case r.action == "report":
		return "report"
	default:
		return "deny"
	}
}

func (a *acl) text() string {
	list := func(all []string) string {
		return `["` + strings.Join(all, `", "`) + `"]`
	}
	var b strings.Builder
	b.WriteString("version: v1\nservices:\n")
	for i, r := range a.services {
		fmt.Fprintf(&b, "  - {name: s%d, action: %s, allowed_domains: %s}\n", i, r.action, list(r.domains))
	}
	fmt.Fprintf(&b, "global_allow_list: %s\nglobal_deny_list: %s\n", list(a.allow), list(a.deny))
	return b.String()
}

// Whatever the lists have in common: a policy comes to the same verdict, or there is none.
func TestRandomACLsAreConvertedToTheSameVerdictsOrNotAtAll(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	globs := []string{"a.example", "*.a.example", "b.a.example", "*.b.a.example", "c.example", "*.d.example", "x.d.example"}
	hosts := []string{"a.example", "b.a.example", "z.b.a.example", "q.a.example", "c.example", "d.example", "x.d.example", "y.x.d.example", "za.example"}
	some := func() (all []string) {
		for range 1 + random.IntN(3) {
			all = append(all, globs[random.IntN(len(globs))])
		}
		return all
	}
	done, refused := 0, 0
	for range 100 {
		a := acl{allow: some(), deny: some()}
		for range 1 + random.IntN(2) {
			a.services = append(a.services, rule{[]string{"enforce", "enforce", "report"}[random.IntN(3)], some()})
		}
		p, err := converted(a.text(), smokescreen.Options{ReportUntil: until})
		if err != nil {
			if !strings.Contains(err.Error(), "a deny line wins over every rule") {
				t.Fatalf("%v of\n%s", err, a.text())
			}
			refused++
			continue
		}
		done++
		for i, r := range a.services {
			for _, host := range hosts {
				if got, want := decided(t, p, fmt.Sprintf("s%d", i), host, 443), a.decide(r, host); got != want {
					t.Fatalf("s%d %s: %s, Smokescreen: %s\n%s", i, host, got, want, a.text())
				}
			}
		}
	}
	if done < 20 || refused < 20 {
		t.Errorf("%d were converted, %d refused: the test says little", done, refused)
	}
}

// converted converts an ACL, each of whose services has a source, and loads what comes out.
func converted(acl string, o smokescreen.Options) (*policy.Policy, error) {
	p, err := smokescreen.Read("acl", []byte(acl), o)
	if err != nil {
		return nil, err
	}
	callers := "version: 1\nfunctions:\n"
	for i, f := range p.Functions {
		callers += fmt.Sprintf("  %s: {identify: {sources: [10.0.%d.0/24]}}\n", f.Name, i)
	}
	data, err := convert.Assemble(p, convert.Callers{Name: "callers", Data: []byte(callers)}, nil)
	if err != nil {
		return nil, err
	}
	cfg, err := config.Parse("egress.yaml", data, nil)
	if err != nil {
		return nil, err
	}
	compiled, _, err := cfg.Compile()
	return compiled, err
}

// decided asks the policy. A caller that is no function is refused.
func decided(t *testing.T, p *policy.Policy, function, host string, port uint16) string {
	t.Helper()
	target, err := hostname.ParseTarget(fmt.Sprintf("%s:%d", host, port))
	if err != nil {
		t.Fatal(err)
	}
	f := p.Function(function)
	if f == nil {
		return "deny"
	}
	now := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	d := p.Decide(f, target, now)
	switch {
	case d.Verdict == verdict.Allow:
		return "allow"
	case d.Verdict == verdict.Report:
		return "report"
	default:
		return "deny"
	}
}
