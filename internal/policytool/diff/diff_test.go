package diff_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/diff"
)

// side parses a policy whose function f has these keys, after whatever else it has.
func side(t *testing.T, other, function string) diff.Side {
	t.Helper()
	text := "version: 1\n" + other + "\nfunctions:\n  g: {identify: {sources: [10.0.2.0/24]}, allow: []}\n"
	if function != "" {
		text += "  f: {identify: {sources: [10.0.1.0/24]}, " + function + "}\n"
	}
	cfg, err := config.Parse("egress.yaml", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	return diff.Side{File: "egress.yaml", Spec: cfg.Spec()}
}

// compare compares two versions of the policy of side.
func compare(t *testing.T, oldOther, old, newOther, fresh string) *diff.Diff {
	t.Helper()
	d, err := diff.Compare(side(t, oldOther, old), side(t, newOther, fresh), noon)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestFilesThatMeanTheSameDifferInNothing(t *testing.T) {
	for _, c := range []struct{ name, oldOther, old, newOther, fresh string }{
		{"another order", "", `allow: [a.example, b.example]`, "", `allow: [b.example, a.example]`},
		{"a rule that a wildcard covers", "", `allow: ["*.example.org"]`, "", `allow: ["*.example.org", a.example.org, "*.b.example.org"]`},
		{"a set for a list", "", `allow: [a.example, b.example]`, "sets: {s: [b.example, a.example]}", `allow: [{set: s}]`},
		{"a set by another name", "sets: {s: [a.example]}", `allow: [{set: s}]`, "sets: {z: [], t: [a.example]}", `allow: [{set: t}]`},
		{"ports in one rule or two", "", `allow: [{host: a.example, ports: [443, 22]}]`, "", `allow: [a.example, {host: a.example, ports: [22]}]`},
		{"a rule that the deny list has whole", `deny: ["*.evil.example"]`, `allow: [x.evil.example]`, `deny: ["*.evil.example"]`, `allow: []`},
		{"a deny line that takes nothing out", "", `allow: [a.example]`, `deny: [b.example]`, `allow: [a.example]`},
		{"a rule that is over", "", `allow: [{host: a.example, expires: 2026-11-29}]`, "", `allow: []`},
		{"a report mode that is over", "", `mode: report, report_until: 2026-11-29, allow: []`, "", `allow: []`},
		{"ranges that are public anyway", "", `allow: [{host: a.example, addresses: [8.8.8.0/24]}]`, "", `allow: [a.example]`},
		{"a range in two halves", "", `allow: [{cidr: 10.0.0.0/8}]`, "", `allow: [{cidr: 10.0.0.0/9}, {cidr: 10.128.0.0/9}]`},
		{"a ticket", "", `allow: [{host: a.example, ticket: T-1}]`, "", `allow: [a.example]`},
		{"a function that may reach nothing", "", "", "", `allow: []`},
		{"spelling", "", `allow: [A.Example., "Bücher.example"]`, "", `allow: [a.example, xn--bcher-kva.example]`},
		{"rules in report mode", "", `mode: report, report_until: 2999-12-31, allow: [{host: a.example, expires: 2999-12-31}]`, "", `mode: report, report_until: 2999-12-31, allow: []`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := compare(t, c.oldOther, c.old, c.newOther, c.fresh); len(d.Functions) > 0 || d.Gains() {
				t.Errorf("got %+v", d.Functions)
			}
			if d := compare(t, c.newOther, c.fresh, c.oldOther, c.old); len(d.Functions) > 0 || d.Gains() {
				t.Errorf("the other way round: got %+v", d.Functions)
			}
		})
	}
}

func TestWhatIsGainedAndLostIsSaidExactly(t *testing.T) {
	for _, c := range []struct{ name, oldOther, old, newOther, fresh, want string }{
		{"a host", "", `allow: []`, "", `allow: [a.example]`, "gains a.example on port 443"},
		{"a wildcard over rules that stay", "sets: {s: [b.x.example, other.example]}", `allow: [{set: s}, a.x.example]`, "sets: {s: [b.x.example, other.example]}", `allow: [{set: s}, a.x.example, "*.x.example"]`,
			"gains *.x.example but for a.x.example, b.x.example on port 443"},
		{"a wildcard in a set beside what stays", "sets: {s: [b.x.example, other.example]}", `allow: [{set: s}]`, "sets: {s: [\"*.x.example\", other.example, b.x.example]}", `allow: [{set: s}]`,
			"gains *.x.example but for b.x.example on port 443"},
		{"a name of a set", "sets: {s: [b.x.example, other.example]}", `allow: [{set: s}]`, "sets: {s: [b.x.example, new.example]}", `allow: [{set: s}]`,
			"gains new.example on port 443\nloses other.example on port 443"},
		{"a name of a set for one of the list", "sets: {s: [b.example]}", `allow: [{set: s}, a.example]`, "sets: {s: [a.example]}", `allow: [{set: s}, a.example]`,
			"loses b.example on port 443"},
		{"a function", "", "", "", `allow: [a.example]`, "gains a.example on port 443"},
		{"a function that goes", "", `allow: [a.example]`, "", "", "loses a.example on port 443"},
		{"a wildcard over what there was", "", `allow: [a.example.org]`, "", `allow: ["*.example.org"]`, "gains *.example.org but for a.example.org on port 443"},
		{"a wildcard with a hole", `deny: ["*.b.example.org", c.example.org]`, `allow: []`, `deny: ["*.b.example.org", c.example.org]`, `allow: ["*.example.org"]`,
			"gains *.example.org but for *.b.example.org, c.example.org on port 443"},
		{"a deny line that goes", `deny: ["*.b.example.org"]`, `allow: ["*.example.org"]`, "", `allow: ["*.example.org"]`, "gains *.b.example.org on port 443"},
		{"a deny line above", "", `allow: ["*.example.org"]`, `deny: ["*.org"]`, `allow: ["*.example.org"]`, "loses *.example.org on port 443"},
		{"a port", "", `allow: [a.example]`, "", `allow: [{host: a.example, ports: [22, 443, 80]}]`, "gains a.example on ports 22, 80"},
		{"no TLS", "", `allow: [a.example]`, "", `allow: [{host: a.example, tls: any}]`, "gains a.example on port 443, what is not TLS to it"},
		{"an address", "", `allow: [a.example]`, "", `allow: [{host: a.example, addresses: [10.0.0.0/8]}]`, "gains a.example on port 443, only at 10.0.0.0/8"},
		{"a host with an address", "", `allow: []`, "", `allow: [{host: a.example, ports: [5432], tls: any, addresses: [10.0.0.0/8]}]`,
			"gains a.example on port 5432, any protocol, also at 10.0.0.0/8"},
		{"a narrower address", "", `allow: [{host: a.example, addresses: [10.0.0.0/8]}]`, "", `allow: [{host: a.example, addresses: [10.1.0.0/16]}]`,
			"loses a.example on port 443, only at 10.0.0.0/8 but for 10.1.0.0/16"},
		{"a later end", "", `allow: [{host: a.example, expires: 2027-01-31}]`, "", `allow: [{host: a.example, expires: 2027-03-31}]`,
			"gains a.example on port 443, from 2027-02-01 until 2027-03-31"},
		{"an end", "", `allow: [a.example]`, "", `allow: [{host: a.example, expires: 2027-01-31}]`, "loses a.example on port 443, from 2027-02-01"},
		{"a range", "", `allow: [{cidr: 10.1.0.0/16}]`, "", `allow: [{cidr: 10.0.0.0/8, ports: [22, 443]}]`,
			"gains 10.0.0.0/8 on port 22\ngains 10.0.0.0/8 but for 10.1.0.0/16 on port 443"},
		{"a range with public addresses", "", `allow: []`, "", `allow: [{cidr: 10.0.0.0/7}, {cidr: 1.1.1.0/24, tls: any}]`,
			"gains 1.1.1.0/24 on port 443, any protocol\ngains 10.0.0.0/7 on port 443"},
		{"a range for another", "", `allow: [{cidr: 10.0.0.0/8}]`, "", `allow: [{cidr: 192.168.0.0/16}]`,
			"gains 192.168.0.0/16 on port 443\nloses 10.0.0.0/8 on port 443"},
		{"a range whose ends no rule opens", "", `allow: []`, "", `allow: [{cidr: "2001::/32"}]`, "gains 2001::/32 on port 443"},
		// Report mode reaches public addresses anyway; the range of a rule opens the others, for
		// whatever port. They are a small part, or have no range of their own (ISATAP).
		{"a range in report mode", "", report + `allow: []`, "", report + `allow: [{cidr: 203.0.0.0/8}, {cidr: "2600::/16"}]`,
			"gains 203.0.0.0/8 on port 443, from 2027-01-01\n" +
				"gains the special addresses of 203.0.0.0/8 on every port, any protocol, until 2026-12-31\n" +
				"gains 2600::/16 on port 443, from 2027-01-01\n" +
				"gains the special addresses of 2600::/16 on every port, any protocol, until 2026-12-31"},
		{"report mode over a range that is not public", "", `allow: [{cidr: 10.0.0.0/8, tls: any}]`, "", report + `allow: [{cidr: 10.0.0.0/8, tls: any}]`,
			"gains * on every port, any protocol, until 2026-12-31\n" +
				"gains the public addresses of 0.0.0.0/0 on every port, any protocol, until 2026-12-31\n" +
				"gains 10.0.0.0/8 on every port but for 443, any protocol, until 2026-12-31\n" +
				"gains the public addresses of ::/0 on every port, any protocol, until 2026-12-31"},
		{"an exact rule that is stricter than the wildcard", "", `allow: [{host: "*.example.org", tls: any}]`, "", `allow: [{host: "*.example.org", tls: any}, a.example.org]`,
			"loses a.example.org on port 443, what is not TLS to it"},
		{"report mode", `deny: [evil.example]`, `allow: [a.example]`, `deny: [evil.example]`, report + `allow: [a.example]`,
			"gains * but for evil.example on every port but for 443, any protocol, until 2026-12-31\n" +
				"gains * but for a.example, evil.example on port 443, any protocol, until 2026-12-31\n" +
				"gains the public addresses of 0.0.0.0/0 on every port, any protocol, until 2026-12-31\n" +
				"gains the public addresses of ::/0 on every port, any protocol, until 2026-12-31\n" +
				"gains a.example on port 443, what is not TLS to it, until 2026-12-31"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := told(compare(t, c.oldOther, c.old, c.newOther, c.fresh)); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
			back := compare(t, c.newOther, c.fresh, c.oldOther, c.old)
			for i := range back.Functions {
				f := &back.Functions[i]
				f.Gains, f.Loses = f.Loses, f.Gains
			}
			if got := told(back); got != c.want {
				t.Errorf("the other way round: got, with gains for losses,\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

// report are the keys of a function in report mode.
const report = "mode: report, report_until: 2026-12-31, "

// told returns the lines about function f.
func told(d *diff.Diff) string {
	var all []string
	for _, f := range d.Functions {
		for _, ch := range f.Gains {
			all = append(all, "gains "+ch.String())
		}
		for _, ch := range f.Loses {
			all = append(all, "loses "+ch.String())
		}
	}
	return strings.Join(all, "\n")
}

// What a file has as free text must not act on a terminal, nor on the page of a pull request.
func TestEveryFormatSaysTheSameAndIsInert(t *testing.T) {
	d := compare(t, "", `owner: "a\u202e|b", allow: [b.example]`, "", `owner: "a\u202e|b", allow: ["*.example.org"]`)
	for format, want := range map[string]string{
		"text":     "f (\"a\\u202e|b\")\n  gains *.example.org on port 443\n  loses b.example on port 443\nfunctions that gain: 1, that lose: 1\n",
		"markdown": fmt.Sprintf("Policy `%s` to `%s`: functions that gain: 1, that lose: 1.\n\n| function | | what |\n|---|---|---|\n| `f` | **gains** | `*.example.org on port 443` |\n| `f` | loses | `b.example on port 443` |\n", d.Old.Policy, d.New.Policy),
	} {
		var b strings.Builder
		if err := d.Write(&b, format); err != nil || b.String() != want {
			t.Errorf("%v, got\n%swant\n%s", err, b.String(), want)
		}
	}
	var b strings.Builder
	var back diff.Diff
	if err := d.Write(&b, "json"); err != nil || json.Unmarshal([]byte(b.String()), &back) != nil || told(&back) != told(d) || strings.Contains(b.String(), "\u202e") {
		t.Errorf("%v: %s", err, b.String())
	}
	same := compare(t, "", `allow: []`, "", `allow: []`)
	b.Reset()
	if err := same.Write(&b, "json"); err != nil || !strings.Contains(b.String(), `"functions": []`) {
		t.Errorf("%v: %s", err, b.String())
	}
	b.Reset()
	if err := same.Write(&b, "markdown"); err != nil || !strings.HasSuffix(b.String(), ": no function gains or loses anything.\n") || strings.Contains(b.String(), "|") {
		t.Errorf("%v: %s", err, b.String())
	}
}
