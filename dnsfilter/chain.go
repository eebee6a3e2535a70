package dnsfilter

import (
	"net"
	"net/netip"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/ipclass"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// finding is what the judge of an answer has found.
type finding struct {
	addrs    []netip.Addr // addresses and hints, each time it is there
	stripped bool         // ech was taken out of a record
}

// judgeAnswer judges the records that came back, and leaves in r only those
// that lie on the chain from the question's name and are of its type. It
// returns the reason to refuse the whole answer, or verdict.ReasonNone. Addresses
// are recorded all; the first refusal decides.
func (x *exchange) judgeAnswer(name string, r *Records) verdict.Reason {
	on := map[string]bool{name: true}
	reason := verdict.ReasonNone
	var found finding
	remaining := r.Answer[:0]
	for _, rr := range r.Answer {
		if !on[hostname.Fold(rr.Header().Name)] || !x.belongs(rr) {
			continue
		}
		if alias, ok := rr.(*dns.CNAME); ok {
			on[hostname.Fold(alias.Target)] = true
			reason = or(reason, x.judgeAlias(alias.Target))
		}
		if service, ok := svcbOf(rr); ok {
			if service.Target != "." {
				reason = or(reason, x.judgeAlias(service.Target))
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
	x.event.Addresses = found.addrs
	if !x.permits(found.addrs) {
		reason = or(reason, verdict.ReasonAddressNotAllowed)
	}
	return reason
}

// or is r, unless that is none.
func or(r, otherwise verdict.Reason) verdict.Reason {
	if r != verdict.ReasonNone {
		return r
	}
	return otherwise
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

// judgeAlias judges a name that the answer leads to: the deny list has it, or
// it is not a hostname, which no list could have.
func (x *exchange) judgeAlias(target string) verdict.Reason {
	name, err := hostname.ParseName(target)
	if err != nil {
		return verdict.ReasonBadTarget
	}
	if rule, denied := x.snap.policy.Denies(name); denied {
		x.event.Rule = rule
		return verdict.ReasonHostDenied
	}
	return verdict.ReasonNone
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

// special returns those of addrs that are not public, and so permitted by some
// rules alone.
func special(addrs []netip.Addr) []netip.Addr {
	var some []netip.Addr
	for _, a := range addrs {
		if !ipclass.IsPublic(a) || ipclass.AlwaysBlocked(a) {
			some = append(some, a)
		}
	}
	return some
}
