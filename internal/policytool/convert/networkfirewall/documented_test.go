package networkfirewall_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/convert"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/convert/networkfirewall"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// The pages of AWS that the examples are from.
const (
	examples = "https://docs.aws.amazon.com/network-firewall/latest/developerguide/suricata-examples.html"
	lists    = "https://docs.aws.amazon.com/network-firewall/latest/developerguide/stateful-rule-groups-domain-names.html"
	targets  = "https://docs.aws.amazon.com/network-firewall/latest/APIReference/API_RulesSourceList.html"
	logs     = "https://docs.aws.amazon.com/network-firewall/latest/developerguide/firewall-troubleshooting-logging.html"
	resolved = "https://docs.aws.amazon.com/network-firewall/latest/developerguide/route53-resolved-ip-validation-rules.html"
	ordering = "https://docs.aws.amazon.com/network-firewall/latest/developerguide/suricata-rule-evaluation-order.html"
)

// list is a domain list of the API.
func list(kind, types string, names ...string) string {
	return `{"RulesSource": {"RulesSourceList": {"Targets": ["` + strings.Join(names, `", "`) + `"], "TargetTypes": [` + types + `], "GeneratedRulesType": "` + kind + `"}}}`
}

// written is a group of rules of Suricata.
func written(order string, rules ...string) string {
	text, _ := json.Marshal(strings.Join(rules, "\n"))
	return `{"RulesSource": {"RulesString": ` + string(text) + `}, "StatefulRuleOptions": {"RuleOrder": "` + order + `"}}`
}

const (
	byAction, strict = "DEFAULT_ACTION_ORDER", "STRICT_ORDER"
	sni, both        = `"TLS_SNI"`, `"TLS_SNI", "HTTP_HOST"`
)

// documented are examples of AWS's documentation, with what they pass as it says, or why no
// policy says that.
var documented = []struct {
	source, name, group string
	o                   networkfirewall.Options
	pass, drop          []string // tls:host:port, http:host:port
	wrong               string   // in place of both
}{
	{source: targets, name: "abc.example.com matches only the domain abc.example.com", group: list("ALLOWLIST", sni, "abc.example.com"), o: tlsOnly,
		pass: []string{"tls:abc.example.com:443"}, drop: []string{"tls:example.com:443", "tls:x.abc.example.com:443", "tls:xabc.example.com:443", "tls:abc.example.com.evil.test:443"}},
	{source: targets, name: ".example.com matches example.com and all subdomains", group: list("ALLOWLIST", both, ".example.com"), o: webOnly,
		pass: []string{"tls:example.com:443", "tls:abc.example.com:443", "tls:www.example.com:443", "tls:a.b.example.com:443", "http:example.com:80", "http:www.example.com:80"},
		drop: []string{"tls:notexample.com:443", "http:notexample.com:80", "tls:example.com.evil.test:443", "tls:com:443"}},
	{source: lists, name: "Allow denies what does not match, of the protocols that are given", group: list("ALLOWLIST", both, "example.com"), o: webOnly,
		pass: []string{"tls:example.com:443", "http:example.com:80"}, drop: []string{"tls:other.test:443", "http:other.test:80"}},
	{source: lists, name: "Allow of TLS alone says nothing of HTTP", group: list("ALLOWLIST", sni, "example.com"), wrong: "no rule decides about plain HTTP"},
	{source: lists, name: "Deny lets pass what does not match", group: list("DENYLIST", both, "evil.com"), wrong: "no rule decides about TLS"},
	{source: lists, name: "Reject blocks what matches", group: list("REJECTLIST", both, "evil.com"), o: networkfirewall.Options{DropRest: true},
		drop: []string{"tls:evil.com:443", "tls:example.com:443"}},
	{source: lists, name: "Alert decides nothing", group: list("ALERTLIST", both, "evil.com"), wrong: "no rule decides about TLS"},

	{source: resolved, name: "a list of domains that Route 53 has resolved", group: list("ALLOWLIST", `"AWS_ROUTE_53_RESOLVED_DOMAIN"`, "example.com"), wrong: `"AWS_ROUTE_53_RESOLVED_DOMAIN" is not known`},
	{source: resolved, name: "a rule about one", wrong: `no policy says what the option "aws_route_53_resolved_domain" does`, group: written(strict,
		`pass tls $HOME_NET any -> $EXTERNAL_NET any (aws_route_53_resolved_domain:"example.com"; sid:1;)`)},

	{source: examples, name: "deny list, as JSON", group: list("DENYLIST", both, "evil.com"), o: networkfirewall.Options{DropRest: true}, drop: []string{"tls:evil.com:443", "http:evil.com:80"}},
	{source: examples, name: "deny list, as rules", o: networkfirewall.Options{DropRest: true}, drop: []string{"tls:evil.com:443", "http:evil.com:80"}, group: written(byAction,
		`drop tls $HOME_NET any -> $EXTERNAL_NET any (ssl_state:client_hello; tls.sni; content:"evil.com"; startswith; nocase; endswith; msg:"matching TLS denylisted FQDNs"; priority:1; flow:to_server, established; sid:1; rev:1;)`,
		`drop http $HOME_NET any -> $EXTERNAL_NET any (http.host; content:"evil.com"; startswith; endswith; msg:"matching HTTP denylisted FQDNs"; priority:1; flow:to_server, established; sid:2; rev:1;)`)},
	{source: examples, name: "HTTP allow list, as JSON", group: list("ALLOWLIST", `"HTTP_HOST"`, ".amazon.com", "example.com"), o: networkfirewall.Options{WebOnly: true, DropRest: true}, pass: allowedHTTP, drop: refusedHTTP},
	{source: examples, name: "HTTP allow list, as rules", o: networkfirewall.Options{WebOnly: true, DropRest: true}, pass: allowedHTTP, drop: refusedHTTP, group: written(byAction,
		`pass http $HOME_NET any -> $EXTERNAL_NET any (http.host; dotprefix; content:".amazon.com"; endswith; msg:"matching HTTP allowlisted FQDNs"; priority:1; flow:to_server, established; sid:1; rev:1;)`,
		`pass http $HOME_NET any -> $EXTERNAL_NET any (http.host; content:"example.com"; startswith; endswith; msg:"matching HTTP allowlisted FQDNs"; priority:1; flow:to_server, established; sid:2; rev:1;)`,
		`drop http $HOME_NET any -> $EXTERNAL_NET any (http.header_names; content:"|0d 0a|"; startswith; msg:"not matching any HTTP allowlisted FQDNs"; priority:1; flow:to_server, established; sid:3; rev:1;)`)},
	{source: examples, name: "TLS allow list, as JSON", group: list("ALLOWLIST", sni, ".amazon.com", "example.com"), o: tlsOnly, pass: allowedTLS, drop: refusedTLS},
	{source: examples, name: "TLS allow list, as rules", o: tlsOnly, pass: allowedTLS, drop: refusedTLS, group: written(byAction,
		`pass tls $HOME_NET any -> $EXTERNAL_NET any (ssl_state:client_hello; tls.sni; dotprefix; content:".amazon.com"; nocase; endswith; msg:"matching TLS allowlisted FQDNs"; priority:1; flow:to_server, established; sid:1; rev:1;)`,
		`pass tls $HOME_NET any -> $EXTERNAL_NET any (ssl_state:client_hello; tls.sni; content:"example.com"; startswith; nocase; endswith; msg:"matching TLS allowlisted FQDNs"; priority:1; flow:to_server, established; sid:2; rev:1;)`,
		`drop tls $HOME_NET any -> $EXTERNAL_NET any (msg:"not matching any TLS allowlisted FQDNs"; priority:1; ssl_state:client_hello; flow:to_server, established; sid:3; rev:1;)`)},

	{source: examples, name: "any ssm. that ends in .amazonaws.com", wrong: "it asks for something else than one name", group: written(strict,
		`pass tls $HOME_NET any -> $EXTERNAL_NET any (ssl_state:client_hello; tls.sni; content:"ssm."; startswith; content:".amazonaws.com"; endswith; nocase; flow: to_server; sid:202308311;)`)},
	{source: examples, name: "JA3 hash", wrong: `no policy says what the option "ja3.hash" does`, group: written(strict,
		`pass tls $HOME_NET any -> $EXTERNAL_NET any (msg:"Only allow Curl 7.79.1 JA3"; ja3.hash; content:"27e9c7cc45ae47dc50f51400db8a4099"; sid:12820009;)`)},
	{source: examples, name: "checkip.amazonaws.com by its certificate", wrong: `no policy says what the option "xbits" does`, group: written(strict,
		`alert tls $HOME_NET any -> $EXTERNAL_NET 443 (ssl_state:client_hello; tls.sni; content:"checkip.amazonaws.com"; endswith; nocase; xbits:set, allowed_sni_destination_ips, track ip_dst, expire 3600; noalert; sid:238745;)`,
		`pass tcp $HOME_NET any -> $EXTERNAL_NET 443 (xbits:isset, allowed_sni_destination_ips, track ip_dst; sid:89207006;)`)},
	{source: examples, name: "what comes back from outside", wrong: "it is about what comes back from outside", group: written(strict,
		`pass tls $EXTERNAL_NET 443 -> $HOME_NET any (tls.cert_issuer; content:"Amazon"; msg:"Pass rules do not alert"; xbits:isset, allowed_sni_destination_ips, track ip_src; sid:29822;)`)},
	{source: examples, name: "SSH servers by their banner", wrong: "no policy says what flow:stateless does", group: written(strict,
		`pass tcp $HOME_NET any -> $EXTERNAL_NET 22 (flow:stateless; sid:2221382;)`)},
	{source: examples, name: "DNS queries", wrong: "it passes dns", group: written(strict,
		`pass dns $HOME_NET any -> $EXTERNAL_NET any (dns.query; dotprefix; content:".amazonaws.com"; endswith; nocase; msg:"Pass rules do not alert"; sid:118947;)`)},
	{source: examples, name: "TLS versions 1.0 or 1.1", wrong: `no policy says what the option "ssl_version" does`, group: written(strict,
		`reject tls any any -> any any (msg:"TLS 1.0 or 1.1"; ssl_version:tls1.0,tls1.1; sid:2023070518;)`)},
	{source: examples, name: "multiple SNIs by an expression", wrong: `no policy says what the option "pcre" does`, group: written(strict,
		`reject tls $HOME_NET any -> $EXTERNAL_NET any (ssl_state:client_hello; tls.sni; pcre:"/(example1\.com|example2\.com)$/i"; flow: to_server; msg:"Domain blocked"; sid:1457;)`)},
	{source: examples, name: "high-risk destination ports", o: networkfirewall.Options{DropRest: true}, drop: []string{"tls:example.com:4444", "tls:example.com:443"}, group: written(strict,
		`drop ip $HOME_NET any -> $EXTERNAL_NET [1389,53,4444,445,135,139,389,3389] (msg:"Deny List High Risk Destination Ports"; sid:278670;)`)},
	{source: examples, name: "multiple ranges, with no port", wrong: "is no rule of Suricata that is known here", group: written(strict,
		`drop ip $HOME_NET any-> [10.10.0.0/16,10.11.0.0/16,10.12.0.0/16] (msg:"Block traffic to multiple CIDRs"; sid:278970;)`)},
	{source: examples, name: "protocols other than TCP, UDP and ICMP", wrong: "no rule decides about TLS", group: written(strict,
		`drop ip any any-> any any (noalert; ip_proto:!TCP; ip_proto:!UDP; ip_proto:!ICMP; sid:21801620;)`)},
	{source: examples, name: "SSH on other ports", wrong: "no rule decides about TLS", group: written(strict,
		`reject ssh $HOME_NET any -> $EXTERNAL_NET !22 (msg:"Block use of SSH protocol on non-standard port"; flow: to_server; sid:2171010;)`)},
	{source: examples, name: "what is not SSH on port 22", wrong: `no policy says what the option "app-layer-protocol" does`, group: written(strict,
		`reject tcp $HOME_NET any -> $EXTERNAL_NET 22 (msg:"Block TCP/22 servers that are not SSH protocol"; flow: to_server; app-layer-protocol:!ssh; sid:2171009;)`)},
	{source: examples, name: "default deny, by direction", drop: []string{"tls:example.com:443", "http:example.com:80"}, group: written(strict,
		`reject tcp $HOME_NET any -> $EXTERNAL_NET any (msg:"Default Egress TCP block to server"; flow:to_server; sid:202308171;)`,
		`drop udp $HOME_NET any -> $EXTERNAL_NET any (msg:"Default Egress UDP block";sid:202308172;)`,
		`drop icmp $HOME_NET any -> $EXTERNAL_NET any (msg:"Default Egress ICMP block";sid:202308177;)`,
		`drop tcp $EXTERNAL_NET any -> $HOME_NET any (msg:"Default Ingress block to server"; flow:to_server; sid:20230813;)`)},
	{source: examples, name: "log traffic to an allowed SNI", o: networkfirewall.Options{TLSOnly: true, DropRest: true}, pass: []string{"tls:example.com:443", "tls:www.example.com:443"}, drop: []string{"tls:notexample.com:443"}, group: written(strict,
		`pass tls $HOME_NET any -> $EXTERNAL_NET any (ssl_state:client_hello; tls.sni; content:".example.com"; dotprefix; endswith; nocase; alert; sid:202307052;)`)},
	{source: logs, name: "log traffic to checkip", o: networkfirewall.Options{TLSOnly: true, DropRest: true}, pass: []string{"tls:checkip.amazonaws.com:443"}, drop: []string{"tls:x.checkip.amazonaws.com:443"}, group: written(strict,
		`pass tls $HOME_NET any -> $EXTERNAL_NET any (ssl_state:client_hello; tls.sni; content:"checkip.amazonaws.com"; startswith; nocase; endswith; msg:"matching TLS allowlisted FQDNs"; flow:to_server; alert; sid:222222; rev:1;)`)},
	{source: examples, name: "variables", o: networkfirewall.Options{DropRest: true}, drop: []string{"tls:example.com:443"}, group: `{"RuleVariables": {"IPSets": {"HTTP_SERVERS": {"Definition": ["10.0.2.0/24", "10.0.1.19"]}}, "PortSets": {"HTTP_PORTS": {"Definition": ["80", "8080"]}}},
		"RulesSource": {"RulesString": "alert tcp $EXTERNAL_NET any -> $HTTP_SERVERS $HTTP_PORTS (msg:\".htpasswd access attempt\"; flow:to_server,established; content:\".htpasswd\"; nocase; sid:210503; rev:1;)"}}`},
	{source: examples, name: "IP set reference", wrong: "ReferenceSets: the addresses of a reference are not in the file", group: `{"ReferenceSets": {"IPSetReferences": {"BETA": {"ReferenceArn": "arn:aws:ec2:us-east-1:555555555555:prefix-list/pl-1"}}}, "RulesSource": {"RulesString": "drop tcp @BETA any -> any any (sid:1;)"}}`},
	{source: examples, name: "geographic filter", wrong: `no policy says what the option "geoip" does`, group: `{"RulesSource": {"StatefulRules": [{"Action": "DROP", "Header": {"DestinationPort": "ANY", "Direction": "FORWARD", "Destination": "ANY", "Source": "ANY", "SourcePort": "ANY", "Protocol": "IP"},
		"RuleOptions": [{"Settings": ["1"], "Keyword": "sid"}, {"Settings": ["src,!US,UK"], "Keyword": "geoip"}]}]}, "StatefulRuleOptions": {"RuleOrder": "STRICT_ORDER"}}`},
	{source: examples, name: "standard stateful rule group", o: networkfirewall.Options{DropRest: true}, drop: []string{"http:example.com:80"}, group: `{"RulesSource": {"StatefulRules": [{"Action": "DROP", "Header": {"Protocol": "HTTP", "Source": "$HOME_NET", "SourcePort": "ANY", "Direction": "ANY", "Destination": "$EXTERNAL_NET", "DestinationPort": "ANY"},
		"RuleOptions": [{"Keyword": "msg", "Settings": ["\"this is a stateful drop rule\""]}, {"Keyword": "sid", "Settings": ["1234"]}]}]}}`},

	{source: examples, name: "HTTP to specific domains, action order, with TCP 22", wrong: "it passes every host, which no list says", o: networkfirewall.Options{DropRest: true}, group: written(byAction,
		`drop tcp $HOME_NET any -> $EXTERNAL_NET 80 (msg:"Drop established TCP:80"; flow: from_client,established; sid:172190; priority:5; rev:1;)`,
		`pass http $HOME_NET any -> $EXTERNAL_NET 80 (http.host; dotprefix; content:".example.com"; endswith; msg:"Allowed HTTP domain"; priority:10; sid:172191; rev:1;)`,
		`pass tcp $HOME_NET any -> $EXTERNAL_NET 22 (msg:"Allow TCP 22"; sid:172192; rev:1;)`,
		`drop tcp $HOME_NET any -> $EXTERNAL_NET !80 (msg:"Drop All non-TCP:80";  sid:172193; priority:2; rev:1;)`)},
	{source: examples, name: "HTTP to specific domains only, action order", o: networkfirewall.Options{WebOnly: true, DropRest: true}, pass: twoDomains, drop: otherDomains, group: written(byAction,
		`pass http $HOME_NET any -> $EXTERNAL_NET 80 (http.host; dotprefix; content:".example.com"; endswith; msg:"Allowed HTTP domain"; priority:1; sid:102120; rev:1;)`,
		`pass http $HOME_NET any -> $EXTERNAL_NET 80 (http.host; dotprefix; content:".mydomain.test"; endswith; msg:"Allowed HTTP domain"; priority:1; sid:102121; rev:1;)`,
		`drop http $HOME_NET any -> $EXTERNAL_NET 80 (msg:"Drop HTTP traffic"; priority:1; sid:102122; rev:1;)`)},
	{source: examples, name: "HTTP to specific domains only, strict order", o: networkfirewall.Options{WebOnly: true, DropRest: true}, pass: twoDomains, drop: otherDomains, group: written(strict,
		`pass http $HOME_NET any -> $EXTERNAL_NET 80 (http.host; dotprefix; content:".example.com"; endswith; msg:"Allowed HTTP domain"; sid:102120; rev:1;)`,
		`pass http $HOME_NET any -> $EXTERNAL_NET 80 (http.host; dotprefix; content:".mydomain.test"; endswith; msg:"Allowed HTTP domain"; sid:102121; rev:1;)`)},
	{source: examples, name: "HTTP to specific domains only and no other IP traffic, action order", o: webOnly, pass: []string{"http:www.example.com:80"}, drop: append([]string{"http:mydomain.test:80"}, otherDomains...), group: written(byAction,
		`pass http $HOME_NET any -> $EXTERNAL_NET 80 (http.host; dotprefix; content:".example.com"; endswith; msg:"Allowed HTTP domain"; priority:1; sid:892120; rev:1;)`,
		`drop tcp $HOME_NET any -> $EXTERNAL_NET 80 (msg:"Drop established non-HTTP to TCP:80"; flow: from_client,established; sid:892191; priority:5; rev:1;)`,
		`drop ip $HOME_NET any <> $EXTERNAL_NET any (msg: "Drop non-TCP traffic."; ip_proto:!TCP;sid:892192; rev:1;)`,
		`drop tcp $HOME_NET any -> $EXTERNAL_NET !80 (msg:"Drop All non-TCP:80"; sid:892193; priority:2; rev:1;)`)},
	{source: examples, name: "the same, strict order", o: networkfirewall.Options{WebOnly: true, DropRest: true}, pass: []string{"http:www.example.com:80"}, drop: otherDomains, group: written(strict,
		`pass http $HOME_NET any -> $EXTERNAL_NET 80 (http.host; dotprefix; content:".example.com"; endswith; msg:"Allowed HTTP domain"; sid:892120; rev:1;)`,
		`pass tcp $HOME_NET any <> $EXTERNAL_NET 80 (flow:not_established; sid:892191; rev:1;)`)},
	{source: ordering, name: "all that pass go before all that drop, whatever their priority", o: tlsOnly, pass: []string{"tls:www.example.com:443"}, drop: []string{"tls:other.test:443"}, group: written(byAction,
		`drop tls $HOME_NET any -> $EXTERNAL_NET any (priority:1; sid:1;)`,
		`pass tls $HOME_NET any -> $EXTERNAL_NET any (tls.sni; content:"www.example.com"; startswith; endswith; nocase; priority:255; sid:2;)`)},
	{source: ordering, name: "rules are processed in the order in which they're defined", o: tlsOnly, drop: []string{"tls:www.example.com:443"}, group: written(strict,
		`drop tls $HOME_NET any -> $EXTERNAL_NET any (sid:1;)`,
		`pass tls $HOME_NET any -> $EXTERNAL_NET any (tls.sni; content:"www.example.com"; startswith; endswith; nocase; sid:2;)`)},
	{source: ordering, name: "priority is only valid using action order", o: tlsOnly, wrong: "priority has no place in strict order", group: written(strict,
		`drop tls $HOME_NET any -> $EXTERNAL_NET any (priority:1; sid:1;)`)},
}

var (
	tlsOnly      = networkfirewall.Options{TLSOnly: true}
	webOnly      = networkfirewall.Options{WebOnly: true}
	allowedTLS   = []string{"tls:amazon.com:443", "tls:www.amazon.com:443", "tls:a.b.amazon.com:443", "tls:example.com:443"}
	refusedTLS   = []string{"tls:notamazon.com:443", "tls:www.example.com:443", "tls:other.test:443"}
	allowedHTTP  = []string{"http:amazon.com:80", "http:www.amazon.com:80", "http:example.com:80"}
	refusedHTTP  = []string{"http:notamazon.com:80", "http:www.example.com:80", "http:other.test:80", "tls:amazon.com:443"}
	twoDomains   = []string{"http:www.example.com:80", "http:example.com:80", "http:mydomain.test:80", "http:a.mydomain.test:80"}
	otherDomains = []string{"http:notexample.com:80", "http:other.test:80", "tls:www.example.com:443", "tls:www.example.com:22"}
)

func TestDocumentedExamplesOfAWSHaveTheVerdictThatItDocuments(t *testing.T) {
	t.Parallel()
	for _, c := range documented {
		p, err := compiled(c.group, c.o)
		if c.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("%s (%s): %v, want %q", c.name, c.source, err, c.wrong)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s (%s): %v", c.name, c.source, err)
			continue
		}
		for _, target := range c.pass {
			if !passes(t, p, target) {
				t.Errorf("%s (%s): refuses %s", c.name, c.source, target)
			}
		}
		for _, target := range c.drop {
			if passes(t, p, target) {
				t.Errorf("%s (%s): allows %s", c.name, c.source, target)
			}
		}
	}
}

// callers says who calls, for groups that do not.
const callers = "version: 1\nfunctions: {billing: {identify: {sources: [10.0.0.0/24]}}}\n"

// compiled converts a rule group, and loads what comes out.
func compiled(group string, o networkfirewall.Options) (*policy.Policy, error) {
	o.Function = "billing"
	p, err := networkfirewall.Read("group", []byte(group), o)
	if err != nil {
		return nil, err
	}
	c := convert.Callers{Name: "callers"}
	if p.Functions[0].Sources == nil {
		c.Data = []byte(callers)
	}
	data, err := convert.Assemble(p, c, nil)
	if err != nil {
		return nil, err
	}
	return loaded(string(data))
}

// loaded loads a policy.
func loaded(text string) (*policy.Policy, error) {
	cfg, err := config.Parse("egress.yaml", []byte(text), nil)
	if err != nil {
		return nil, err
	}
	p, _, err := cfg.Compile()
	return p, err
}

// passes reports whether the function may reach protocol:host:port. A rule that wants TLS is
// for plain HTTP on port 80 alone.
func passes(t *testing.T, p *policy.Policy, s string) bool {
	t.Helper()
	protocol, authority, _ := strings.Cut(s, ":")
	target, err := hostname.ParseTarget(authority)
	if err != nil {
		t.Fatal(fmt.Errorf("%s: %w", s, err))
	}
	d := p.Decide(p.Function("billing"), target, time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC))
	return d.Verdict == verdict.Allow && (protocol == "tls" || target.Port == 80 || d.Rule.TLS() == policy.TLSAny)
}
