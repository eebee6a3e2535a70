package policy_test

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// answer is a decision in plain words.
type answer struct{ verdict, reason, rule string }

// plain puts a decision in plain words.
func plain(d policy.Decision) answer {
	return answer{d.Verdict.String(), d.Reason.String(), d.Rule.String()}
}

// slowMatch is a rule that has the host.
type slowMatch struct {
	path       string
	conditions *policy.Conditions
	exact      bool
	set        bool
	width      int // of the wildcard's text, or of the prefix
}

// slowDecide is the reference: it reads the Spec from front to back, compares
// plain strings, and is written to be seen through. It takes the host as a
// client spells it.
func slowDecide(s policy.Spec, function, host string, port uint16, now time.Time) answer {
	name := strings.TrimSuffix(strings.ToLower(host), ".")
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	literal := err == nil
	f := slices.IndexFunc(s.Functions, func(f policy.FunctionSpec) bool { return f.Name == function })
	if f < 0 {
		return answer{"deny", "host_not_allowed", ""}
	}
	if !literal {
		if line := slowDeny(s.Deny, name); line >= 0 {
			return answer{"deny", "host_denied", fmt.Sprintf("deny[%d]", line)}
		}
	}
	var matches []slowMatch
	if literal {
		matches = slowLiterals(s.Functions[f], addr.Unmap())
	} else {
		matches = slowNames(s, s.Functions[f], name)
	}
	got := answer{"deny", "host_not_allowed", ""}
	for _, m := range matches {
		switch {
		case m.conditions == nil || !slowPort(m.conditions.Ports, port):
			if got.reason == "host_not_allowed" {
				got = answer{"deny", "port_not_allowed", m.path}
			}
		case !m.conditions.Expires.IsZero() && !now.Before(m.conditions.Expires):
			if got.reason != "rule_expired" {
				got = answer{"deny", "rule_expired", m.path}
			}
		default:
			return answer{"allow", "", m.path}
		}
	}
	if now.Before(s.Functions[f].ReportUntil) {
		got.verdict = "report"
	}
	return got
}

// slowPort reports whether a port is one of those, by the text of a file.
func slowPort(ranges []hostname.PortRange, port uint16) bool {
	return slices.ContainsFunc(ranges, func(r hostname.PortRange) bool {
		first, last := 0, 0
		if n, _ := fmt.Sscanf(r.String(), "%d-%d", &first, &last); n == 1 {
			last = first
		}
		return first <= int(port) && int(port) <= last
	})
}

// slowCovers reports whether the text of a pattern covers a name.
func slowCovers(pattern, name string) bool {
	if apex, both := strings.CutPrefix(pattern, "."); both {
		return name == apex || strings.HasSuffix(name, pattern)
	}
	if tail, wildcard := strings.CutPrefix(pattern, "*"); wildcard {
		return strings.HasSuffix(name, tail) && len(name) > len(tail)
	}
	return pattern == name
}

// slowDeny returns the deny line for a name, -1 for none: the exact one, else
// the longest wildcard, of equal ones the first.
func slowDeny(lines []policy.DenySpec, name string) int {
	best, bestBase := -1, ""
	for i, d := range lines {
		text := d.Pattern.String()
		if !slowCovers(text, name) {
			continue
		}
		if base := strings.TrimLeft(text, "*."); best < 0 || len(base) > len(bestBase) {
			best, bestBase = i, base // the name itself is the longest
		}
	}
	return best
}

// slowNames returns the rules that have a name: exact ones first, then longer
// wildcards before shorter; among equals the function's own before its sets.
func slowNames(s policy.Spec, f policy.FunctionSpec, name string) []slowMatch {
	var all []slowMatch
	for i, r := range f.Rules {
		patterns, set := []hostname.Pattern{r.Pattern}, false
		if r.Set > 0 {
			patterns, set = s.Sets[r.Set-1], true
		}
		for _, p := range patterns {
			if text := p.String(); text != "" && slowCovers(text, name) {
				all = append(all, slowMatch{fmt.Sprintf("functions.%s.allow[%d]", f.Name, i), r.Conditions, strings.TrimLeft(text, "*.") == name, set, len(strings.TrimLeft(text, "*."))})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b slowMatch) int {
		return cmp.Or(-compareBool(a.exact, b.exact), -cmp.Compare(a.width, b.width), compareBool(a.set, b.set))
	})
	return all
}

// slowLiterals returns the rules that have an address, longest prefix first.
func slowLiterals(f policy.FunctionSpec, addr netip.Addr) []slowMatch {
	var all []slowMatch
	for i, r := range f.Rules {
		if r.Prefix.IsValid() && r.Prefix.Contains(addr) {
			all = append(all, slowMatch{fmt.Sprintf("functions.%s.allow[%d]", f.Name, i), r.Conditions, false, false, r.Prefix.Bits()})
		}
	}
	slices.SortStableFunc(all, func(a, b slowMatch) int { return -cmp.Compare(a.width, b.width) })
	return all
}

// compareBool orders false before true.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}

func TestTheFastMatcherAgreesWithTheReferenceAtEverySize(t *testing.T) {
	for _, c := range []struct{ rules, policies, requests int }{
		{1, 40, 30}, {2, 40, 30}, {99, 4, 150}, {100, 4, 150}, {101, 4, 150}, {10_000, 1, 150}, {100_000, 1, 160},
	} {
		t.Run(fmt.Sprintf("rules=%d", c.rules), func(t *testing.T) {
			t.Parallel()
			seen := map[answer]bool{}
			for seed := range c.policies {
				w := newGenerator(uint64(seed), c.rules)
				spec := w.spec(c.rules)
				p := mustCompile(t, spec)
				for range c.requests {
					got := checkAgainstReference(t, w, spec, p, w.host(spec), w.port())
					seen[answer{verdict: got.verdict, reason: got.reason}] = true
				}
			}
			if c.rules >= 99 && len(seen) < 4 {
				t.Errorf("the requests met only %v: the test says little", seen)
			}
		})
	}
}

// checkAgainstReference decides one request fast, slow, explained and
// respelled, and wants one answer.
func checkAgainstReference(t *testing.T, w *generator, spec policy.Spec, p *policy.Policy, host string, port uint16) answer {
	t.Helper()
	target := mustTarget(fmt.Sprintf("%s:%d", host, port))
	f := p.Function("f")
	d := p.Decide(f, target, noon)
	want := slowDecide(spec, "f", host, port, noon)
	if plain(d) != want {
		t.Fatalf("%s:%d: got %v, the reference says %v", host, port, plain(d), want)
	}
	explained, steps := p.Explain(f, target, noon)
	if explained != d || len(steps) == 0 {
		t.Fatalf("%s:%d: Explain says %v in %d steps, Decide %v", host, port, plain(explained), len(steps), want)
	}
	again := w.respell(host)
	if d2 := p.Decide(f, mustTarget(fmt.Sprintf("%s:%d", again, port)), noon); d2 != d {
		t.Fatalf("%s:%d: got %v, as %s %v", host, port, plain(d), again, plain(d2))
	}
	return want
}

func TestALiteralAddressMeetsNoRuleForNames(t *testing.T) {
	for seed := range uint64(30) {
		w := newGenerator(seed, 100)
		spec := w.spec(100)
		bare := spec
		bare.Deny = nil
		bare.Functions = []policy.FunctionSpec{spec.Functions[0]}
		bare.Functions[0].Rules = slices.DeleteFunc(slices.Clone(spec.Functions[0].Rules),
			func(r policy.RuleSpec) bool { return !r.Prefix.IsValid() })
		p, q := mustCompile(t, spec), mustCompile(t, bare)
		for range 50 {
			target := hostname.Target{Host: hostname.AddrHost(w.addr()), Port: w.port()}
			a, b := p.Decide(p.Function("f"), target, noon), q.Decide(q.Function("f"), target, noon)
			if a.Verdict != b.Verdict || a.Reason != b.Reason {
				t.Fatalf("%s: %v with the rules for names, %v without", target, plain(a), plain(b))
			}
		}
	}
}

func TestADenyLineMoreNeverOpensAnything(t *testing.T) {
	for seed := range uint64(30) {
		w := newGenerator(seed, 60)
		spec := w.spec(60)
		stricter := spec
		stricter.Deny = append(slices.Clone(spec.Deny), policy.DenySpec{Pattern: w.pattern()})
		checkNeverOpens(t, w, spec, stricter, 60)
	}
}

// checkNeverOpens tries requests on both policies: the stricter one denies, or
// says what the other says.
func checkNeverOpens(t *testing.T, w *generator, spec, stricter policy.Spec, requests int) {
	t.Helper()
	p, q := mustCompile(t, spec), mustCompile(t, stricter)
	for range requests {
		target := mustTarget(fmt.Sprintf("%s:%d", w.host(stricter), w.port()))
		a, b := p.Decide(p.Function("f"), target, noon), q.Decide(q.Function("f"), target, noon)
		if b.Verdict != verdict.Deny && plain(a) != plain(b) {
			t.Fatalf("%s: %v, with a deny line more %v", target, plain(a), plain(b))
		}
	}
}

func TestTheOrderOfDenyLinesIsIrrelevant(t *testing.T) {
	for seed := range uint64(30) {
		w := newGenerator(seed, 200)
		spec := w.spec(200)
		mixed := spec
		mixed.Deny = slices.Clone(spec.Deny)
		w.rng.Shuffle(len(mixed.Deny), func(i, j int) { mixed.Deny[i], mixed.Deny[j] = mixed.Deny[j], mixed.Deny[i] })
		p, q := mustCompile(t, spec), mustCompile(t, mixed)
		for range 60 {
			target := mustTarget(fmt.Sprintf("%s:%d", w.host(spec), w.port()))
			a, b := p.Decide(p.Function("f"), target, noon), q.Decide(q.Function("f"), target, noon)
			if a.Verdict != b.Verdict || a.Reason != b.Reason {
				t.Fatalf("%s: %v, with the lines in another order %v", target, plain(a), plain(b))
			}
		}
	}
}

// FuzzDecide lets the fuzzer choose the policy by its seed and size, and the
// host by its text; a text that is not a target stands for a random host.
func FuzzDecide(f *testing.F) {
	f.Add(uint64(1), uint16(0), "example.test", uint16(443))
	f.Add(uint64(2), uint16(1), "L0.test.", uint16(443))
	f.Add(uint64(3), uint16(99), "[::ffff:10.0.0.1]", uint16(80))
	f.Add(uint64(4), uint16(300), strings.Repeat("a.", 126)+"a", uint16(22))
	f.Fuzz(func(t *testing.T, seed uint64, rules uint16, host string, port uint16) {
		w := newGenerator(seed, int(rules%400))
		spec := w.spec(int(rules % 400))
		p := mustCompile(t, spec)
		port = max(port, 1)
		if _, err := hostname.ParseTarget(host + ":1"); err != nil {
			host = w.host(spec)
		}
		checkAgainstReference(t, w, spec, p, host, port)
		stricter := spec
		stricter.Deny = append(slices.Clone(spec.Deny), policy.DenySpec{Pattern: w.pattern()})
		checkNeverOpens(t, w, spec, stricter, 5)
	})
}
