package dnsfilter

import (
	"net"
	"net/netip"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
)

// finding is what an answer has that is judged.
type finding struct {
	aliases  []string     // the names that it leads through, as they are written
	addrs    []netip.Addr // addresses and hints, each time it is there
	stripped bool         // ech was taken out of a record
}

// chain finds what the records that came back lead to, for package gate to judge, and
// leaves in r only those that lie on the chain from the question's name and are of its
// type.
func (x *exchange) chain(name string, r *Records) (found finding) {
	on := map[string]bool{name: true}
	remaining := r.Answer[:0]
	for _, rr := range r.Answer {
		if !on[hostname.Fold(rr.Header().Name)] || !x.belongs(rr) {
			continue
		}
		if alias, ok := rr.(*dns.CNAME); ok {
			on[hostname.Fold(alias.Target)] = true
			found.aliases = append(found.aliases, alias.Target)
		}
		if service, ok := svcbOf(rr); ok {
			if service.Target != "." {
				found.aliases = append(found.aliases, service.Target)
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
		r.Answer = withoutSignatures(remaining, x.query.Type)
	}
	return found
}

// belongs reports whether a record is of the type that was asked for, an alias,
// or a signature over either.
func (x *exchange) belongs(rr dns.RR) bool {
	h := rr.Header()
	if h.Class != dns.ClassINET {
		return false
	}
	if sig, ok := rr.(*dns.RRSIG); ok && x.query.DO {
		return sig.TypeCovered == x.query.Type || sig.TypeCovered == dns.TypeCNAME
	}
	return h.Rrtype == x.query.Type || h.Rrtype == dns.TypeCNAME
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
func (f *finding) service(s *dns.SVCB) bool {
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
func (f *finding) address(rr dns.RR) {
	switch rr := rr.(type) {
	case *dns.A:
		f.addSlices(rr.A)
	case *dns.AAAA:
		f.addSlices(rr.AAAA)
	}
}

// addSlices notes addresses. What is none is noted as the zero Addr, which no
// rule permits.
func (f *finding) addSlices(all ...net.IP) {
	for _, b := range all {
		a, _ := netip.AddrFromSlice(b)
		f.addrs = append(f.addrs, a.Unmap())
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
