package policy_test

import (
	"net/netip"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/ipclass"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
)

// open is a policy under which name.test may resolve to anything at all, and
// every literal address is allowed.
func open(t *testing.T) *policy.Policy {
	all := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	rule := host("name.test")
	rule.Conditions.Addresses = all
	return mustCompile(t, oneFunction(rule, cidr("0.0.0.0/0", 443), cidr("::/0", 443)))
}

func TestSomeAddressesAreOpenedByNoRule(t *testing.T) {
	p := open(t)
	f := p.Function("f")
	byName := p.Decide(f, mustTarget("name.test:443"), noon)
	for _, text := range []string{
		"169.254.169.254", "0.0.0.0", "fe80::1", "fe80::1%eth0", "fd00:ec2::254", "::", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1",
		"64:ff9b:1:ffa9:fe:a9fe::", "127.0.0.1", "::1", "10.0.0.1", "fd00:ec3::1", "64:ff9b::10.0.0.1", "2002:a00:1::1", "2001:db8::1", "8.8.8.8", "2600::1",
	} {
		a := netip.MustParseAddr(text)
		blocked := ipclass.AlwaysBlocked(a)
		if got := byName.PermitsAddress(a); got == blocked {
			t.Errorf("a name whose rule opens everything resolves to %s: permitted = %t", text, got)
		}
		literal := p.Decide(f, hostname.Target{Host: hostname.AddrHost(a), Port: 443}, noon)
		if got := literal.PermitsAddress(a); got == blocked {
			t.Errorf("a rule for all literals, target %s: permitted = %t", text, got)
		}
	}
}

func TestARuleOpensItsAddressesForItsHostAlone(t *testing.T) {
	legacy := host("legacy.test")
	legacy.Conditions.Addresses = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("64:ff9b::/96")}
	p := mustCompile(t, oneFunction(legacy, host("plain.test"), cidr("10.2.0.0/16", 443)))
	f := p.Function("f")
	for _, c := range []struct {
		target, addr string
		want         bool
	}{
		{"legacy.test:443", "10.1.2.3", true}, {"legacy.test:443", "::ffff:10.1.2.3", true},
		{"legacy.test:443", "10.2.0.1", false}, {"legacy.test:443", "8.8.8.8", true}, {"legacy.test:443", "127.0.0.1", false},
		{"legacy.test:443", "64:ff9b::a00:1", true}, {"legacy.test:443", "64:ff9b::a9fe:a9fe", false},
		{"plain.test:443", "10.1.2.3", false}, {"plain.test:443", "8.8.8.8", true}, {"plain.test:443", "2600::1", true},
		{"plain.test:443", "64:ff9b::808:808", false},
		{"10.2.0.1:443", "10.2.0.1", true}, {"10.2.0.1:443", "10.3.0.1", false}, {"10.1.2.3:443", "10.1.2.3", false},
		{"[::ffff:10.2.0.1]:443", "10.2.0.1", true},
		{"legacy.test:80", "8.8.8.8", false}, {"absent.test:443", "8.8.8.8", false},
	} {
		d := p.Decide(f, mustTarget(c.target), noon)
		if got := d.PermitsAddress(netip.MustParseAddr(c.addr)); got != c.want {
			t.Errorf("%s at %s: permitted = %t, want %t", c.target, c.addr, got, c.want)
		}
	}
}

func TestAPrivateAddressNeedsARuleThatNamesIt(t *testing.T) {
	p := mustCompile(t, oneFunction(host("name.test")))
	d := p.Decide(p.Function("f"), mustTarget("name.test:443"), noon)
	for _, text := range []string{
		"10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "127.0.0.1", "0.0.0.0", "0.1.2.3", "192.0.0.1", "198.18.0.1",
		"240.0.0.1", "255.255.255.255", "224.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe",
		"2002:a9fe:a9fe::1", "2001:0:102:304::1", "::169.254.169.254", "::5efe:a00:1", "fd00:ec2::254", "fd00:ec2::23", "fe80::1",
		"fec0::1", "ff02::1", "::", "::1", "100::1", "2001:db8::1", "3fff::1", "5f00::1",
	} {
		if d.PermitsAddress(netip.MustParseAddr(text)) {
			t.Errorf("name.test may be reached at %s", text)
		}
	}
}
