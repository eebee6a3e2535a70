package main

import (
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/bounds"
)

// Each row of the table has its gauges in a scrape, or says why it has none, and what the
// file asks for is their size.
func TestEveryRowOfBoundsHasItsGauges(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	p := w.start(boundsPolicy)
	_, text := p.get("/metrics")
	for _, metric := range []string{"egress_bound_used", "egress_bound_size"} {
		got := map[string]bool{}
		for _, m := range regexp.MustCompile(`(?m)^`+metric+`\{bound="(.*)"\} `).FindAllStringSubmatch(text, -1) {
			got[m[1]] = true
		}
		for _, b := range bounds.All {
			if why := bounds.Unmeasured[b.Name]; got[b.Name] == (why != "") {
				t.Errorf("%s: %s has a series %v, the reason why not is %q", b.Name, metric, got[b.Name], why)
			}
			delete(got, b.Name)
		}
		if len(got) > 0 {
			t.Errorf("%s has %v, which are no rows", metric, slices.Sorted(maps.Keys(got)))
		}
	}
	for series, want := range map[string]string{
		`egress_bound_size{bound="tunnels"}`:       "432",
		`egress_bound_share{bound="tunnels"}`:      "123",
		`egress_bound_size{bound="unidentified"}`:  "34",
		`egress_bound_share{bound="unidentified"}`: fmt.Sprint(bounds.PreAuth.PartOf(34)),
		`egress_bound_used{bound="lookups"}`:       "0",
	} {
		if got := p.metric(series); got != want {
			t.Errorf("%s is %s, want %s", series, got, want)
		}
	}
	used, limit := p.number("egress_memory_used_bytes"), p.number("egress_memory_limit_bytes")
	if limit <= 0 || used > limit {
		t.Errorf("%v bytes of %v are used", used, limit)
	}
	w.within(patience, "the memory is looked at", func() bool { return p.number("egress_memory_used_bytes") > 0 })
}

// What is in use is counted while it is, and not longer.
func TestGaugesOfBoundsFollowWhatIsInUse(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	p := w.start(boundsPolicy)
	used := func(row string, want string) func() bool {
		return func() bool { return p.metric(`egress_bound_used{bound="`+row+`"}`) == want }
	}
	silent, err := net.Dial("tcp", p.proxy)
	w.must(err)
	w.eventually("a silent connection is unidentified", used("unidentified", "1"))
	asks, err := net.Dial("tcp", p.dns)
	w.must(err)
	w.eventually("a DNS connection is one", used("dns_connections", "1"))
	tunnels := p.open(3)
	w.eventually("three tunnels are open", used("tunnels", "3"))
	w.eventually("and four connections", used("connections", "4"))
	_ = silent.Close()
	_ = asks.Close()
	for _, r := range tunnels {
		_ = r.conn.Close()
	}
	for _, row := range []string{"unidentified", "dns_connections", "tunnels", "connections"} {
		w.eventually("nothing is left of "+row, used(row, "0"))
	}
}

const boundsPolicy = `version: 1
listen: {proxy: "127.0.0.1:0", admin: "127.0.0.1:0", dns: "127.0.0.1:0"}
dns: {upstreams: ["${dns}"], families: ip4, clients: [127.0.0.0/8]}
limits: {tunnels: 432, tunnels_per_function: 123, unidentified: 34}
functions:
  billing:
    identify: {${token_billing}}
    allow:
      - {host: before.test, ports: [${echo}], tls: any, addresses: [127.0.0.0/8]}
`
