package ipclass_test

import (
	"net/netip"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/ipclass"
)

func TestPublicUnicastIsWhatTheRegistriesLeave(t *testing.T) {
	for _, c := range []struct {
		text   string
		public bool
	}{
		// The first and the last address of each special-purpose IPv4 range, and their neighbours.
		{"0.0.0.0", false}, {"0.1.2.3", false}, {"0.255.255.255", false}, {"1.0.0.0", true},
		{"9.255.255.255", true}, {"10.0.0.0", false}, {"10.1.2.3", false}, {"10.255.255.255", false}, {"11.0.0.0", true},
		{"100.63.255.255", true}, {"100.64.0.0", false}, {"100.64.0.1", false}, {"100.127.255.255", false}, {"100.128.0.0", true},
		{"126.255.255.255", true}, {"127.0.0.0", false}, {"127.0.0.1", false}, {"127.255.255.255", false}, {"128.0.0.0", true},
		{"169.253.255.255", true}, {"169.254.0.0", false}, {"169.254.169.254", false}, {"169.254.170.2", false}, {"169.254.255.255", false}, {"169.255.0.0", true},
		{"172.15.255.255", true}, {"172.16.0.0", false}, {"172.16.0.1", false}, {"172.31.255.255", false}, {"172.32.0.0", true},
		{"191.255.255.255", true}, {"192.0.0.0", false}, {"192.0.0.1", false}, {"192.0.0.255", false}, {"192.0.1.0", true},
		{"192.0.1.255", true}, {"192.0.2.0", false}, {"192.0.2.255", false}, {"192.0.3.0", true},
		{"192.31.195.255", true}, {"192.31.196.0", false}, {"192.31.196.255", false}, {"192.31.197.0", true},
		{"192.52.192.255", true}, {"192.52.193.0", false}, {"192.52.193.255", false}, {"192.52.194.0", true},
		{"192.88.98.255", true}, {"192.88.99.0", false}, {"192.88.99.2", false}, {"192.88.99.255", false}, {"192.88.100.0", true},
		{"192.167.255.255", true}, {"192.168.0.0", false}, {"192.168.1.1", false}, {"192.168.255.255", false}, {"192.169.0.0", true},
		{"192.175.47.255", true}, {"192.175.48.0", false}, {"192.175.48.255", false}, {"192.175.49.0", true},
		{"198.17.255.255", true}, {"198.18.0.0", false}, {"198.18.0.1", false}, {"198.19.255.255", false}, {"198.20.0.0", true},
		{"198.51.99.255", true}, {"198.51.100.0", false}, {"198.51.100.255", false}, {"198.51.101.0", true},
		{"203.0.112.255", true}, {"203.0.113.0", false}, {"203.0.113.255", false}, {"203.0.114.0", true},
		{"223.255.255.255", true}, {"224.0.0.0", false}, {"224.0.0.1", false}, {"239.255.255.255", false},
		{"240.0.0.0", false}, {"240.0.0.1", false}, {"255.255.255.255", false},
		// IPv6: outside of 2000::/3 nothing is public.
		{"::", false}, {"::1", false}, {"100::1", false}, {"100:0:0:1::1", false}, {"1fff:ffff::", false},
		{"4000::", false}, {"5f00::1", false}, {"fc00::1", false}, {"fd00:ec2::254", false}, {"fd00:ec2::23", false},
		{"fe80::1", false}, {"fec0::1", false}, {"ff02::1", false},
		// Within it, the special-purpose ranges and their neighbours.
		{"2000::", true}, {"2000:ffff:ffff::", true}, {"2001::", false}, {"2001::1", false}, {"2001:1::1", false}, {"2001:2::1", false},
		{"2001:3::1", false}, {"2001:4:112::1", false}, {"2001:10::1", false}, {"2001:20::1", false}, {"2001:30::1", false},
		{"2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", false}, {"2001:200::", true},
		{"2001:db7:ffff::", true}, {"2001:db8::1", false}, {"2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", false}, {"2001:db9::", true},
		{"2001:ffff::1", true}, {"2002::", false}, {"2002:a9fe:a9fe::1", false}, {"2002:808:808::1", false}, {"2003::1", true},
		{"2620:4f:7fff::1", true}, {"2620:4f:8000::1", false}, {"2620:4f:8000:ffff::1", false}, {"2620:4f:8001::1", true},
		{"3ffe:ffff::1", true}, {"3fff::1", false}, {"3fff:fff:ffff::1", false}, {"3fff:1000::1", true}, {"3fff:ffff:ffff::1", true},
		{"2600:1f14::1", true}, {"2a05:d018::1", true},
		// An IPv4-mapped address is what it maps; every other embedding is special.
		{"::ffff:8.8.8.8", true}, {"::ffff:169.254.169.254", false}, {"::ffff:10.0.0.1", false}, {"::ffff:127.0.0.1", false},
		{"::8.8.8.8", false}, {"::169.254.169.254", false}, {"::ffff:0:8.8.8.8", false}, {"::5efe:a00:1", false},
		{"64:ff9b::8.8.8.8", false}, {"64:ff9b::a9fe:a9fe", false}, {"64:ff9b:1::8.8.8.8", false}, {"64:ff9b:1::a9fe:a9fe", false},
		{"2600::5efe:10.0.0.1", false}, {"2600::200:5efe:10.0.0.1", false}, {"2600::100:5efe:10.0.0.1", true},
		// A zone belongs to one machine.
		{"fe80::1%eth0", false}, {"2600::1%eth0", false},
	} {
		if got := ipclass.IsPublic(netip.MustParseAddr(c.text)); got != c.public {
			t.Errorf("IsPublic(%s) = %t, want %t", c.text, got, c.public)
		}
	}
	if ipclass.IsPublic(netip.Addr{}) {
		t.Error("the zero Addr is public")
	}
	if ipclass.IsPublic(netip.MustParseAddr("::ffff:8.8.8.8").WithZone("eth0")) {
		t.Error("a mapped address with a zone is public")
	}
}

func TestSomeAddressesAreAlwaysBlocked(t *testing.T) {
	for _, c := range []struct {
		text    string
		blocked bool
	}{
		{"169.254.0.0", true}, {"169.254.169.254", true}, {"169.254.169.253", true}, {"169.254.170.2", true}, {"169.254.170.23", true}, {"169.254.255.255", true},
		{"0.0.0.0", true}, {"0.1.2.3", true}, {"fe80::1", true}, {"febf::1", true}, {"fd00:ec2::254", true}, {"fd00:ec2::23", true}, {"::", true},
		{"fe80::1%eth0", true},
		// The same within another address.
		{"::ffff:169.254.169.254", true}, {"::ffff:a9fe:a9fe", true}, {"::ffff:0.0.0.0", true},
		{"::169.254.169.254", true}, {"::ffff:0:169.254.169.254", true},
		{"64:ff9b::a9fe:a9fe", true}, {"64:ff9b::0.0.0.0", true},
		{"2002:a9fe:a9fe::1", true}, {"2002:a9fe:aa02::", true},
		{"2001:0:a9fe:a9fe::1", true}, {"2001:0:102:304::5601:5601", true}, // Teredo: server, then client with its bits turned over
		{"2600::5efe:169.254.169.254", true}, {"2600::200:5efe:169.254.170.2", true}, {"::5efe:a9fe:a9fe", true}, {"fd12::5efe:a9fe:a9fe", true},
		// 64:ff9b:1::/48 at the prefix lengths 96, 64, 56 and 48.
		{"64:ff9b:1::a9fe:a9fe", true}, {"64:ff9b:1:ffff:ffff:ffff:a9fe:a9fe", true},
		{"64:ff9b:1:fffe:a9:fea9:fe00:0", true}, {"64:ff9b:1:fffe:a9:fea9:fe12:3456", true},
		{"64:ff9b:1:ffa9:fe:a9fe::", true}, {"64:ff9b:1:ffa9:fe:a9fe:1234:5678", true},
		{"64:ff9b:1:a9fe:a9:fe00::", true}, {"64:ff9b:1:a9fe:a9:fe12:3456:789a", true},
		// What a rule can open.
		{"127.0.0.1", false}, {"::1", false}, {"::ffff:127.0.0.1", false}, {"10.0.0.1", false}, {"192.168.0.1", false}, {"100.64.0.1", false},
		{"fd00:ec3::1", false}, {"fd00:ec1:ffff::1", false}, {"fec0::1", false}, {"fc00::1", false}, {"169.253.255.255", false}, {"169.255.0.0", false}, {"1.0.0.0", false},
		{"64:ff9b::10.0.0.1", false}, {"64:ff9b:1::10.0.0.1", false}, {"64:ff9b:1:a00:0:100::", false}, {"64:ff9b:1:fffe:a:1:200:0", false},
		{"2002:a00:1::1", false}, {"8.8.8.8", false}, {"2600::1", false}, {"2600::5efe:10.0.0.1", false}, {"2001:db8::1", false},
	} {
		if got := ipclass.AlwaysBlocked(netip.MustParseAddr(c.text)); got != c.blocked {
			t.Errorf("AlwaysBlocked(%s) = %t, want %t", c.text, got, c.blocked)
		}
	}
	if !ipclass.AlwaysBlocked(netip.Addr{}) {
		t.Error("the zero Addr can be opened")
	}
	if !ipclass.AlwaysBlocked(netip.MustParseAddr("::ffff:8.8.8.8").WithZone("eth0")) {
		t.Error("a mapped address with a zone can be opened")
	}
}

func TestAPrefixWithinTheAlwaysBlockedIsKnown(t *testing.T) {
	for text, blocked := range map[string]bool{
		"169.254.0.0/16": true, "169.254.170.2/32": true, "169.0.0.0/8": false, "169.254.0.0/15": false,
		"fe80::/10": true, "fe80::/64": true, "fe80::/9": false, "fd00:ec2::/32": true, "fd00:ec2::254/128": true, "fd00::/8": false,
		"::/128": true, "::/0": false, "0.0.0.0/0": false, "0.0.0.0/8": true, "0.0.0.0/32": true, "10.0.0.0/8": false,
	} {
		if got := ipclass.AlwaysBlockedPrefix(netip.MustParsePrefix(text)); got != blocked {
			t.Errorf("AlwaysBlockedPrefix(%s) = %t, want %t", text, got, blocked)
		}
	}
	if ipclass.AlwaysBlockedPrefix(netip.Prefix{}) {
		t.Error("the zero Prefix lies within a range")
	}
}
