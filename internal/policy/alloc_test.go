package policy_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
)

func TestNoAllocs(t *testing.T) {
	spec := benchSpec(1000)
	f := &spec.Functions[0]
	f.Rules = append(f.Rules, cidr("10.0.0.0/8", 443), cidr("10.1.0.0/16", 80), cidr("2001:db8::/32", 443), cidr("::/0", 22),
		policy.RuleSpec{Set: 1, Conditions: on(443)}, policy.RuleSpec{Set: 2, Conditions: on(443)})
	for d := 1; d < 127; d++ { // a wildcard at every depth, so that every suffix is probed
		f.Rules = append(f.Rules, host("*."+strings.Repeat("b.", d-1)+"b"))
	}
	spec.Sets = [][]hostname.Pattern{{mustPattern("in.set.test")}, {mustPattern("*.set.test")}}
	spec.Deny = deny("denied.test", "*.denied.test", "*.a.b.c.d.e.test")
	p := mustCompile(t, spec)
	for what, s := range map[string]string{
		"exact hit":       "api.service-0.customers.example:443",
		"wildcard hit":    "a.tenant-7.example:443",
		"set hit":         "in.set.test:443",
		"set wildcard":    "x.set.test:443",
		"port miss":       "api.service-0.customers.example:80",
		"miss":            "absent.test:443",
		"denied":          "x.denied.test:443",
		"127 labels":      strings.Repeat("a.", 126) + "a:443",
		"127 labels, hit": strings.Repeat("b.", 126) + "b:443",
		"IPv4 hit":        "10.1.2.3:443",
		"IPv4 miss":       "203.0.113.7:443",
		"IPv6 hit":        "[2001:db8::1]:443",
		"IPv6 miss":       "[2600::1]:443",
		"mapped":          "[::ffff:10.1.2.3]:443",
	} {
		target, f := mustTarget(s), p.Function("f")
		if n := testing.AllocsPerRun(100, func() { p.Decide(f, target, noon) }); n != 0 {
			t.Errorf("%s: a decision allocates %g times", what, n)
		}
		if n := testing.AllocsPerRun(100, func() { _, _ = hostname.ParseTarget(s) }); n != 0 && what != "mapped" {
			t.Errorf("%s: parsing %q allocates %g times", what, s, n)
		}
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = hostname.ParseTarget("API.Stripe.com.:443") }); n > 1 {
		t.Errorf("parsing another spelling allocates %g times", n)
	}
	d := p.Decide(p.Function("f"), mustTarget("a.tenant-7.example:443"), noon)
	for _, text := range []string{"8.8.8.8", "10.0.0.1", "2600::1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1", "::ffff:10.0.0.1"} {
		a := netip.MustParseAddr(text)
		if n := testing.AllocsPerRun(100, func() { d.PermitsAddress(a) }); n != 0 {
			t.Errorf("permitting %s allocates %g times", text, n)
		}
	}
}
