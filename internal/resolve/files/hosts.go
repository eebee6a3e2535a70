package files

import (
	"bytes"
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
)

// Host is what the hosts file says of one name. Both is IP4 and then IP6, kept so
// that an answer needs no memory of its own.
type Host struct {
	IP4, IP6, Both []netip.Addr
}

// parseHosts reads hosts(5): an address, then its names. Of a line it cannot read
// it skips what it cannot; every other resolver does, and the file is not ours.
func parseHosts(data []byte, most int) map[string]Host {
	table := make(map[string]Host)
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
			table[name] = table[name].with(addr.Unmap(), most)
		}
	}
	return table
}

// with adds one address, if it is new and the family has fewer than most.
func (h Host) with(addr netip.Addr, most int) Host {
	family := &h.IP4
	if addr.Is6() {
		family = &h.IP6
	}
	if len(*family) < most && !slices.Contains(*family, addr) {
		*family = append(*family, addr)
	}
	h.Both = slices.Concat(h.IP4, h.IP6)
	return h
}

// Addresses returns the addresses for a question of a type, A or AAAA.
func (h Host) Addresses(qtype uint16) []netip.Addr {
	if qtype == dns.TypeAAAA {
		return h.IP6
	}
	return h.IP4
}

// Records returns the addresses as records for a question of a type, A or AAAA, with the
// TTL of what may change. None is NODATA.
func (h Host) Records(name string, qtype uint16) (all []dns.RR) {
	for _, addr := range h.Addresses(qtype) {
		head := dns.RR_Header{Name: dns.Fqdn(name), Rrtype: qtype, Class: dns.ClassINET, Ttl: uint32(CheckEvery / time.Second)}
		if addr.Is4() {
			all = append(all, &dns.A{Hdr: head, A: addr.AsSlice()})
		} else {
			all = append(all, &dns.AAAA{Hdr: head, AAAA: addr.AsSlice()})
		}
	}
	return all
}
