package dnsfilter

import (
	"testing"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/dnsfilter/wire"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// Every reason, under every setting: SERVFAIL and FORMERR whatever the file says,
// else what it says; NODATA where NXDOMAIN would deny the name's other types too.
func TestEveryReasonIsAnsweredAsItsRowAndTheSettingSay(t *testing.T) {
	refusal := func(rcode int, soa bool, code uint16) wire.Refusal {
		return wire.Refusal{Rcode: rcode, SOA: soa, Code: code}
	}
	fixed := map[string]wire.Refusal{
		"bad_request":       refusal(dns.RcodeFormatError, false, dns.ExtendedErrorCodeOther),
		"dns_failed":        refusal(dns.RcodeServerFailure, false, dns.ExtendedErrorCodeNoReachableAuthority),
		"dns_timeout":       refusal(dns.RcodeServerFailure, false, dns.ExtendedErrorCodeNoReachableAuthority),
		"audit_unavailable": refusal(dns.RcodeServerFailure, false, dns.ExtendedErrorCodeNotReady),
		"keys_unavailable":  refusal(dns.RcodeServerFailure, false, dns.ExtendedErrorCodeNotReady),
		"limit_function":    refusal(dns.RcodeServerFailure, false, dns.ExtendedErrorCodeNotReady),
		"limit_names":       refusal(dns.RcodeServerFailure, false, dns.ExtendedErrorCodeNotReady),
		"limit_failures":    refusal(dns.RcodeServerFailure, false, dns.ExtendedErrorCodeNotReady),
		"limit_total":       refusal(dns.RcodeServerFailure, false, dns.ExtendedErrorCodeNotReady),
		"draining":          refusal(dns.RcodeServerFailure, false, dns.ExtendedErrorCodeNotReady),
	}
	filtered := func(rcode int, soa bool) wire.Refusal { return refusal(rcode, soa, dns.ExtendedErrorCodeFiltered) }
	found := 0
	for _, r := range append(verdict.Reasons(), verdict.ReasonNone, verdict.Reason(200)) {
		ofType := r == verdict.ReasonTypeNotAllowed || r == verdict.ReasonAddressNotAllowed
		for with, want := range map[Refusal]wire.Refusal{
			NXDomain: filtered(dns.RcodeNameError, true), NoData: filtered(dns.RcodeSuccess, true), Refused: filtered(dns.RcodeRefused, false), Refusal(9): filtered(dns.RcodeNameError, true),
		} {
			if ofType && want.Rcode == dns.RcodeNameError {
				want.Rcode = dns.RcodeSuccess
			}
			if always, ok := fixed[r.String()]; ok {
				found++
				want = always
			}
			s := &Server{opt: Options{RefuseWith: with}}
			if got := s.refusalOf(r); got != want {
				t.Errorf("%s under refuse_with %d: %+v, want %+v", r, with, got, want)
			}
		}
	}
	if found != 4*len(fixed) {
		t.Errorf("%d of the answers that no setting changes were looked at, want %d", found, 4*len(fixed))
	}
}
