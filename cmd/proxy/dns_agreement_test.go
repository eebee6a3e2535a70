package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// bothPolicy drives both listeners. Its functions are known by their sources,
// which is all that a question shows: the third byte is the column of bothTargets.
const bothPolicy = `deny: ["*.denied.test", denied.test, never.wild.test]
sets: {common: [shared.test, "*.many.test"]}
functions:
  billing:
    identify: {sources: [127.0.1.0/24]}
    allow:
      - {host: exact.test, ports: [${echo}], tls: any, addresses: [127.0.0.0/8]}
      - {host: case.test, ports: [${echo}], tls: any, addresses: [127.0.0.0/8]}
      - {host: dot.test, ports: [${echo}], tls: any, addresses: [127.0.0.0/8]}
      - {host: under_score.test, ports: [${echo}], tls: any, addresses: [127.0.0.0/8]}
      - {host: bücher.test, ports: [${echo}], tls: any, addresses: [127.0.0.0/8]}
      - {host: renewed.test, ports: [${echo}], expires: 2020-01-31}
      - {host: renewed.test, ports: [${echo}], tls: any, addresses: [127.0.0.0/8]}
      - {host: old.test, ports: [${echo}], expires: 2020-01-31}
      - {host: "*.wild.test", ports: [${echo}], tls: any, addresses: [127.0.0.0/8]}
      - {host: "*.deep.wild.test", ports: [${echo}], tls: any, addresses: [127.0.0.0/8]}
      - {set: common, ports: [${echo}]}
      - {host: private.test, ports: [${echo}]}
      - {host: mixed.test, ports: [${echo}], addresses: [127.0.0.0/8]}
      - {host: metadata.test, ports: [${echo}], addresses: [10.0.0.0/8]}
      - {host: fails.test, ports: [${echo}]}
      - {host: denied.test, ports: [${echo}]}
  wild:
    identify: {sources: [127.0.2.0/24]}
    allow:
      - {host: "*.wild.test", ports: [${echo}], tls: any, addresses: [127.0.0.0/8]}
  idle:
    identify: {sources: [127.0.3.0/24]}
    allow: []
  nightly:
    mode: report
    report_until: 2999-12-31
    identify: {sources: [127.0.4.0/24]}
    allow:
      - {host: exact.test, ports: [${echo}], tls: any, addresses: [127.0.0.0/8]}
      - {host: old.test, ports: [${echo}], tls: any, expires: 2020-01-31, addresses: [127.0.0.0/8]}
  lapsed:
    mode: report
    report_until: 2020-01-31
    identify: {sources: [127.0.5.0/24]}
    allow: []
  shared:
    identify: {sources: [127.0.6.0/24]}
    allow: [{set: common, ports: [${echo}]}]
  public:
    identify: {sources: [127.0.7.0/24]}
    allow:
      - {host: exact.test, ports: [${echo}]}
      - {host: "*.wild.test", ports: [${echo}]}
  expired:
    identify: {sources: [127.0.8.0/24]}
    allow:
      - {host: exact.test, ports: [${echo}], expires: 2020-01-31}
      - {host: "*.wild.test", ports: [${echo}], expires: 2020-01-31}
`

// bothFunctions are the columns of bothTargets.
var bothFunctions = []string{"billing", "wild", "idle", "nightly", "lapsed", "shared", "public", "expired"}

// verdicts are what the letters of bothTargets mean: the verdict and the reason.
var verdicts = map[byte]string{
	'a': "allow ", 'd': "deny host_denied", 'n': "deny host_not_allowed", 'e': "deny rule_expired",
	'p': "deny address_not_allowed", 'f': "deny dns_failed", 'r': "report rule_expired",
}

// bothTargets are 28 hosts and what each of bothFunctions gets for them, from
// either listener. What nightly has no rule for is looked up, and then refused
// for its address: loopback is not opened by report mode.
var bothTargets = []struct{ host, addrs, verdicts string }{
	{"exact.test", "127.0.0.1", "annannpe"},
	{"Case.TEST", "127.0.0.1", "annpnnnn"},
	{"dot.test.", "127.0.0.1", "annpnnnn"},
	{"under_score.test", "127.0.0.1", "annpnnnn"},
	{"xn--bcher-kva.test", "127.0.0.1", "annpnnnn"},
	{"renewed.test", "127.0.0.1", "annpnnnn"},
	{"old.test", "127.0.0.1", "ennrnnnn"},
	{"a.wild.test", "127.0.0.1", "aanpnnpe"},
	{"a.b.c.wild.test", "127.0.0.1", "aanpnnpe"},
	{"x.deep.wild.test", "127.0.0.1", "aanpnnpe"},
	{"wild.test", "127.0.0.1", "nnnpnnnn"},
	{"awild.test", "127.0.0.1", "nnnpnnnn"},
	{"www.exact.test", "127.0.0.1", "nnnpnnnn"},
	{"exact.test.evil.test", "127.0.0.1", "nnnpnnnn"},
	{"4f6e65206d6f726520.evil.test", "127.0.0.1", "nnnpnnnn"},
	{"shared.test", "192.168.0.1", "pnnpnpnn"},
	{"a.many.test", "100.64.0.1", "pnnpnpnn"},
	{"many.test", "127.0.0.1", "nnnpnnnn"},
	{"private.test", "10.1.2.3", "pnnpnnnn"},
	{"mixed.test", "127.0.0.1 10.1.2.3", "pnnpnnnn"},
	{"metadata.test", "169.254.169.254", "pnnpnnnn"},
	{"fails.test", failure, "fnnfnnnn"},
	{"never.wild.test", "127.0.0.1", "dddddddd"},
	{"denied.test", "127.0.0.1", "dddddddd"},
	{"a.denied.test", "127.0.0.1", "dddddddd"},
	{"alias.wild.test", "->a.denied.test 127.0.0.1", "ddndnnde"},
	{"far.wild.test", "->cdn.wild.test ->denied.test ->elsewhere.test 127.0.0.1", "ddndnnde"},
	{"near.wild.test", "->elsewhere.test 127.0.0.1", "aanpnnpe"},
}

func TestTargetGetsTheSameVerdictByConnectAndByLookup(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	for _, row := range bothTargets {
		w.names.set(canonical(row.host), strings.Fields(row.addrs)...)
	}
	p := w.start(withDNS("record: all", bothPolicy))
	for _, row := range bothTargets {
		for column := range bothFunctions {
			p.asksBoth(fmt.Sprintf("127.0.%d.9", column+1), row.host, verdicts[row.verdicts[column]])
		}
	}
	got := map[string]string{} // by protocol, function and host
	for _, r := range p.records() {
		switch r.Event {
		case "opened", "refused", "answered":
			got[r.Protocol+" "+r.Function+" "+r.Host] += r.Verdict + " " + r.Reason
		}
	}
	compared := 0
	for _, row := range bothTargets {
		for column, function := range bothFunctions {
			want := verdicts[row.verdicts[column]]
			for _, protocol := range []string{"connect", "dns"} {
				if verdict := got[protocol+" "+function+" "+canonical(row.host)]; verdict != want {
					t.Errorf("%s of %s for %s is recorded as %q, want %q", protocol, row.host, function, verdict, want)
				}
			}
			compared++
		}
	}
	if compared != 224 {
		t.Errorf("%d targets were compared, want 224", compared)
	}
}

// canonical is a host as records have it.
func canonical(host string) string { return strings.ToLower(strings.TrimSuffix(host, ".")) }

// asksBoth asks both listeners for a host and checks that both answers are what
// the verdict says.
func (p *running) asksBoth(source, host, verdict string) {
	p.t.Helper()
	target := host + ":" + p.world.vars["echo"]
	r, err := p.askFrom(source, "CONNECT "+target+" HTTP/1.1\r\nHost: "+target+"\r\n\r\n")
	if err != nil {
		p.t.Fatalf("CONNECT %s: %v", target, err)
	}
	if r.conn != nil {
		_ = r.conn.Close()
	}
	looked := p.lookup(source, "udp", host, dns.TypeA)
	reason, refused := strings.CutPrefix(verdict, "deny ")
	if through := r.StatusCode == http.StatusOK; through == refused || refused && r.reason() != reason {
		p.t.Errorf("CONNECT %s from %s: %s, want %s", host, source, r.Status, verdict)
	}
	if answered := len(looked.addrs) > 0; answered == refused || refused && looked.why != reason {
		p.t.Errorf("lookup of %s from %s: %s, want %s", host, source, looked, verdict)
	}
}
