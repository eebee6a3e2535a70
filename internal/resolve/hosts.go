package resolve

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
)

// host is what the hosts file says of one name. Both is ip4 and then ip6, kept so
// that an answer needs no memory of its own.
type host struct {
	ip4, ip6, both []netip.Addr
}

// hostTTL is the TTL of records made from the hosts file, which may change.
const hostTTL = checkFiles

// parseHosts reads hosts(5): an address, then its names. Of a line it cannot read
// it skips what it cannot; every other resolver does, and the file is not ours.
func parseHosts(data []byte) map[string]host {
	table := make(map[string]host)
	for line := range bytes.Lines(data) {
		line, _, _ = bytes.Cut(line, []byte("#"))
		fields := bytes.Fields(line)
		if len(fields) < 2 {
			continue
		}
		addr, err := netip.ParseAddr(string(fields[0]))
		if err != nil || addr.Zone() != "" {
			continue
		}
		for _, name := range fields[1:] {
			name := hostname.Fold(string(name))
			table[name] = table[name].with(addr.Unmap())
		}
	}
	return table
}

// with adds one address, if it is new and there is room.
func (h host) with(addr netip.Addr) host {
	family := &h.ip4
	if addr.Is6() {
		family = &h.ip6
	}
	if len(*family) < MaxAddrs && !slices.Contains(*family, addr) {
		*family = append(*family, addr)
	}
	h.both = slices.Concat(h.ip4, h.ip6)
	return h
}

// answer is what Lookup returns for a name of the hosts file. The file speaks for
// all of the name: what it does not have is not asked for upstream.
func (h host) answer(name string, types []uint16) (Answer, error) {
	addrs := h.both
	if len(types) == 1 {
		addrs = h.of(types[0])
	}
	if len(addrs) == 0 {
		return Answer{}, fmt.Errorf("resolving %q by the hosts file: %w", name, ErrNotFound)
	}
	return Answer{Addrs: addrs}, nil
}

// of returns the addresses for a question of qtype.
func (h host) of(qtype uint16) []netip.Addr {
	if qtype == dns.TypeAAAA {
		return h.ip6
	}
	return h.ip4
}

// records is what Exchange returns for the A or AAAA question k. Without addresses
// of that family it is NODATA.
func (h host) records(k key) Records {
	rec := Records{TTL: hostTTL}
	for _, addr := range h.of(k.qtype) {
		head := dns.RR_Header{
			Name: dns.Fqdn(k.name), Rrtype: k.qtype, Class: dns.ClassINET, Ttl: uint32(hostTTL / time.Second),
		}
		if addr.Is4() {
			rec.Answer = append(rec.Answer, &dns.A{Hdr: head, A: addr.AsSlice()})
		} else {
			rec.Answer = append(rec.Answer, &dns.AAAA{Hdr: head, AAAA: addr.AsSlice()})
		}
	}
	return rec
}
