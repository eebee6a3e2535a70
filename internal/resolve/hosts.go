package resolve

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/resolve/files"
)

// hostTTL is the TTL of records made from the hosts file, which may change.
const hostTTL = files.CheckEvery

// hostAnswer is what Lookup returns for a name of the hosts file. The file speaks for
// all of the name: what it does not have is not asked for upstream.
func hostAnswer(h files.Host, name string, types []uint16) (Answer, error) {
	addrs := h.Both
	if len(types) == 1 {
		addrs = hostAddrs(h, types[0])
	}
	if len(addrs) == 0 {
		return Answer{}, fmt.Errorf("resolving %q by the hosts file: %w", name, ErrNotFound)
	}
	return Answer{Addrs: addrs}, nil
}

// hostAddrs returns the addresses for a question of qtype.
func hostAddrs(h files.Host, qtype uint16) []netip.Addr {
	if qtype == dns.TypeAAAA {
		return h.IP6
	}
	return h.IP4
}

// hostRecords is what Exchange returns for the A or AAAA question k. Without addresses
// of that family it is NODATA.
func hostRecords(h files.Host, k key) Records {
	rec := Records{TTL: hostTTL}
	for _, addr := range hostAddrs(h, k.Type) {
		head := dns.RR_Header{
			Name: dns.Fqdn(k.Name), Rrtype: k.Type, Class: dns.ClassINET, Ttl: uint32(hostTTL / time.Second),
		}
		if addr.Is4() {
			rec.Answer = append(rec.Answer, &dns.A{Hdr: head, A: addr.AsSlice()})
		} else {
			rec.Answer = append(rec.Answer, &dns.AAAA{Hdr: head, AAAA: addr.AsSlice()})
		}
	}
	return rec
}
