// Package ipclass sorts IP addresses into classes: public unicast, which any
// rule may reach; special-purpose, which a rule has to name; and always blocked,
// which no rule can open. It looks through the ways in which an IPv6 address can
// carry an IPv4 one.
//
// It holds the registries' ranges as of the program's build, performs no I/O and
// knows nothing of rules: package policy puts both together.
//
//	if ipclass.AlwaysBlocked(a) || !ipclass.IsPublic(a) && !named { … refuse … }
package ipclass

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// specialV4 are the IPv4 special-purpose ranges that are not public unicast
// (IANA IPv4 Special-Purpose Address Registry, RFC 6890), multicast included.
var specialV4 = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),       // this network, RFC 791
	netip.MustParsePrefix("10.0.0.0/8"),      // private, RFC 1918
	netip.MustParsePrefix("100.64.0.0/10"),   // carrier NAT, RFC 6598
	netip.MustParsePrefix("127.0.0.0/8"),     // loopback, RFC 1122
	netip.MustParsePrefix("169.254.0.0/16"),  // link-local, RFC 3927
	netip.MustParsePrefix("172.16.0.0/12"),   // private, RFC 1918
	netip.MustParsePrefix("192.0.0.0/24"),    // protocol assignments, RFC 6890
	netip.MustParsePrefix("192.0.2.0/24"),    // documentation, RFC 5737
	netip.MustParsePrefix("192.31.196.0/24"), // AS112, RFC 7535
	netip.MustParsePrefix("192.52.193.0/24"), // AMT, RFC 7450
	netip.MustParsePrefix("192.88.99.0/24"),  // 6to4 relays, RFC 7526
	netip.MustParsePrefix("192.168.0.0/16"),  // private, RFC 1918
	netip.MustParsePrefix("192.175.48.0/24"), // AS112, RFC 7534
	netip.MustParsePrefix("198.18.0.0/15"),   // benchmarking, RFC 2544
	netip.MustParsePrefix("198.51.100.0/24"), // documentation, RFC 5737
	netip.MustParsePrefix("203.0.113.0/24"),  // documentation, RFC 5737
	netip.MustParsePrefix("224.0.0.0/4"),     // multicast, RFC 5771
	netip.MustParsePrefix("240.0.0.0/4"),     // reserved and broadcast, RFC 1112
}

// globalV6 is the only IPv6 range that IANA gives out as global unicast;
// every mapped, compatible and NAT64 form lies outside of it.
var globalV6 = netip.MustParsePrefix("2000::/3")

// specialV6 are the special-purpose ranges within globalV6 (IANA IPv6
// Special-Purpose Address Registry).
var specialV6 = []netip.Prefix{
	netip.MustParsePrefix("2001::/23"),         // protocol assignments, Teredo and ORCHID included
	netip.MustParsePrefix("2001:db8::/32"),     // documentation, RFC 3849
	netip.MustParsePrefix("2002::/16"),         // 6to4, RFC 3056
	netip.MustParsePrefix("2620:4f:8000::/48"), // AS112, RFC 7534
	netip.MustParsePrefix("3fff::/20"),         // documentation, RFC 9637
}

// alwaysBlocked are the ranges that no rule can open: the task's credentials, the instance
// metadata and the resolver lie there; the unspecified addresses reach the
// proxy's own loopback on Linux.
var alwaysBlocked = []netip.Prefix{
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("fd00:ec2::/32"),
	netip.MustParsePrefix("::/128"),
}

// The transition mechanisms that carry an IPv4 address within an IPv6 one.
var (
	compatible = netip.MustParsePrefix("::/96")           // RFC 4291, 2.5.5.1
	translated = netip.MustParsePrefix("::ffff:0:0:0/96") // RFC 2765, 2.1
	nat64      = netip.MustParsePrefix("64:ff9b::/96")    // RFC 6052
	nat64Local = netip.MustParsePrefix("64:ff9b:1::/48")  // RFC 8215
	sixToFour  = netip.MustParsePrefix("2002::/16")       // RFC 3056
	teredo     = netip.MustParsePrefix("2001::/32")       // RFC 4380
)

// IsPublic reports whether a is public unicast: what is left of IPv4 and of
// 2000::/3 when the IANA special-purpose ranges are taken out. An IPv4-mapped
// address is unwrapped first; every other embedding counts as the special
// range that it is. The zero Addr is not public.
func IsPublic(a netip.Addr) bool {
	zone := a.Zone() != ""
	a = a.Unmap()
	switch {
	case !a.IsValid() || zone:
		return false
	case a.Is4():
		return !within(a, specialV4)
	default:
		// An interface identifier of ISATAP (RFC 5214) makes any prefix a
		// tunnel to the IPv4 address in it.
		_, isatap := isatapAddr(a.As16())
		return globalV6.Contains(a) && !within(a, specialV6) && !isatap
	}
}

// AlwaysBlocked reports whether a can be opened by no rule, in itself or through an
// IPv4 address that it embeds.
func AlwaysBlocked(a netip.Addr) bool {
	zone := a.Zone() != ""
	a = a.Unmap()
	if !a.IsValid() || zone || within(a, alwaysBlocked) {
		return true
	}
	if a.Is4() {
		return false
	}
	for _, v4 := range embedded(a) {
		if v4.IsValid() && within(v4, alwaysBlocked) {
			return true
		}
	}
	return false
}

// AlwaysBlockedPrefix reports whether p lies within one of the ranges that no rule
// opens. It does not look through embedded addresses; AlwaysBlocked does.
func AlwaysBlockedPrefix(p netip.Prefix) bool {
	for _, n := range alwaysBlocked {
		if n.Bits() <= p.Bits() && n.Contains(p.Addr()) {
			return true
		}
	}
	return false
}

// Ranges returns the ranges at whose ends the class of an address may change. The forms
// that embed an IPv4 address by its last bits change it within them too.
func Ranges() []netip.Prefix {
	embedding := []netip.Prefix{globalV6, compatible, translated, nat64, nat64Local, sixToFour, teredo}
	return slices.Concat(specialV4, specialV6, alwaysBlocked, embedding)
}

// within reports whether one of the prefixes contains a.
func within(a netip.Addr, prefixes []netip.Prefix) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// embedded returns the IPv4 addresses that an IPv6 address may carry; what it
// does not carry is the zero Addr.
func embedded(a netip.Addr) (v4 [5]netip.Addr) {
	b := a.As16()
	last := netip.AddrFrom4([4]byte(b[12:]))
	switch {
	// ::1 is the loopback address, no compatible form of 0.0.0.1.
	case compatible.Contains(a) && a != netip.IPv6Loopback(), translated.Contains(a), nat64.Contains(a):
		v4[0] = last
	case nat64Local.Contains(a):
		readings := localNAT64(b)
		copy(v4[:], readings[:])
	case sixToFour.Contains(a):
		v4[0] = netip.AddrFrom4([4]byte(b[2:6]))
	case teredo.Contains(a):
		var client [4]byte
		binary.BigEndian.PutUint32(client[:], ^binary.BigEndian.Uint32(b[12:]))
		v4[0], v4[1] = netip.AddrFrom4([4]byte(b[4:8])), netip.AddrFrom4(client)
	}
	v4[4], _ = isatapAddr(b)
	return v4
}

// localNAT64 reads an address of 64:ff9b:1::/48 at the four prefix lengths of
// RFC 6052, section 2.2, that fit into it: 96, 64, 56 and 48. Which one the
// network uses is not in the address. A reading within 0.0.0.0/8 is left out:
// the zero bits of another length make it, and no translator sends there.
func localNAT64(b [16]byte) [4]netip.Addr {
	readings := [4]netip.Addr{
		netip.AddrFrom4([4]byte(b[12:])),
		netip.AddrFrom4([4]byte(b[9:13])),
		netip.AddrFrom4([4]byte{b[7], b[9], b[10], b[11]}),
		netip.AddrFrom4([4]byte{b[6], b[7], b[9], b[10]}),
	}
	for i, v4 := range readings {
		if v4.As4()[0] == 0 {
			readings[i] = netip.Addr{}
		}
	}
	return readings
}

// isatapAddr returns the IPv4 address of an ISATAP interface identifier
// (::0:5efe:a.b.c.d or ::200:5efe:a.b.c.d, RFC 5214, section 6.1).
func isatapAddr(b [16]byte) (netip.Addr, bool) {
	if b[8]&^0x02 != 0 || b[9] != 0 || b[10] != 0x5e || b[11] != 0xfe {
		return netip.Addr{}, false
	}
	return netip.AddrFrom4([4]byte(b[12:])), true
}
