package diff

import (
	"cmp"
	"math/rand/v2"
	"net/netip"
	"slices"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/ipclass"
)

// A range has up to two parts that a policy tells apart: its public addresses, and the
// others. What no rule opens is in neither.
const (
	partPublic  = "public"
	partSpecial = "special"
)

// partOf returns the part that an address belongs to, "" for none.
func partOf(a netip.Addr) string {
	switch {
	case ipclass.AlwaysBlocked(a), a.Is4In6(): // the same host as the IPv4 address
		return ""
	case ipclass.IsPublic(a):
		return partPublic
	default:
		return partSpecial
	}
}

// prefixRegions returns two trees of the same ranges, one for each part.
func prefixRegions(prefixes map[netip.Prefix]bool) map[string]*regions {
	order := make([]netip.Prefix, 0, len(prefixes))
	for p := range prefixes {
		order = append(order, p)
	}
	slices.SortFunc(order, func(a, b netip.Prefix) int {
		return cmp.Or(cmp.Compare(a.Bits(), b.Bits()), a.Addr().Compare(b.Addr()))
	})
	index, below := map[netip.Prefix]int{}, map[netip.Prefix][]netip.Prefix{}
	above := make([]int, len(order))
	for i, p := range order {
		above[i] = -1
		if wider, ok := longest(index, p.Addr(), p.Bits()-1); ok {
			above[i] = index[wider]
			below[wider] = append(below[wider], p)
		}
		index[p] = i
	}
	trees := map[string]*regions{partPublic: {}, partSpecial: {}}
	for i, p := range order {
		members := membersOf(p, below[p], index)
		for part, t := range trees {
			var host hostname.Host
			if a := members[part]; a.IsValid() {
				host = hostname.AddrHost(a)
			}
			t.add(p.String(), host, above[i])
		}
	}
	return trees
}

// longest returns the longest of the ranges, with as many bits at most, that has the
// address.
func longest(index map[netip.Prefix]int, a netip.Addr, bits int) (netip.Prefix, bool) {
	for ; bits >= 0; bits-- {
		p, _ := a.Prefix(bits)
		if _, ok := index[p]; ok {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// samples is how many addresses of a range are tried beside those at the ends of others.
const samples = 128

// membersOf returns an address of each part of a range that is in none of the narrower ones.
// Where a part begins, a range does or another has ended: those ends are tried, and
// addresses between them, because some forms that embed IPv4 addresses have no ends.
func membersOf(p netip.Prefix, narrower []netip.Prefix, index map[netip.Prefix]int) map[string]netip.Addr {
	found := map[string]netip.Addr{}
	try := func(a netip.Addr) {
		if !a.IsValid() || !p.Contains(a) {
			return
		}
		if within, ok := longest(index, a, a.BitLen()); !ok || within != p {
			return
		}
		if part := partOf(a); part != "" && !found[part].IsValid() {
			found[part] = a
		}
	}
	rng := rand.New(rand.NewPCG(uint64(p.Bits()), 1))
	for _, edge := range slices.Concat([]netip.Prefix{p}, narrower, ipclass.Ranges()) {
		if !edge.Overlaps(p) {
			continue
		}
		first, last := edge.Addr(), lastOf(edge)
		for _, a := range []netip.Addr{first, first.Prev(), first.Next(), last, last.Next(), last.Prev(), isatap(first)} {
			try(a)
		}
	}
	for range samples {
		try(randomIn(rng, p))
	}
	return found
}

// lastOf returns the last address of a range.
func lastOf(p netip.Prefix) netip.Addr {
	return fill(p, func() byte { return 0xff })
}

// randomIn returns some address of a range.
func randomIn(rng *rand.Rand, p netip.Prefix) netip.Addr {
	return fill(p, func() byte { return byte(rng.Uint32()) })
}

// fill returns an address of a range whose bits behind the prefix are those of next.
func fill(p netip.Prefix, next func() byte) netip.Addr {
	b := p.Addr().AsSlice()
	for i := range b {
		free := min(max(8*(i+1)-p.Bits(), 0), 8)
		b[i] |= next() & byte(1<<free-1)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// isatap returns the ISATAP form of some public address in the same network (RFC 5214),
// which no range of public addresses counts as public. Of IPv4 it returns nothing.
func isatap(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.Addr{}
	}
	b := a.As16()
	copy(b[8:], []byte{0, 0, 0x5e, 0xfe, 1, 1, 1, 1})
	return netip.AddrFrom16(b)
}
