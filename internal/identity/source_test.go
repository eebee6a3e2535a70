package identity

import (
	"net/netip"
	"testing"
)

func TestSourcesFindTheFunctionOfTheLongestRange(t *testing.T) {
	table, err := New([]Entry{
		{Function: "wide", Sources: ranges("10.0.0.0/8", "fd00::/16")},
		{Function: "narrow", Sources: ranges("10.1.0.0/16", "fd00::/64")},
		{Function: "token", Tokens: []Token{token("a")}, Sources: ranges("10.1.2.0/24", "10.9.0.0/16")},
		{Function: "other", Tokens: []Token{token("b")}, Sources: ranges("10.9.0.0/16", "10.9.0.0/16", "10.9.9.0/24")},
		{Function: "anywhere", Tokens: []Token{token("c")}},
		{Function: "again", Tokens: []Token{token("d")}, Sources: ranges("10.7.0.0/16", "10.7.0.0/16")},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := NewSources(table)
	for _, tt := range []struct {
		what, addr, want string
	}{
		{"a range", "10.200.0.1", "wide"},
		{"a longer range within it", "10.1.200.1", "narrow"},
		{"the longest, of a function that has a token too", "10.1.2.3", "token"},
		{"an IPv4-mapped address", "::ffff:10.1.2.3", "token"},
		{"a range of two functions", "10.9.1.1", ""},
		{"a longer range within that", "10.9.9.1", "other"},
		{"a range that one function lists twice", "10.7.0.1", "again"},
		{"IPv6", "fd00:0:0:1::1", "wide"},
		{"a longer IPv6 range", "fd00::1", "narrow"},
		{"an address with a zone", "fd00::1%eth0", "narrow"},
		{"outside of every range", "192.0.2.1", ""},
	} {
		got, ok := s.Find(netip.MustParseAddr(tt.addr))
		if got != tt.want || ok != (tt.want != "") {
			t.Errorf("%s: %s is %q, %t, want %q", tt.what, tt.addr, got, ok, tt.want)
		}
	}
}

func TestSourcesOfNoTableFindNobody(t *testing.T) {
	if f, ok := NewSources(nil).Find(netip.MustParseAddr("10.0.0.1")); ok || f != "" {
		t.Errorf("found %q", f)
	}
	if f, ok := NewSources(house(t)).Find(netip.Addr{}); ok || f != "" {
		t.Errorf("the zero address is %q", f)
	}
}
