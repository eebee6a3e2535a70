package learn

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/replay"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/traffic"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// noon is when the tests of this file begin; the report modes of their policies hold then.
var noon = time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)

// reporting is a policy of one function in report mode, with its rules to follow.
const reporting = `version: 1
deny: ["*.denied.example"]
functions:
  f:
    owner: team
    mode: report
    report_until: 2026-12-31
    identify: {sources: [10.0.1.0/24]}
    allow: `

// file writes a policy and loads it.
func file(t *testing.T, text string) (string, *config.Config) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "egress.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, load(t, path)
}

func load(t *testing.T, path string) *config.Config {
	t.Helper()
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// records reads what a chain has.
func records(t *testing.T, c *egresstest.Chain) *traffic.Traffic {
	t.Helper()
	got, err := traffic.Read(traffic.Options{Files: []string{"-"}, Stdin: bytes.NewReader(c.Bytes())})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// propose learns from requests of f, which report mode has let through.
func propose(t *testing.T, text string, requests ...egresstest.Request) (string, *Proposal) {
	t.Helper()
	path, cfg := file(t, text)
	c := &egresstest.Chain{Process: "b", Policy: cfg.Hash()}
	c.Started(noon)
	for i, r := range requests {
		if r.At.IsZero() {
			r.At = noon.Add(time.Duration(i) * time.Second)
		}
		if r.Function == "" {
			r.Function = "f"
		}
		if r.Verdict == "" {
			r.Verdict, r.Reason = "report", "host_not_allowed"
		}
		c.Add(r)
	}
	p, err := Propose(Query{Config: cfg, File: "egress.yaml", Traffic: records(t, c), Now: noon})
	if err != nil {
		t.Fatal(err)
	}
	return path, p
}

func written(t *testing.T, p *Proposal) string {
	t.Helper()
	var b strings.Builder
	if err := p.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestRuleIsProposedForEachHostWithItsPorts(t *testing.T) {
	day := 24 * time.Hour
	_, p := propose(t, reporting+"[a.example, {host: private.example, ports: [443], addresses: [10.1.0.0/16]}]\n",
		egresstest.Request{Host: "x.example", Port: 443},
		egresstest.Request{Host: "x.example", Port: 443, At: noon.Add(3 * day)},
		egresstest.Request{Host: "x.example", Port: 8443, At: noon.Add(3 * day)},
		egresstest.Request{Host: "y.example", Port: 443, Suppressed: 9},
		egresstest.Request{Host: "y.example", Protocol: "dns", Event: "answered"},
		egresstest.Request{Host: "a.example", Port: 22, Verdict: "report", Reason: "port_not_allowed"},
		egresstest.Request{Host: "a.example", Port: 22, Verdict: "report", Reason: "not_tls"},
		egresstest.Request{Host: "plain.example", Port: 80, Protocol: "http"},
		egresstest.Request{Host: "9.9.9.9", Port: 443},
		egresstest.Request{Host: "2620:fe::9", Port: 443},
		egresstest.Request{Host: "private.example", Port: 5432, Verdict: "report", Reason: "port_not_allowed", Address: "10.1.2.3"},
		egresstest.Request{Host: "a.example", Port: 443, Verdict: "allow"},
		egresstest.Request{Host: "tried.example", Port: 443, Event: "refused", Verdict: "deny", Reason: "dns_failed"},
	)
	want := `functions:
  f:
    allow:
      - {cidr: "2620:fe::9/128", ports: [443]} # 1 requests on 1 days, 2026-11-02 to 2026-11-02
      - {cidr: "9.9.9.9/32", ports: [443]} # 1 requests on 1 days, 2026-11-02 to 2026-11-02
      - {host: a.example, ports: [22], tls: any} # 1 requests on 1 days, 2026-11-02 to 2026-11-02
      - {host: plain.example, ports: [80]} # 1 requests on 1 days, 2026-11-02 to 2026-11-02
      - {host: private.example, ports: [5432], addresses: ["10.1.0.0/16"]} # 1 requests on 1 days, 2026-11-02 to 2026-11-02
      - {host: x.example, ports: [443, 8443]} # 3 requests on 2 days, 2026-11-02 to 2026-11-05
      - y.example # 10 requests on 1 days, 2026-11-02 to 2026-11-02
`
	if got := written(t, p); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestWhatARuleShouldNotBeMadeOfIsADoubt(t *testing.T) {
	for _, c := range []struct {
		name, allow, doubt string
		request            egresstest.Request
	}{
		{"denied", "[]", "deny[0] has the host", egresstest.Request{Host: "x.denied.example", Port: 443}},
		{"expired", "[{host: x.example, expires: 2026-10-01}]", "has expired", egresstest.Request{Host: "x.example", Port: 443, Verdict: "report", Reason: "rule_expired"}},
		{"another name", "[]", "named another host", egresstest.Request{Host: "x.example", Port: 443, Verdict: "report", Reason: "sni_mismatch"}},
		{"not TLS under a rule", "[x.example]", "write tls: any there", egresstest.Request{Host: "x.example", Port: 443, Verdict: "report", Reason: "not_tls"}},
		{"a private address", "[]", "which is not public", egresstest.Request{Host: "x.example", Port: 443, Address: "10.0.0.1"}},
		{"a question alone", "[]", "no port is known", egresstest.Request{Host: "x.example", Protocol: "dns", Event: "answered"}},
		{"another policy's function", "[]", "has no such function", egresstest.Request{Function: "g", Host: "x.example", Port: 443}},
	} {
		first := c.request
		if first.Protocol == "" {
			first.Verdict, first.Reason = "report", "host_not_allowed"
			if c.allow == "[x.example]" {
				first.Verdict, first.Reason = "allow", ""
			}
		}
		_, p := propose(t, reporting+c.allow+"\n", first, c.request)
		got := written(t, p)
		if len(p.Functions) != 1 || len(p.Functions[0].Rules) != 0 || !strings.Contains(got, "# doubt: ") || !strings.Contains(got, c.doubt) {
			t.Errorf("%s:\n%s", c.name, got)
		}
	}
}

// An attacker makes names up, at several depths, some by questions alone.
func TestManyNamesOfOneParentAreADoubt(t *testing.T) {
	var all []egresstest.Request
	for i := range 2000 {
		all = append(all, egresstest.Request{Host: fmt.Sprintf("r%d.n%d.evil.co.uk", i, i%70), Port: 443},
			egresstest.Request{Host: fmt.Sprintf("q%d.odd.example", i), Protocol: "dns", Event: "answered"})
	}
	for i := range MaxNames {
		all = append(all, egresstest.Request{Host: fmt.Sprintf("h%d.honest.example", i), Port: 443}, egresstest.Request{Host: fmt.Sprintf("site%d.co.uk", i), Port: 443})
	}
	all = append(all, egresstest.Request{Host: "site.more.co.uk", Port: 443})
	_, p := propose(t, reporting+"[]\n", all...)
	got := written(t, p)
	if n := len(p.Functions[0].Rules); n != 2*MaxNames+1 || strings.Contains(got, "*") {
		t.Errorf("%d rules:\n%s", n, got)
	}
	for _, want := range []string{"2000 names below evil.co.uk, 2000 requests", "2000 names below odd.example, 2000 requests"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not told", want)
		}
	}
	if len(p.Functions[0].Doubts) != 2 || strings.Contains(got, "r7.n7.evil") {
		t.Errorf("doubts: %q", p.Functions[0].Doubts)
	}
}

func TestRecordsOfAnotherPolicyAreCounted(t *testing.T) {
	_, cfg := file(t, reporting+"[]\n")
	c := &egresstest.Chain{Process: "b", Policy: "000000000000"}
	c.Started(noon)
	c.Add(egresstest.Request{At: noon, Function: "f", Host: "x.example", Port: 443, Verdict: "report", Reason: "host_not_allowed"})
	p, err := Propose(Query{Config: cfg, File: "egress.yaml", Traffic: records(t, c), Now: noon})
	if err != nil {
		t.Fatal(err)
	}
	if got := written(t, p); !strings.Contains(got, "# other policies than "+cfg.Hash()+" judged 1 of the requests\n") || !strings.Contains(got, "- x.example") {
		t.Error(got)
	}
}

func TestRulesAreAddedBehindThoseThatAreThere(t *testing.T) {
	for _, c := range []struct{ name, allow, want string }{
		{"none, with a comment", "[] # none yet\n", "\n      - x.example # 1 requests on 1 days, 2026-11-02 to 2026-11-02\n"},
		{"none", "[]\n", "\n      - x.example # 1 requests on 1 days, 2026-11-02 to 2026-11-02\n"},
		{"in brackets", "[a.example, \"*.b.example\"] # these\n# end\n", "\n      - a.example\n      - \"*.b.example\"\n      - x.example # 1 requests on 1 days, 2026-11-02 to 2026-11-02\n# end\n"},
		{"a line each", "\n      # first\n      - a.example # one\n\n      - {host: b.example, ports: [80]}\n      # end\n", "\n      # first\n      - a.example # one\n\n      - {host: b.example, ports: [80]}\n      - x.example # 1 requests on 1 days, 2026-11-02 to 2026-11-02\n      # end\n"},
	} {
		path, p := propose(t, reporting+c.allow, egresstest.Request{Host: "x.example", Port: 443})
		added, err := p.AddTo(path)
		got, _ := os.ReadFile(path)
		if _, tail, _ := strings.Cut(string(got), "allow:"); err != nil || len(added) != 1 || added[0] != (Added{path, 1}) || tail != c.want || strings.Contains(c.allow, "these") && !strings.Contains(string(got), "    # these\n    allow:") {
			t.Errorf("%s: %v, %v:\n%s", c.name, added, err, got)
		}
	}
}

// Rules that others share are not given to others, and a file that was changed stays.
func TestFileThatCannotBeEditedStays(t *testing.T) {
	for name, text := range map[string]string{
		"an anchor": strings.Replace(reporting, "allow: ", "allow: &all ", 1) + "[a.example]\n  g:\n    identify: {sources: [10.0.2.0/24]}\n    allow: *all\n",
		"an alias":  strings.Replace(reporting, "functions:\n", "functions:\n  e:\n    identify: {sources: [10.0.2.0/24]}\n    allow: &all [a.example]\n", 1) + "*all\n",
	} {
		path, p := propose(t, text, egresstest.Request{Host: "x.example", Port: 443})
		added, err := p.AddTo(path)
		if got, _ := os.ReadFile(path); err == nil || added != nil || string(got) != text {
			t.Errorf("%s: %v, %v:\n%s", name, added, err, got)
		}
	}
	path, p := propose(t, reporting+"[]\n", egresstest.Request{Host: "x.example", Port: 443})
	if err := os.WriteFile(path, []byte(reporting+"[b.example]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := p.AddTo(path); err == nil || !strings.Contains(err.Error(), "changed meanwhile") {
		t.Error(err)
	}
}

// Random histories: what is learned, and then enforced, refuses nothing of the same records
// and allows nothing else.
func TestWhatIsLearnedRefusesNothingAndAllowsNothingElse(t *testing.T) {
	hosts := []string{"a.example", "x.a.example", "b.example", "c.b.example", "d.example", "8.8.4.4", "9.9.9.9", "www.e.example"}
	ports := []uint16{80, 443, 8443}
	lists := []string{"[]", "[a.example]", "['*.a.example', {host: b.example, ports: [8443]}]", "\n      - {cidr: 9.9.9.0/24, ports: [80]} # net\n      - d.example\n", "[{set: s}]"}
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 7))
		text := strings.Replace(reporting, "functions:\n", "sets: {s: [a.example, \"*.b.example\"]}\nfunctions:\n", 1) + lists[random.IntN(len(lists))] + "\n"
		path, cfg := file(t, text)
		old := compiled(t, cfg)
		c := &egresstest.Chain{Process: "b", Policy: cfg.Hash()}
		c.Started(noon)
		seen := map[string]bool{}
		for i := range random.IntN(30) {
			host, port := hosts[random.IntN(len(hosts))], ports[random.IntN(len(ports))]
			d := old.Decide(old.Function("f"), target(t, host, port), noon)
			r := egresstest.Request{At: noon.Add(time.Duration(i) * time.Hour), Function: "f", Host: host, Port: int(port), Verdict: d.Verdict.String(), SNI: host}
			if d.Reason != verdict.ReasonNone {
				r.Reason = d.Reason.String()
			}
			c.Add(r)
			if r.Event = "closed"; d.Verdict == verdict.Report {
				r.SNI = "" // report mode does not look at it
			}
			c.Add(r)
			seen[fmt.Sprint(host, " ", port)] = true
		}
		past := records(t, c)
		p, err := Propose(Query{Config: cfg, File: path, Traffic: past, Now: noon})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.AddTo(path); err != nil {
			t.Fatalf("%v of\n%s", err, text)
		}
		learned, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		enforce := func(text string) *config.Config {
			_, c := file(t, strings.Replace(strings.Replace(text, "    mode: report\n", "", 1), "    report_until: 2026-12-31\n", "", 1))
			return c
		}
		now := enforce(string(learned))
		answer, err := replay.Run(replay.Query{Config: now, File: path, Traffic: past, Now: noon})
		if err != nil || len(answer.Refuses)+len(answer.Allows) > 0 || answer.Targets != len(seen) {
			t.Fatalf("%v, %+v of\n%s", err, answer, learned)
		}
		before, after := compiled(t, enforce(text)), compiled(t, now)
		for _, host := range append(slices.Clone(hosts), "e.example", "y.www.e.example", "z.d.example", "8.8.4.5") {
			for _, port := range append(slices.Clone(ports), 22) {
				at := target(t, host, port)
				was, is := before.Decide(before.Function("f"), at, noon), after.Decide(after.Function("f"), at, noon)
				if want := was.Verdict == verdict.Allow || seen[fmt.Sprint(host, " ", port)]; want != (is.Verdict == verdict.Allow) {
					t.Fatalf("%s is allowed: %t of\n%s\nthat was\n%s", at, !want, learned, text)
				}
			}
		}
	}
}

func compiled(t *testing.T, c *config.Config) *policy.Policy {
	t.Helper()
	p, _, err := c.Compile()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func target(t *testing.T, host string, port uint16) hostname.Target {
	t.Helper()
	at, err := traffic.Key{Host: host, Port: port}.Target()
	if err != nil {
		t.Fatal(err)
	}
	return at
}
