// Package chain finds what an answer leads to, and takes out of it what does not belong
// to the question and what clients must not have.
//
// What it does not do: it judges neither names nor addresses; package gate does.
//
//	found := chain.Find(&query, "api.example.org", &records)
package chain

import (
	"net"
	"net/netip"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/dnsfilter/wire"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
)

// Finding is what an answer has that is judged.
type Finding struct {
	Aliases  []string     // the names that it leads through, in lower case and without their last dot
	Addrs    []netip.Addr // addresses and hints, each time it is there
	stripped bool         // ech was taken out of a record
}

// Find finds what the records that came back for the question q lead to, and leaves in r
// only those that lie on the chain from name and are of its type, and those that prove a
// denial.
func Find(q *wire.Query, name string, r *wire.Records) (found Finding) {
	on := map[string]bool{name: true}
	remaining := r.Answer[:0]
	for _, rr := range r.Answer {
		if !on[hostname.Fold(rr.Header().Name)] || !belongs(q, rr) {
			continue
		}
		if alias, ok := rr.(*dns.CNAME); ok {
			on[found.alias(alias.Target)] = true
		}
		if service, ok := svcbOf(rr); ok {
			if service.Target != "." {
				found.alias(service.Target)
			}
			if !found.service(service) {
				continue
			}
		}
		found.address(rr)
		remaining = append(remaining, rr)
	}
	r.Answer = remaining
	if found.stripped {
		r.Answer = withoutSignatures(remaining, q.Type)
	}
	r.Authority = denials(q, r.Authority)
	return found
}

// alias adds a name that the answer leads through, and returns it as names are compared.
func (f *Finding) alias(name string) string {
	name = hostname.Fold(name)
	f.Aliases = append(f.Aliases, name)
	return name
}

// belongs reports whether a record is of the type that was asked for, an alias,
// or a signature over either.
func belongs(q *wire.Query, rr dns.RR) bool {
	h := rr.Header()
	if h.Class != dns.ClassINET {
		return false
	}
	if sig, ok := rr.(*dns.RRSIG); ok && q.DO {
		return sig.TypeCovered == q.Type || sig.TypeCovered == dns.TypeCNAME
	}
	return h.Rrtype == q.Type || h.Rrtype == dns.TypeCNAME
}

// svcbOf returns the SVCB in an SVCB or HTTPS record.
func svcbOf(rr dns.RR) (*dns.SVCB, bool) {
	switch rr := rr.(type) {
	case *dns.SVCB:
		return rr, true
	case *dns.HTTPS:
		return &rr.SVCB, true
	default:
		return nil, false
	}
}

// service takes the ech parameter out and notes the address hints. It returns
// false where the record must not be used by a client without ech (RFC 9460,
// section 8): then it is left out.
func (f *Finding) service(s *dns.SVCB) bool {
	remaining := s.Value[:0]
	usable := true
	for _, kv := range s.Value {
		switch kv := kv.(type) {
		case *dns.SVCBECHConfig:
			f.stripped = true
			continue
		case *dns.SVCBMandatory:
			for _, code := range kv.Code {
				usable = usable && code != dns.SVCB_ECHCONFIG
			}
		case *dns.SVCBIPv4Hint:
			f.addSlices(kv.Hint...)
		case *dns.SVCBIPv6Hint:
			f.addSlices(kv.Hint...)
		}
		remaining = append(remaining, kv)
	}
	s.Value = remaining
	f.stripped = f.stripped || !usable
	return usable
}

// address notes the address of an A or AAAA record.
func (f *Finding) address(rr dns.RR) {
	switch rr := rr.(type) {
	case *dns.A:
		f.addSlices(rr.A)
	case *dns.AAAA:
		f.addSlices(rr.AAAA)
	}
}

// addSlices notes addresses. What is none is noted as the zero Addr, which no
// rule permits.
func (f *Finding) addSlices(all ...net.IP) {
	for _, b := range all {
		a, _ := netip.AddrFromSlice(b)
		f.Addrs = append(f.Addrs, a.Unmap())
	}
}

// withoutSignatures leaves out signatures over records of the type: they no
// longer hold.
func withoutSignatures(records []dns.RR, qtype uint16) []dns.RR {
	remaining := records[:0]
	for _, rr := range records {
		if sig, ok := rr.(*dns.RRSIG); !ok || sig.TypeCovered != qtype {
			remaining = append(remaining, rr)
		}
	}
	return remaining
}

// denials leaves of an authority section what proves a denial.
func denials(q *wire.Query, records []dns.RR) []dns.RR {
	remaining := records[:0]
	for _, rr := range records {
		switch rr.(type) {
		case *dns.SOA:
			remaining = append(remaining, rr)
		case *dns.NSEC, *dns.NSEC3, *dns.RRSIG:
			if q.DO {
				remaining = append(remaining, rr)
			}
		}
	}
	return remaining
}
