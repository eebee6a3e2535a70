package dnsfilter_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/dnsfilter"
)

// An answer that is kept begins with another address for each question, so that clients
// which take the first one spread over all. All are there, each once, whatever the answer
// leads through; and nothing else changes its place.
func TestAnswersBeginWithEachAddressInTurn(t *testing.T) {
	z := zoneOf()
	for _, tt := range []struct {
		name, qtype, before, owner, address string
	}{
		{"eight.wild.example.org.", "A", "", "eight.wild.example.org.", "8.8.8.%d"},
		{"eight.wild.example.org.", "AAAA", "", "eight.wild.example.org.", "2600::%d"},
		{"alias.wild.example.org.", "A", "alias.wild.example.org. 300 CNAME edge.cdn.example.", "edge.cdn.example.", "8.8.4.%d"},
	} {
		key := tt.name + " " + tt.qtype
		if tt.before != "" {
			z[key] = append(z[key], tt.before)
		}
		for i := range 8 {
			z[key] = append(z[key], fmt.Sprintf("%s 300 %s "+tt.address, tt.owner, tt.qtype, i+1))
		}
		r := newFixture(t, z, nil)
		firsts := map[string]int{}
		for id := range uint16(64) {
			pkt := question(tt.name, tt.qtype)
			binary.BigEndian.PutUint16(pkt, id)
			m := r.read(r.loop.Handle(pkt, billing, false))
			var got []string
			for _, rr := range m.Answer {
				if rr.Header().Rrtype == dns.StringToType[tt.qtype] {
					got = append(got, strings.TrimPrefix(rr.String(), rr.Header().String()))
				}
			}
			if len(got) != 8 || len(m.Answer) != len(z[key]) || tt.before != "" && m.Answer[0].Header().Rrtype != dns.TypeCNAME {
				t.Fatalf("%s: %v", key, m.Answer)
			}
			firsts[got[0]]++
			if slices.Sort(got); len(slices.Compact(got)) != 8 {
				t.Errorf("%s: %v", key, got)
			}
		}
		for address, n := range firsts {
			if len(firsts) != 8 || n != 8 {
				t.Errorf("%s: of 64 questions %d begin with %s, and there are %d such", key, n, address, len(firsts))
			}
		}
	}
}

// What has an order that means something keeps it.
func TestOrderOfOtherRecordsStays(t *testing.T) {
	z := zoneOf()
	for i := range 4 {
		z["api.example.org. TXT"] = append(z["api.example.org. TXT"], fmt.Sprintf("api.example.org. 300 TXT %d", i))
	}
	// Addresses of two names: neither gets one of the other's.
	z["two.wild.example.org. A"] = []string{
		"two.wild.example.org. 300 CNAME edge.cdn.example.", "two.wild.example.org. 300 A 8.8.8.1", "edge.cdn.example. 300 A 8.8.8.2",
	}
	r := newFixture(t, z, func(o *dnsfilter.Options) { o.Types = []uint16{dns.TypeA, dns.TypeTXT} })
	for _, q := range [][2]string{{"api.example.org.", "TXT"}, {"two.wild.example.org.", "A"}} {
		var before string
		for id := range uint16(8) {
			pkt := question(q[0], q[1])
			binary.BigEndian.PutUint16(pkt, id)
			if got := fmt.Sprint(r.read(r.loop.Handle(pkt, billing, false)).Answer); before != "" && got != before {
				t.Errorf("%v: %s, then %s", q, before, got)
			} else {
				before = got
			}
		}
	}
}
