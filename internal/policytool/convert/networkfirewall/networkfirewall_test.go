package networkfirewall_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/convert"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/convert/networkfirewall"
)

// head is the front of a rule that passes example.com by TLS.
const (
	head = `pass tls $HOME_NET any -> $EXTERNAL_NET 443 (tls.sni; content:"example.com"; startswith; endswith; nocase; `
	rest = "\ndrop tls $HOME_NET any -> $EXTERNAL_NET any (sid:8;)\ndrop http $HOME_NET any -> $EXTERNAL_NET any (sid:9;)"
)

func TestEachSuricataOptionThatNoPolicySaysIsNamedWithItsPlace(t *testing.T) {
	t.Parallel()
	for option, want := range map[string]string{
		`pcre:"/x/";`:                          "pcre",
		`content:!"x";`:                        "something else than one name",
		`content:"a";`:                         "something else than one name",
		`bsize:11;`:                            "bsize",
		`depth:4;`:                             "depth",
		`ja3.hash;`:                            "ja3.hash",
		`tls.cert_issuer;`:                     "tls.cert_issuer",
		`tls.version:1.2;`:                     "tls.version",
		`xbits:set,x,track ip_dst;`:            "xbits",
		`flowbits:isset,x;`:                    "flowbits",
		`threshold: type limit, track by_src;`: "threshold",
		`geoip:any,RU;`:                        "geoip",
		`http.host;`:                           "it asks for http.host in a rule about tls",
		`tls.sni;`:                             "or for two things",
		`ssl_state:server_hello;`:              "ssl_state",
		`flow:to_client;`:                      "flow:to_client",
		`flow:stateless;`:                      "flow:stateless",
		`dotprefix;`:                           "also fits names that no pattern has",
		`aws_url_category:x;`:                  "aws_url_category",
		`msg:"open`:                            "its options end within a quote",
		`sid:1`:                                "without a semicolon",
		`priority:1;`:                          "priority has no place in strict order",
		`app-layer-protocol:tls;`:              "app-layer-protocol",
		`file.data;`:                           "file.data",
		`metadata:x; reference:url,y; unknown:"z"`: "without a semicolon",
	} {
		_, err := compiled(written(strict, "# a comment", "", head+option+")"+rest), networkfirewall.Options{})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "group:1: RulesSource.RulesString, line 3: ") {
			t.Errorf("%s: %v, want %q in line 3", option, err, want)
		}
	}
	if _, err := compiled(written(strict, head+`sid:1;)`+rest+` \\`), networkfirewall.Options{}); err == nil || !strings.Contains(err.Error(), "its last line goes on behind its end") {
		t.Error(err)
	}
	for _, option := range []string{``, `sid:1;`, `msg:"a; \"b\"; (c)"; sid:1;`, `rev:2; gid:1; classtype:x; reference:url,y; metadata:z;`, `flow:to_server, established;`, `flow:from_client;`, `alert;`, `noalert;`, `ssl_state:client_hello;`} {
		if _, err := compiled(written(strict, head+option+")"+rest), networkfirewall.Options{}); err != nil {
			t.Errorf("%s: %v", option, err)
		}
	}
}

func TestEachRuleThatNoPolicySaysIsNamed(t *testing.T) {
	t.Parallel()
	const sni = `(tls.sni; content:"example.com"; startswith; endswith; nocase; sid:1;)`
	for rule, want := range map[string]string{
		`pass tls $HOME_NET any -> $EXTERNAL_NET any ` + sni:                                                                    "on port 80 it passes TLS but not plain HTTP",
		`pass http $HOME_NET any -> $EXTERNAL_NET 80 (http.host; content:"example.com"; startswith; endswith; sid:1;)`:          "on port 80 it passes plain HTTP but not TLS",
		`pass http $HOME_NET any -> $EXTERNAL_NET 8080 (http.host; content:"example.com"; startswith; endswith; sid:1;)`:        "it passes plain HTTP on ports 8080",
		`pass http $HOME_NET any -> $EXTERNAL_NET 80 (http.host; content:"Example.com"; startswith; endswith; sid:1;)`:          "has capital letters",
		`pass tls 10.0.1.0/24 any -> $EXTERNAL_NET 443 ` + sni:                                                                  "its source is",
		`pass tls !$HOME_NET any -> $EXTERNAL_NET 443 ` + sni:                                                                   "its source is",
		`pass tls $HOME_NET 1024: -> $EXTERNAL_NET 443 ` + sni:                                                                  "the port that the client has chosen",
		`pass tls $HOME_NET any -> 203.0.113.7 443 ` + sni:                                                                      "its destination is",
		`pass tls $HOME_NET any -> [203.0.113.0/24, 198.51.100.0/24] 443 ` + sni:                                                "its destination is",
		`pass tls $HOME_NET any -> @BETA 443 ` + sni:                                                                            "its destination is",
		`pass tls $HOME_NET any -> $EXTERNAL_NET $NONE ` + sni:                                                                  "is neither a port nor a range",
		`pass tls $HOME_NET any -> $EXTERNAL_NET 0 ` + sni:                                                                      "is neither a port nor a range",
		`pass tls $HOME_NET any -> $EXTERNAL_NET 65536 ` + sni:                                                                  "is neither a port nor a range",
		`pass tls $HOME_NET any -> $EXTERNAL_NET [443,] ` + sni:                                                                 "is neither a port nor a range",
		`pass tls $HOME_NET any -> $EXTERNAL_NET 443 (tls.sni; content:"example.com"; nocase; sid:1;)`:                          "also fits names that no pattern has",
		`pass tls $HOME_NET any -> $EXTERNAL_NET 443 (tls.sni; content:"example.com"; endswith; nocase; sid:1;)`:                "also fits names that no pattern has",
		`pass tls $HOME_NET any -> $EXTERNAL_NET 443 (tls.sni; content:"example.com"; startswith; nocase; sid:1;)`:              "also fits names that no pattern has",
		`pass tls $HOME_NET any -> $EXTERNAL_NET 443 (tls.sni; dotprefix; content:"example.com"; endswith; nocase; sid:1;)`:     "also fits names that no pattern has",
		`pass tls $HOME_NET any -> $EXTERNAL_NET 443 (tls.sni; content:"|65|xample.com"; startswith; endswith; nocase; sid:1;)`: "is not a pattern",
		`pass tls $HOME_NET any -> $EXTERNAL_NET 443 (tls.sni; content:!"example.com"; startswith; endswith; nocase; sid:1;)`:   "is not a pattern",
		`pass tls $HOME_NET any -> $EXTERNAL_NET 443 (tls.sni; dotprefix; content:".com"; endswith; nocase; sid:1;)`:            "covers every name of a public registry",
		`pass tls $HOME_NET any -> $EXTERNAL_NET 443 (sid:1;)`:                                                                  "it passes every host",
		`pass tcp $HOME_NET any -> $EXTERNAL_NET 443 (sid:1;)`:                                                                  "it passes every host",
		`pass ssh $HOME_NET any -> $EXTERNAL_NET 22 (sid:1;)`:                                                                   "it passes ssh",
		`pass udp $HOME_NET any -> $EXTERNAL_NET any (sid:1;)`:                                                                  "it passes udp",
		`drop tcp $HOME_NET any -> $EXTERNAL_NET any (dsize:>100; sid:1;)`:                                                      "dsize",
		`reject tls $EXTERNAL_NET any -> $HOME_NET any (tls.cert_issuer; content:"="; sid:1;)`:                                  "comes back from outside",
		`rejectboth tls $HOME_NET any -> $EXTERNAL_NET any (sid:1;)`:                                                            "is no action of Network Firewall",
		`log tls $HOME_NET any -> $EXTERNAL_NET any (sid:1;)`:                                                                   "is no action of Network Firewall",
		`pass tls $HOME_NET any => $EXTERNAL_NET any (sid:1;)`:                                                                  "is no rule of Suricata that is known here",
		"pass tls $HOME_NET any -> $EXTERNAL_NET 443 " + sni + "\ndrop tcp $HOME_NET any -> $EXTERNAL_NET [440:450] (sid:2;)":   "it drops the packets that open a connection",
		"pass tls $HOME_NET any -> $EXTERNAL_NET 443 " + sni + " \\":                                                            `no policy says what the option ")`,
	} {
		_, err := compiled(written(strict, rule+rest), networkfirewall.Options{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", rule, err, want)
		}
	}
}

func TestWhatTheGroupIsCalledAndWhoCallsComeFromTheFile(t *testing.T) {
	t.Parallel()
	const group = `{"RuleVariables": {"IPSets": {"HOME_NET": {"Definition": ["10.0.1.0/24", "10.0.2.7"]}, "EXTERNAL_NET": {"Definition": ["0.0.0.0/0"]}}, "PortSets": {"WEB": {"Definition": ["443", "8000:8010"]}}},
    "RulesSource": {"RulesString": "pass tls $HOME_NET any -> $EXTERNAL_NET $WEB (tls.sni; dotprefix; content:\".example.com\"; nocase; endswith; sid:1;)\ndrop tls $HOME_NET any -> $EXTERNAL_NET any (sid:2;)\ndrop http any any -> any any (sid:3;)"},
    "StatefulRuleOptions": {"RuleOrder": "STRICT_ORDER"}}`
	described := `{"UpdateToken": "x", "RuleGroupResponse": {"RuleGroupName": "billing-egress", "Type": "STATEFUL", "Capacity": 100, "Tags": []}, "RuleGroup": ` + group + `}`
	for _, c := range []struct{ text, function, want string }{
		{described, "", "billing-egress"}, {described, "billing", "billing"}, {group, "billing", "billing"},
	} {
		p, err := networkfirewall.Read("group", []byte(c.text), networkfirewall.Options{Function: c.function})
		if err != nil {
			t.Fatal(err)
		}
		got, err := convert.Assemble(p, convert.Callers{Name: "callers"}, nil)
		want := "version: 1\nfunctions:\n  " + c.want + ":\n    identify: {sources: [10.0.1.0/24, 10.0.2.7/32]}\n    allow:\n      - {host: .example.com, ports: [443, 8000-8010]}\n"
		if err != nil || string(got) != want {
			t.Errorf("%v\n%s", err, got)
		}
	}
	for text, want := range map[string]string{
		group: "group:1: file: it does not say what the group is called",
		strings.Replace(described, "billing-egress", "a b", 1):                        `"a b" cannot be the name of a function`,
		strings.Replace(described, "STATEFUL\"", "STATELESS\"", 1):                    `RuleGroupResponse.Type: "STATELESS" is not known`,
		strings.Replace(described, "0.0.0.0/0", "203.0.113.0/24", 1):                  "narrows where connections go by address",
		strings.Replace(described, "10.0.2.7", "10.0.2.7/24", 1):                      "is no range of addresses",
		strings.Replace(described, "8000:8010", "8010:8000", 1):                       "is neither a port nor a range",
		strings.Replace(described, "pass tls $HOME_NET", "pass tls any", 1):           "it passes what comes from anywhere",
		strings.Replace(described, "STRICT_ORDER", "STRICT", 1):                       `"STRICT" is not known`,
		strings.Replace(described, "RulesString", "RuleString", 1):                    `no such key; did you mean "RulesString"?`,
		`{"RulesSource": {"StatelessRulesAndCustomActions": {"StatelessRules": []}}}`: "stateless rules know addresses alone",
		`{"RulesSource": {"RulesSourceList": {"Targets": ["a.example"]}}}`:            `the key "TargetTypes" is missing`,
		`{"RulesSource": {"StatefulRules": [{"Action": "PASS"}]}}`:                    `the key "Header" is missing`,
		`{}`:                                      `the key "RulesSource" is missing`,
		list("ALLOWLIST", sni, "*.example.com"):   `"*.example.com" is no target of a domain list`,
		list("ALLOWLIST", sni, "203.0.113.7"):     "is an address, not a name",
		list("ALLOWLIST", `"UDP"`, "example.com"): `"UDP" is not known`,
	} {
		if _, err := networkfirewall.Read("group", []byte(text), networkfirewall.Options{DropRest: true}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\n%v, want %q", text, err, want)
		}
	}
}

// engine is what Suricata does with random rules, written down slowly: by the text that each
// asks for, in order.
type engine struct {
	strict bool
	rules  []simple
}

type simple struct {
	action, protocol, ports, match, host string
}

func (u simple) String() string {
	options := map[string]string{
		"exact": `content:"` + u.host + `"; startswith; endswith; `, "dot": `dotprefix; content:".` + u.host + `"; endswith; `,
		"below": `content:".` + u.host + `"; endswith; `, "": "",
	}[u.match]
	if options != "" {
		options = map[string]string{"tls": "tls.sni; nocase; ", "http": "http.host; "}[u.protocol] + options
		if u.protocol == "tls" {
			options = strings.Replace(options, "tls.sni; nocase; ", "tls.sni; ", 1) + "nocase; "
		}
	}
	return fmt.Sprintf("%s %s $HOME_NET any -> $EXTERNAL_NET %s (%sflow:to_server, established; sid:1;)", u.action, u.protocol, u.ports, options)
}

// has reports whether a rule fits.
func (u simple) has(protocol, host string, port int) bool {
	names := map[string]bool{
		"": true, "exact": host == u.host, "dot": strings.HasSuffix("."+host, "."+u.host), "below": strings.HasSuffix(host, "."+u.host),
	}[u.match]
	return names && u.hasPort(port) && (u.protocol == "tcp" || u.protocol == protocol)
}

// hasPort reads any, 443, 8000:8010, !80 and [80,443].
func (u simple) hasPort(port int) bool {
	if u.ports == "any" {
		return true
	}
	text, not := strings.CutPrefix(u.ports, "!")
	for part := range strings.SplitSeq(strings.Trim(text, "[]"), ",") {
		first, last, found := strings.Cut(part, ":")
		if !found {
			last = first
		}
		low, _ := strconv.Atoi(first)
		high, _ := strconv.Atoi(last)
		if low <= port && port <= high {
			return !not
		}
	}
	return not
}

// decide says pass, drop, or nothing.
func (e engine) decide(protocol, host string, port int) string {
	verdicts := map[bool]string{true: "pass", false: "drop"}
	for _, passing := range []bool{true, false} { // by action, those that pass are asked first
		for _, u := range e.rules {
			if pass := u.action == "pass"; (e.strict || pass == passing) && u.has(protocol, host, port) {
				return verdicts[pass]
			}
		}
	}
	return ""
}

var (
	someHosts = []string{"a.example", "x.a.example", "b.a.example", "x.b.a.example", "c.b.a.example", "y.c.b.a.example", "z.example", "x.z.example", "xa.example"}
	somePorts = []int{1, 79, 80, 81, 443, 444, 7999, 8000, 8005, 8010, 8011, 65535}
)

// random returns random rules.
func random(r *rand.Rand) (e engine) {
	one := func(of ...string) string { return of[r.IntN(len(of))] }
	e.strict = r.IntN(2) == 0
	for range 1 + r.IntN(5) {
		u := simple{one("pass", "pass", "pass", "drop", "reject"), one("tls", "tls", "tls", "http"), one("443", "443", "any", "80", "!80", "[80,443]", "8000:8010"), one("exact", "dot", "below"), one("a.example", "b.a.example", "c.b.a.example", "z.example")}
		e.rules = append(e.rules, u)
		if r.IntN(3) == 0 { // the same for the other protocol
			u.protocol = map[string]string{"tls": "http", "http": "tls"}[u.protocol]
			e.rules = append(e.rules, u)
		}
	}
	if r.IntN(8) > 0 {
		e.rules = append(e.rules, simple{"drop", one("tcp", "tls", "http"), "any", "", ""})
	}
	return e
}

// direct compiles what a rule group is converted to, without a file in between.
func direct(t *testing.T, group string, o networkfirewall.Options) (*policy.Policy, error) {
	t.Helper()
	o.Function = "billing"
	p, err := networkfirewall.Read("group", []byte(group), o)
	if err != nil {
		return nil, err
	}
	spec := policy.Spec{Functions: []policy.FunctionSpec{{Name: "billing"}}}
	for _, d := range p.Deny {
		spec.Deny = append(spec.Deny, policy.DenySpec{Pattern: d})
	}
	for _, r := range p.Functions[0].Allow {
		c := &policy.Conditions{Ports: r.Ports}
		if r.Ports == nil {
			c.Ports = hostname.Ports(443)
		}
		if r.TLSAny {
			c.TLS = policy.TLSAny
		}
		spec.Functions[0].Rules = append(spec.Functions[0].Rules, policy.RuleSpec{Pattern: r.Pattern, Conditions: c})
	}
	out, err := policy.Compile(spec)
	if err != nil {
		t.Fatal(err)
	}
	return out, nil
}

// In any order, of names and ports that overlap: a policy says the same as the rules do one by
// one, or there is none.
func TestRandomRulesAreConvertedToTheSameVerdictsOrNotAtAll(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(7, 8))
	done, refused := 0, 0
	for range 150 {
		e := random(r)
		o := networkfirewall.Options{DropRest: r.IntN(2) == 0}
		switch r.IntN(3) {
		case 0:
			o.TLSOnly = true
		case 1:
			o.WebOnly = true
		}
		lines := make([]string, len(e.rules))
		for i, u := range e.rules {
			lines[i] = u.String()
		}
		p, err := direct(t, written(map[bool]string{true: strict, false: byAction}[e.strict], lines...), o)
		if err != nil {
			refused++
			continue
		}
		done++
		for _, host := range someHosts {
			for _, port := range somePorts {
				for _, protocol := range []string{"tls", "http"} {
					asked := !o.TLSOnly && !o.WebOnly || protocol == "tls" && port == 443 || o.WebOnly && protocol == "http" && port == 80
					want := e.decide(protocol, host, port)
					got := passes(t, p, fmt.Sprintf("%s:%s:%d", protocol, host, port))
					switch {
					case !asked && (got && !(o.WebOnly && port == 80)):
						t.Fatalf("%s %s:%d is allowed although nobody asked\n%s\n%+v", protocol, host, port, strings.Join(lines, "\n"), o)
					case asked && got != (want == "pass"), asked && want == "" && !o.DropRest:
						t.Fatalf("%s %s:%d: %t, the rules: %q\n%s\n%+v", protocol, host, port, got, want, strings.Join(lines, "\n"), o)
					}
				}
			}
		}
	}
	if done < 30 || refused < 30 {
		t.Errorf("%d were converted, %d refused: the test says little", done, refused)
	}
}

func TestAPolicyThatIsWrittenAsAGroupComesBackWithTheSameVerdicts(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(9, 10))
	patterns := []string{"a.example", "*.a.example", ".a.example", "b.a.example", ".b.a.example", "*.b.a.example", "c.b.a.example", "*.c.b.a.example", "z.example", ".z.example"}
	ports := []string{"[443]", "[80, 443]", "[80]", "[8000-8010]", "[1-65535]", "[443, 8005-9000]"}
	one := func(of []string) string { return of[r.IntN(len(of))] }
	same, refused := 0, 0
	for range 40 {
		text := "version: 1\n"
		if r.IntN(3) == 0 {
			text += "deny: [\"" + one(patterns) + "\"]\n"
		}
		text += "sets: {some: [" + one(patterns[3:4]) + ", c.b.a.example]}\nfunctions:\n  billing:\n    identify: {sources: [10.0.0.0/24, \"2001:db8:1::/64\"]}\n    allow:\n"
		for i, p := range r.Perm(len(patterns))[:1+r.IntN(4)] {
			text += fmt.Sprintf("      - {host: \"%s\", ports: %s, ticket: T-%d}\n", patterns[p], one(ports), i)
		}
		text += "      - {set: some, ports: " + one(ports) + "}\n"
		cfg, err := config.Parse("egress.yaml", []byte(text), nil)
		if err != nil {
			t.Fatal(err)
		}
		before, _, err := cfg.Compile()
		if err != nil {
			t.Fatal(err)
		}
		group, err := networkfirewall.Write(convert.Extract(cfg, "egress.yaml", "billing"), nil)
		if err != nil {
			t.Fatal(err)
		}
		e := parseWritten(t, group)
		after, err := direct(t, string(group), networkfirewall.Options{})
		if err != nil {
			if !strings.Contains(err.Error(), "the deny list of a policy is for all") && !strings.Contains(err.Error(), "here a deny line wins") {
				t.Fatalf("%v\n%s\n%s", err, text, group)
			}
			refused++
		} else {
			same++
		}
		for _, host := range someHosts {
			for _, port := range somePorts {
				for _, protocol := range []string{"tls", "http"} {
					target := fmt.Sprintf("%s:%s:%d", protocol, host, port)
					want := passes(t, before, target)
					if got := e.decide(protocol, host, port); (got == "pass") != want || got == "" {
						t.Fatalf("%s: %t, the rules: %q\n%s\n%s", target, want, got, text, group)
					}
					if err == nil && passes(t, after, target) != want {
						t.Fatalf("%s: %t before\n%s\n%s", target, want, text, group)
					}
				}
			}
		}
	}
	if same < 25 {
		t.Errorf("%d came back, %d did not: the test says little", same, refused)
	}
}

// parseWritten reads the rules that Write has written, by their text alone.
func parseWritten(t *testing.T, group []byte) (e engine) {
	t.Helper()
	var g struct {
		RulesSource         struct{ RulesString string }
		StatefulRuleOptions struct{ RuleOrder string }
	}
	if err := json.Unmarshal(group, &g); err != nil {
		t.Fatal(err)
	}
	e.strict = g.StatefulRuleOptions.RuleOrder == strict
	for line := range strings.Lines(g.RulesSource.RulesString) {
		before, options, _ := strings.Cut(line, " (")
		fields := strings.Fields(before)
		u := simple{action: fields[0], protocol: fields[1], ports: fields[6]}
		if _, after, found := strings.Cut(options, `content:"`); found && !strings.Contains(options, "http.header_names") {
			u.host, _, _ = strings.Cut(after, `"`)
			u.match = "exact"
			if strings.HasPrefix(u.host, ".") {
				u.host, u.match = u.host[1:], "below"
			}
			if strings.Contains(options, "dotprefix") {
				u.match = "dot"
			}
		}
		e.rules = append(e.rules, u)
	}
	return e
}

func TestWhatARuleGroupCannotSayIsNamedWithItsLine(t *testing.T) {
	t.Parallel()
	write := func(function, home string) string {
		cfg, err := config.Parse("egress.yaml", []byte(function), nil)
		if err != nil {
			t.Fatal(err)
		}
		var ranges []netip.Prefix
		if home != "" {
			ranges = []netip.Prefix{netip.MustParsePrefix(home)}
		}
		out, err := networkfirewall.Write(convert.Extract(cfg, "egress.yaml", "billing"), ranges)
		if err == nil {
			return string(out)
		}
		if out != nil {
			t.Errorf("there is a group, although %v", err)
		}
		return err.Error()
	}
	const caller = "version: 1\nfunctions:\n  billing:\n    identify: {sources: [10.0.0.0/24]}\n"
	for rules, want := range map[string]string{
		"    allow: [{host: a.example, tls: any}]\n":                                         "egress.yaml:5: functions.billing.allow[0]: tls: any lets protocols through that show no name",
		"    allow:\n      - a.example\n      - {cidr: 203.0.113.0/24}\n":                    "egress.yaml:7: functions.billing.allow[1]: it is about addresses",
		"    allow: [{host: a.example, addresses: [10.0.0.0/8]}]\n":                          "its host may resolve to private addresses",
		"    allow: [{host: a.example, expires: 2999-01-01}]\n":                              "egress.yaml:5: functions.billing.allow[0]: the rule ends on a day",
		"    allow: [a.example]\n    mode: report\n    report_until: 2999-01-01\n":           "egress.yaml:3: functions.billing.mode: report mode lets through",
		"    allow: [{set: s, tls: any}]\nsets: {s: [a.example]}\n":                          "egress.yaml:5: functions.billing.allow[0]: tls: any",
		"    allow: [a.example]\n  other: {identify: {sources: [10.1.0.0/24]}, allow: []}\n": `"10.0.0.0/24"`,
	} {
		if got := write(caller+rules, ""); !strings.Contains(got, want) {
			t.Errorf("%s%s", rules, got)
		}
	}
	const secret = "version: 1\nfunctions:\n  billing:\n    identify: {tokens: [\"sha256:abababababababababababababababababababababababababababababababab\"], sources: [10.0.0.0/24]}\n    allow: [a.example]\n"
	if got := write(secret, ""); !strings.Contains(got, "egress.yaml:3: functions.billing.identify: Network Firewall knows callers by their addresses alone") {
		t.Error(got)
	}
	if got := write(secret, "10.9.0.0/16"); !strings.Contains(got, `"10.9.0.0/16"`) || strings.Contains(got, "10.0.0.0/24") {
		t.Error(got)
	}
	if got := write(strings.Replace(caller, "billing", "other", 1)+"    allow: []\n", ""); !strings.Contains(got, `egress.yaml:1: functions: there is no function "billing"`) {
		t.Error(got)
	}
}

func TestWhatIsTakenOutOfAWildcardIsDeniedOrNamed(t *testing.T) {
	t.Parallel()
	below := func(action, ports, name string) string {
		return action + " tls $HOME_NET any -> $EXTERNAL_NET " + ports + ` (tls.sni; dotprefix; content:".` + name + `"; nocase; endswith; sid:1;)` + "\n"
	}
	p, err := networkfirewall.Read("group", []byte(written(strict, below("drop", "any", "b.a.example")+below("pass", "443", "a.example")+rest)), networkfirewall.Options{Function: "billing"})
	if err != nil || fmt.Sprint(p.Deny) != "[.b.a.example]" {
		t.Errorf("%v %+v", err, p)
	}
	long := strings.Repeat("x", 63) + "." + strings.Repeat("x0", 31) + ".example"
	p, err = networkfirewall.Read("group", []byte(written(strict, below("pass", "443", long)+rest)), networkfirewall.Options{Function: "billing"})
	if err != nil || len(p.Functions[0].Allow) != 1 || p.Functions[0].Allow[0].Pattern.String() != "."+long {
		t.Errorf("%v %+v", err, p)
	}
	for rules, want := range map[string]string{
		below("drop", "443", "b.a.example") + below("pass", "[443,8443]", "a.example"):                                  `line 1: it takes "b.a.example" out of *.a.example on some ports alone`,
		below("pass", "443", "c.b.a.example") + below("drop", "any", "b.a.example") + below("pass", "443", "a.example"): "line 2: it drops *.b.a.example, below which other names are passed",
	} {
		if _, err := compiled(written(strict, rules+rest), networkfirewall.Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s%v, want %q", rules, err, want)
		}
	}
}
