package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
)

// frontsPolicy is the policy of every front. Functions are known by their sources, which
// is all that a question shows: the third byte is the place in the file.
const frontsPolicy = `version: 1
deny: ["*.denied.test", denied.test, never.wild.test, "*.shut.wild.test"]
sets: {common: [shared.test, "*.many.test"]}
functions:
  billing:
    identify: {sources: [127.0.1.0/24]}
    allow:
      - {host: exact.test, ports: [${port}], tls: any, addresses: [127.0.0.0/8]}
      - {host: under_score.test, ports: [${port}], tls: any, addresses: [127.0.0.0/8]}
      - {host: _srv._tcp.test, ports: [${port}], tls: any, addresses: [127.0.0.0/8]}
      - {host: bücher.test, ports: [${port}], tls: any, addresses: [127.0.0.0/8]}
      - {host: пример.test, ports: [${port}], tls: any, addresses: [127.0.0.0/8]}
      - {host: renewed.test, ports: [${port}], expires: 2020-01-31}
      - {host: renewed.test, ports: [${port}], tls: any, addresses: [127.0.0.0/8]}
      - {host: old.test, ports: [${port}], expires: 2020-01-31}
      - {host: "*.old.test", ports: [${port}], expires: 2020-01-31}
      - {host: "*.wild.test", ports: [${port}], tls: any, addresses: [127.0.0.0/8]}
      - {host: "*.deep.wild.test", ports: [${port}], tls: any, addresses: [127.0.0.0/8]}
      - {set: common, ports: [${port}], tls: any}
      - {host: private.test, ports: [${port}], tls: any}
      - {host: "*.private.test", ports: [${port}], tls: any}
      - {host: metadata.test, ports: [${port}], tls: any, addresses: [10.0.0.0/8]}
      - {host: denied.test, ports: [${port}], tls: any}
      - {host: "*.denied.test", ports: [${port}], tls: any}
      - {host: fails.test, ports: [${port}], tls: any}
      - {host: strict.test, ports: [${port}], addresses: [127.0.0.0/8]}
      - {host: "*.strict.test", ports: [${port}], addresses: [127.0.0.0/8]}
      - {host: port.test, ports: [1], tls: any, addresses: [127.0.0.0/8]}
      - {host: "*.port.test", ports: [1], tls: any, addresses: [127.0.0.0/8]}
      - {cidr: 127.0.0.1/32, ports: [${port}], tls: any}
  nightly:
    mode: report
    report_until: 2999-12-31
    identify: {sources: [127.0.2.0/24]}
    allow:
      - {host: exact.test, ports: [${port}], tls: any, addresses: [127.0.0.0/8]}
      - {host: old.test, ports: [${port}], tls: any, expires: 2020-01-31, addresses: [127.0.0.0/8]}
  idle:
    identify: {sources: [127.0.3.0/24]}
    allow: []
`

// The functions of frontsPolicy.
const (
	frontsBilling = iota
	frontsNightly
	frontsIdle
)

// targetKind says of which targets fronts do not answer alike.
type targetKind int

const (
	alike      targetKind = iota
	wantsTLS              // the rule wants a ClientHello
	otherPort             // a rule has the host and not the port
	anAddress             // a literal address
	notCarried            // a host that no DNS message can carry
)

// differs is what fronts answer in place of what the row says. A lookup has no port, and
// asks for names alone; a ClientHello is asked for behind the 200, and a plain request
// has none; "-" is not asked.
var differs = map[targetKind]map[string]string{
	wantsTLS:   {"plain": "deny not_tls"},
	otherPort:  {"lookup": "allow "},
	anAddress:  {"lookup": "deny bad_target"},
	notCarried: {"lookup": "-"},
}

// frontsTargets are hosts, what they resolve to, and what every front says of them. Of
// names each form stands for five: as it is, in capitals, mixed, with a last dot, and both.
var frontsTargets = []struct {
	function int
	verdict  string // and the reason
	kind     targetKind
	answer   string // "->alias" for each alias, then addresses; "": the lookup fails
	names    string // each in five forms
	hosts    string // each as it is
}{
	{frontsBilling, "allow ", alike, "127.0.0.1", "exact.test under_score.test _srv._tcp.test xn--bcher-kva.test xn--e1afmkfd.test renewed.test a.wild.test a.b.c.wild.test x.deep.wild.test deep.wild.test", ""},
	{frontsBilling, "allow ", alike, "->elsewhere.test 127.0.0.1", "alias.wild.test", ""},
	{frontsBilling, "allow ", alike, "->5.0/25.2.0.192.in-addr.arpa 127.0.0.1", "classless.wild.test", ""},
	{frontsBilling, "allow ", alike, "->ends-.test ->-begins.test ->xn--a.test ->star.*.test 127.0.0.1 127.0.0.2", "odd.wild.test", ""},
	{frontsBilling, "deny host_denied", alike, "127.0.0.1", "denied.test a.denied.test a.b.denied.test never.wild.test x.shut.wild.test", ""},
	{frontsBilling, "deny host_denied", alike, "->a.denied.test 127.0.0.1", "to-denied.wild.test", ""},
	{frontsBilling, "deny host_denied", alike, "->cdn.wild.test ->denied.test ->elsewhere.test 127.0.0.1", "far.wild.test", ""},
	{frontsBilling, "deny host_denied", alike, "->ends-.test ->-x.denied.test 127.0.0.1", "odd-denied.wild.test", ""},
	{frontsBilling, "deny host_denied", alike, "->never.wild.test 10.0.0.1", "both.wild.test", ""},
	{frontsBilling, "deny host_not_allowed", alike, "127.0.0.1", "wild.test awild.test www.exact.test exact.test.evil.test many.test test evil.test 4f6e65206d6f726520.evil.test shut.test xact.test", ""},
	{frontsBilling, "deny rule_expired", alike, "127.0.0.1", "old.test a.old.test", ""},
	{frontsBilling, "deny address_not_allowed", alike, "10.1.2.3", "private.test a.private.test shared.test a.many.test", ""},
	{frontsBilling, "deny address_not_allowed", alike, "127.0.0.1 10.1.2.3", "mixed.wild.test", ""},
	{frontsBilling, "deny address_not_allowed", alike, "169.254.169.254", "metadata.test imds.wild.test", ""},
	{frontsBilling, "deny dns_failed", alike, "", "fails.test nowhere.wild.test", ""},
	{frontsBilling, "allow ", wantsTLS, "127.0.0.1", "strict.test a.strict.test", ""},
	{frontsBilling, "deny port_not_allowed", otherPort, "127.0.0.1", "port.test a.port.test", ""},
	{frontsNightly, "allow ", alike, "127.0.0.1", "exact.test", ""},
	{frontsNightly, "report rule_expired", alike, "127.0.0.1", "old.test", ""},
	{frontsNightly, "deny host_denied", alike, "127.0.0.1", "a.denied.test", ""},
	{frontsNightly, "deny address_not_allowed", alike, "127.0.0.1", "other.test", ""},
	{frontsNightly, "deny dns_failed", alike, "", "nowhere.test", ""},
	{frontsIdle, "deny host_not_allowed", alike, "127.0.0.1", "exact.test a.wild.test", ""},
	{frontsIdle, "deny host_denied", alike, "127.0.0.1", "denied.test", ""},
	{frontsBilling, "deny bad_target", alike, "127.0.0.1", "", "-exact.test exact-.test exact.test- *.wild.test * exact,test exact!.test exact'.test $exact.test exact&.test exact=.test exact~.test exact+.test " +
		"(exact).test exact;.test 0x7f.1 127.1 1 2130706433 0177.0.0.1 0x7f000001 127.0.0.01 127.0.0.256 1.2.3.4.5 a.1 a.0x1 a.0b1 127.0.0.1. xn--a.test xn--zzzzzz.test xn--abc-.test xn--0.test a.xn--ls8h-.test"},
	{frontsBilling, "deny bad_target", notCarried, "127.0.0.1", "", "exact..test .exact.test exact.test.. .. " + strings.Repeat("a", 64) + ".wild.test " + strings.Repeat("a.", 124) + "wild.test"},
	{frontsBilling, "allow ", anAddress, "", "", "127.0.0.1"},
	{frontsBilling, "deny host_not_allowed", anAddress, "", "", "127.0.0.2 10.1.2.3 169.254.169.254 0.0.0.0 255.255.255.255"},
	{frontsBilling, "deny host_not_allowed", notCarried, "", "", "[::1] [fd00:ec2::254]"},
	{frontsBilling, "allow ", notCarried, "", "", "[::ffff:127.0.0.1]"},
}

// forms are five spellings of a name.
func forms(name string) []string {
	mixed := []byte(name)
	for i := range mixed {
		if i%2 == 0 {
			mixed[i] = strings.ToUpper(name)[i]
		}
	}
	return []string{name, strings.ToUpper(name), string(mixed), name + ".", strings.ToUpper(name) + "."}
}

// resolves makes a name resolve to what a row of frontsTargets says.
func (e *everyFront) resolves(name, answer string) {
	var a answerOf
	for _, word := range strings.Fields(answer) {
		if alias, is := strings.CutPrefix(word, "->"); is {
			a.aliases = append(a.aliases, alias)
		} else {
			a.addresses = append(a.addresses, netip.MustParseAddr(word))
		}
	}
	e.answers.Store(hostname.Fold(name), a)
}

// agree asks every front for a host and compares what they say with what is wanted, and
// with each other in what the record has. It returns how many were asked.
func (e *everyFront) agree(function int, host, want string, kind targetKind) (asked int) {
	e.t.Helper()
	var first *outcome
	for _, f := range fronts {
		expected := cmp.Or(differs[kind][f.name], want)
		if expected == "-" {
			continue
		}
		asked++
		o := f.ask(e, function, host)
		if got := o.verdict + " " + o.reason; got != expected {
			e.t.Errorf("%q of %s, %s: %s, want %s", host, e.cfg.Functions[function].Name, f.name, got, expected)
		}
		if expected != want || o.reason == "bad_target" {
			continue // a target that is none has no host in a record but that of a question
		}
		if first == nil {
			first = &o
		}
		if f.name == "explain" && o.rule == "" {
			o.rule = first.rule // the rules of a refusal stand in its lines before the last
		}
		if o != *first {
			e.t.Errorf("%q of %s, %s: %+v, others %+v", host, e.cfg.Functions[function].Name, f.name, o, *first)
		}
	}
	return asked
}

// Each target gets the same verdict from every front, with the same rule, host and
// function in the record. Where fronts cannot answer alike, differs has it.
func TestEveryFrontHasTheSameVerdict(t *testing.T) {
	t.Parallel()
	e := newEveryFront(t, frontsPolicy, 1<<30)
	targets, asked := 0, 0
	for _, row := range frontsTargets {
		hosts := strings.Fields(row.hosts)
		for _, name := range strings.Fields(row.names) {
			hosts = append(hosts, forms(name)...)
		}
		for _, host := range hosts {
			e.resolves(host, row.answer)
			targets++
			asked += e.agree(row.function, host, row.verdict, row.kind)
			if _, carried := dns.IsDomainName(host); carried == (row.kind == notCarried) && !strings.HasPrefix(host, "[") {
				t.Errorf("%q can be asked by DNS: %t", host, carried)
			}
		}
	}
	if targets < 300 || asked < 5*targets-20 {
		t.Errorf("%d targets were asked for in %d ways", targets, asked)
	}
}

// Every front counts the names below a wildcard alike: as many pass, and the next is
// refused before it is looked up, whether a rule wants TLS or is reported on.
func TestEveryFrontHasTheSameLimitOfNames(t *testing.T) {
	t.Parallel()
	const limit = 3
	for _, f := range fronts {
		e := newEveryFront(t, frontsPolicy, limit)
		for _, below := range []string{"wild.test", "deep.wild.test"} {
			for i := range 2 * limit {
				host, want := fmt.Sprintf("%s-%d.%s", strings.ReplaceAll(f.name, " ", "-"), i, below), "allow "
				e.resolves(host, "127.0.0.1")
				if i >= limit && f.name != "explain" { // it knows no other names
					want = "deny limit_names"
				}
				if o := f.ask(e, frontsBilling, host); o.verdict+" "+o.reason != want {
					t.Errorf("%s, name %d below %s: %s %s, want %s", f.name, i, below, o.verdict, o.reason, want)
				}
			}
		}
	}
	// By whatever front it came, a name of the function is one. What is asked by an address
	// counts apart: that can be forged, and forgers take nothing from the function.
	e := newEveryFront(t, frontsPolicy, limit)
	proxied := slices.DeleteFunc(slices.Clone(fronts), func(f front) bool { return f.name == "lookup" || f.name == "explain" })
	for i := range 2 * len(proxied) {
		host, want := fmt.Sprintf("any%d.wild.test", i), "allow "
		e.resolves(host, "127.0.0.1")
		if i >= limit {
			want = "deny limit_names"
		}
		if o := proxied[i%len(proxied)].ask(e, frontsBilling, host); o.verdict+" "+o.reason != want {
			t.Errorf("%s, name %d of all: %s %s, want %s", proxied[i%len(proxied)].name, i, o.verdict, o.reason, want)
		}
		if o := e.lookup(frontsBilling, "any0.wild.test"); o.verdict != "allow" {
			t.Errorf("a lookup after %d names by the proxy: %+v", i+1, o)
		}
	}
}

// FuzzEveryFront asks every front for any host, of any function, by way of any aliases to
// any addresses: what the first says all say.
func FuzzEveryFront(f *testing.F) {
	for _, row := range frontsTargets {
		for _, name := range strings.Fields(row.names + " " + row.hosts) {
			f.Add(byte(row.function), name, row.answer, byte(0))
		}
	}
	// What wants TLS and what has another port is in the table alone.
	var lines []string
	for line := range strings.Lines(frontsPolicy) {
		if !strings.Contains(line, "strict.test") && !strings.Contains(line, "port.test") {
			lines = append(lines, line)
		}
	}
	e := newEveryFront(f, strings.Join(lines, ""), 1<<30)
	addresses := []string{"", "127.0.0.1", "127.0.0.1 127.0.0.2", "10.1.2.3", "169.254.169.254 127.0.0.1", "0.0.0.0"}
	f.Fuzz(func(t *testing.T, function byte, host, answer string, address byte) {
		e.t = t
		// What has a meaning of its own in a request line, or a zone file, is not of a host.
		if host == "" || len(host) > 300 || strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("/?#@:[]\\\"", r) }) {
			return
		}
		kind := alike
		if _, err := netip.ParseAddr(host); err == nil {
			kind = anAddress
		} else if _, carried := dns.IsDomainName(host); !carried {
			kind = notCarried
		}
		e.resolves(host, fuzzedAnswer(answer)+" "+addresses[int(address)%len(addresses)])
		of := int(function) % len(e.cfg.Functions)
		o := fronts[0].ask(e, of, host)
		e.agree(of, host, o.verdict+" "+o.reason, kind)
	})
}

// fuzzedAnswer returns the aliases of an answer that a DNS message can carry, all in lower
// case, as whoever resolves gives them.
func fuzzedAnswer(answer string) string {
	var b strings.Builder
	for _, word := range strings.Fields(strings.ToLower(answer)) {
		alias, _ := strings.CutPrefix(word, "->")
		if _, carried := dns.IsDomainName(alias); carried && alias != "." && !strings.HasSuffix(alias, ".") && !strings.ContainsAny(alias, "\\\"") {
			fmt.Fprintf(&b, "->%s ", alias)
		}
	}
	return b.String()
}
