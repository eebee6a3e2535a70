package dnsfirewall_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/convert"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/convert/dnsfirewall"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// template is what DNS Firewall is told.
type template struct {
	Resources map[string]struct {
		Properties struct {
			Domains       []string
			FirewallRules []rule
		}
	}
}

// rule is one of the group.
type rule struct {
	Priority                                                      int
	Action, BlockResponse, FirewallDomainRedirectionAction, Qtype string
	List                                                          struct{ Ref string } `json:"FirewallDomainListId"`
}

// allows is what DNS Firewall does: of the rules, by their priority, the first whose type is that of
// the question and whose list has the name decides.
// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/resolver-dns-firewall-rule-settings.html
func (t *template) allows(name, qtype string) bool {
	rules := t.Resources["Rules"].Properties.FirewallRules
	slices.SortFunc(rules, func(a, b rule) int { return a.Priority - b.Priority })
	for _, r := range rules {
		for _, d := range t.Resources[r.List.Ref].Properties.Domains {
			below, wild := strings.CutPrefix(d, "*")
			if (r.Qtype == "" || r.Qtype == qtype) && (name == d || wild && strings.HasSuffix(name, below)) {
				return r.Action == "ALLOW"
			}
		}
	}
	return true // no rule blocks it
}

// written writes the template of some functions of a policy.
func written(t *testing.T, text string, functions ...string) ([]byte, *config.Config, error) {
	t.Helper()
	cfg, err := config.Parse("egress.yaml", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	var all []*convert.Extracted
	for _, name := range functions {
		all = append(all, convert.Extract(cfg, "egress.yaml", name))
	}
	out, err := dnsfirewall.Write(all, cfg.DNS)
	return out, cfg, err
}

func TestDNSFirewallAllowsTheNamesThatTheFunctionsMayLookUp(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	forms := []string{"a.example", "*.a.example", ".b.a.example", "*.c.b.a.example", "z.example", ".z.example"}
	names := []string{"a.example", "x.a.example", "b.a.example", "x.b.a.example", "c.b.a.example", "y.c.b.a.example", "z.example", "q.z.example", "xa.example", "com"}
	allowed := 0
	for range 25 {
		list := func() (s string) {
			for _, i := range random.Perm(len(forms))[:1+random.IntN(2)] {
				s += `{host: "` + forms[i] + `", ports: [8443], tls: any}, `
			}
			return s
		}
		text := "version: 1\ndeny: [\"" + forms[random.IntN(len(forms))] + "\"]\nsets: {s: [z.example]}\nfunctions:\n" +
			"  one: {identify: {sources: [10.0.0.0/24]}, allow: [" + list() + "{cidr: 203.0.113.0/24}]}\n" +
			"  two: {identify: {sources: [10.0.1.0/24]}, allow: [" + list() + "{set: s}]}\n"
		out, cfg, err := written(t, text, "one", "two")
		if err != nil {
			t.Fatal(err)
		}
		var got template
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatal(err)
		}
		p, _, err := cfg.Compile()
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			parsed, err := hostname.ParseName(name)
			if err != nil {
				t.Fatal(err)
			}
			may := func(function string) bool {
				return p.Lookup(p.Function(function), parsed, time.Unix(0, 0)).Verdict == verdict.Allow
			}
			want := may("one") || may("two")
			if want {
				allowed++
			}
			for _, qtype := range []string{"A", "AAAA", "TYPE65", "CNAME"} {
				if got.allows(name, qtype) != want {
					t.Fatalf("%s %s: %t in the policy\n%s%s", name, qtype, want, text, out)
				}
			}
			if got.allows(name, "TXT") { // none of dns.types
				t.Fatalf("%s TXT is allowed\n%s", name, out)
			}
		}
	}
	if allowed < 30 {
		t.Errorf("%d names were allowed: the test says little", allowed)
	}
}

func TestAliasesMayLeadAnywhereButToTheDenyList(t *testing.T) {
	t.Parallel()
	out, _, err := written(t, "version: 1\ndeny: [evil.example]\ndns: {refuse_with: nodata, types: [A, HTTPS]}\nfunctions: {one: {identify: {sources: [10.0.0.0/24]}, allow: [.a.example]}}\n", "one")
	if err != nil {
		t.Fatal(err)
	}
	var got template
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	var rules []string
	for _, r := range got.Resources["Rules"].Properties.FirewallRules {
		rules = append(rules, fmt.Sprint(r.Priority, r.Action, r.BlockResponse, r.List.Ref, r.FirewallDomainRedirectionAction, r.Qtype))
	}
	want := []string{
		fmt.Sprint(100, "BLOCK", "NODATA", "Denied", "INSPECT_REDIRECTION_DOMAIN", ""),
		fmt.Sprint(200, "ALLOW", "", "Allowed", "TRUST_REDIRECTION_DOMAIN", "A"),
		fmt.Sprint(300, "ALLOW", "", "Allowed", "TRUST_REDIRECTION_DOMAIN", "TYPE65"),
		fmt.Sprint(400, "BLOCK", "NODATA", "Everything", "", ""),
	}
	if !slices.Equal(rules, want) || !slices.Equal(got.Resources["Allowed"].Properties.Domains, []string{"*.a.example", "a.example"}) {
		t.Errorf("%q\n%s", rules, out)
	}
}

func TestWhatDNSFirewallCannotSayIsNamedWithItsLine(t *testing.T) {
	t.Parallel()
	const function = "version: 1\nfunctions:\n  one:\n    identify: {sources: [10.0.0.0/24]}\n"
	for rest, want := range map[string]string{
		"    allow: [_dmarc.a.example]\n":                                 "egress.yaml:5: functions.one.allow[0]: _dmarc.a.example has an underscore",
		"    allow: []\ndeny: [x_y.example]\n":                            "egress.yaml:1: deny: x_y.example has an underscore",
		"    allow: []\ndns: {refuse_with: refused}\n":                    "egress.yaml:1: dns.refuse_with: DNS Firewall cannot answer REFUSED",
		"    allow: [{host: a.example, expires: 2999-01-01}]\n":           "egress.yaml:5: functions.one.allow[0]: the rule ends on a day",
		"    allow: []\n    mode: report\n    report_until: 2999-01-01\n": "egress.yaml:3: functions.one.mode: report mode lets through",
	} {
		if out, _, err := written(t, function+rest, "one"); err == nil || out != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s%v, want %q", rest, err, want)
		}
	}
	if _, _, err := written(t, function+"    allow: []\n", "one", "tow"); err == nil || !strings.Contains(err.Error(), `there is no function "tow"`) {
		t.Error(err)
	}
}
