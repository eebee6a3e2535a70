package dnsfilter_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/dnsfilter"
)

// comingBack makes a fixture whose upstream answers every question with the records.
func comingBack(t *testing.T, records ...string) *fixture {
	return newFixture(t, nil, func(o *dnsfilter.Options) {
		ask := o.Exchange
		o.Exchange = func(ctx context.Context, q dns.Question, do bool) (dnsfilter.Records, error) {
			_, err := ask(ctx, q, do)
			r := dnsfilter.Records{TTL: time.Minute}
			for _, text := range records {
				r.Answer = append(r.Answer, mustRR(text))
			}
			return r, err
		}
	})
}

func TestAnswerWithWhatIsNotPermittedIsRefusedWholeAndNotCached(t *testing.T) {
	for _, tt := range []struct {
		what    string
		qtype   string
		records []string
		reason  string
		rcode   int
	}{
		{"a private address", "A", []string{"api.example.org. 60 A 10.0.0.1"}, "address_not_allowed", dns.RcodeSuccess},
		{"one private among public", "A", []string{"api.example.org. 60 A 8.8.8.8", "api.example.org. 60 A 10.0.0.1"}, "address_not_allowed", dns.RcodeSuccess},
		{"the task's credentials", "A", []string{"api.example.org. 60 A 169.254.170.2"}, "address_not_allowed", dns.RcodeSuccess},
		{"a mapped address", "AAAA", []string{"api.example.org. 60 AAAA ::ffff:10.0.0.1"}, "address_not_allowed", dns.RcodeSuccess},
		{"NAT64 of the metadata service", "AAAA", []string{"api.example.org. 60 AAAA 64:ff9b::a9fe:a9fe"}, "address_not_allowed", dns.RcodeSuccess},
		{"a unique local address", "AAAA", []string{"api.example.org. 60 AAAA fd00:ec2::254"}, "address_not_allowed", dns.RcodeSuccess},
		{"an IPv4 hint", "HTTPS", []string{`api.example.org. 60 HTTPS 1 . ipv4hint="10.0.0.1"`}, "address_not_allowed", dns.RcodeSuccess},
		{"the second hint", "HTTPS", []string{`api.example.org. 60 HTTPS 1 . ipv4hint="8.8.8.8,10.0.0.1"`}, "address_not_allowed", dns.RcodeSuccess},
		{"an IPv6 hint", "SVCB", []string{`api.example.org. 60 SVCB 1 svc.example.org. ipv6hint="fd00::1"`}, "address_not_allowed", dns.RcodeSuccess},
		{"a hint in the second record", "HTTPS", []string{
			`api.example.org. 60 HTTPS 1 . ipv4hint="8.8.8.8"`, `api.example.org. 60 HTTPS 2 . ipv4hint="10.0.0.1"`}, "address_not_allowed", dns.RcodeSuccess},
		{"a private address behind an alias", "A", []string{"api.example.org. 60 CNAME b.example.", "b.example. 60 A 10.0.0.1"}, "address_not_allowed", dns.RcodeSuccess},
		{"an alias on the deny list", "A", []string{"api.example.org. 60 CNAME x.denied.example.", "x.denied.example. 60 A 8.8.8.8"}, "host_denied", dns.RcodeNameError},
		{"an alias on the deny list in capitals", "A", []string{"api.example.org. 60 CNAME X.DENIED.example."}, "host_denied", dns.RcodeNameError},
		{"the second alias on the deny list", "A", []string{
			"api.example.org. 60 CNAME b.example.", "b.example. 60 CNAME x.denied.example.", "x.denied.example. 60 A 8.8.8.8"}, "host_denied", dns.RcodeNameError},
		{"an alias of odd form below a denied name", "A", []string{`api.example.org. 60 CNAME a\032b.denied.example.`}, "host_denied", dns.RcodeNameError},
		{"an alias behind one of odd form", "A", []string{"api.example.org. 60 CNAME b-.example.", "b-.example. 60 CNAME x.denied.example."}, "host_denied", dns.RcodeNameError},
		{"a service on the deny list", "HTTPS", []string{"api.example.org. 60 HTTPS 0 x.denied.example."}, "host_denied", dns.RcodeNameError},
		{"an alias asked for by its type", "CNAME", []string{"api.example.org. 60 CNAME x.denied.example."}, "host_denied", dns.RcodeNameError},
	} {
		t.Run(tt.what, func(t *testing.T) {
			r := comingBack(t, tt.records...)
			for range 2 {
				m := r.ask(question("api.example.org.", tt.qtype), billing)
				code, text := ede(m)
				if code != dns.ExtendedErrorCodeFiltered || text != tt.reason || len(m.Answer) != 0 || m.Rcode != tt.rcode {
					t.Errorf("answer: %v", m)
				}
			}
			if r.asked.Load() != 2 {
				t.Errorf("%d questions upstream, want 2: nothing is cached", r.asked.Load())
			}
			all := r.records()
			if len(all) != 2 || all[0].Reason != tt.reason || all[0].Function != "billing" {
				t.Errorf("records: %+v", all)
			}
			if strings.Contains(tt.reason, "address") && len(all[0].Addresses) == 0 {
				t.Error("the record does not say which address")
			}
			if tt.reason == "host_denied" && all[0].Rule != "deny[0]" {
				t.Errorf("the record blames %q", all[0].Rule)
			}
		})
	}
}

func TestOnlyRecordsOnTheChainArePassedOn(t *testing.T) {
	r := comingBack(t,
		"other.example. 60 A 10.0.0.1",
		"api.example.org. 60 CNAME b.example.",
		"b.example. 60 A 8.8.8.8",
		"b.example. 60 TXT smuggled",
		"c.example. 60 A 8.8.4.4",
	)
	want := []string{"api.example.org. 60 CNAME b.example.", "b.example. 60 A 8.8.8.8"}
	for range 2 { // from upstream, from the cache
		if got := answers(r.ask(question("api.example.org.", "A"), billing)); !slices.Equal(got, want) {
			t.Errorf("answers %q, want %q", got, want)
		}
	}
}

// What is judged is what was asked for. An alias may have any form: its owner chose it.
func TestAliasOfOddFormIsAnswered(t *testing.T) {
	for _, alias := range []string{
		"5.0/25.2.0.192.in-addr.arpa.", // a classless delegation (RFC 2317)
		"5.0-127.2.0.192.in-addr.arpa.", "ends-.example.", "-begins.example.", "xn--a.example.", "*.example.", "1.example.1.", `a\032b.example.`, `a\.b.example.`, `\255.example.`,
	} {
		r := comingBack(t, "api.example.org. 60 CNAME "+alias, alias+" 60 A 8.8.8.8")
		if m := r.ask(question("api.example.org.", "A"), billing); len(m.Answer) != 2 {
			t.Errorf("by way of %s: %v", alias, m)
		}
	}
}

func TestAliasesOfGreatLengthAreAnswered(t *testing.T) {
	label := strings.Repeat("a", 63)
	target := label + "." + label + "." + label + "." + strings.Repeat("b", 61) + "."
	r := comingBack(t, "api.example.org. 60 CNAME "+target, target+" 60 A 8.8.8.8")
	if m := r.ask(question("api.example.org.", "A"), billing); len(m.Answer) != 2 {
		t.Errorf("answer: %v", m)
	}
}

func TestEncryptedHelloKeysAreTakenOut(t *testing.T) {
	const signature = "api.example.org. 60 RRSIG HTTPS 13 3 60 20300101000000 20200101000000 1 example.org. AAAA"
	for _, tt := range []struct {
		what    string
		records []string
		want    []string
	}{
		{"a key", []string{`api.example.org. 60 HTTPS 1 . alpn="h2" ech="AAAA"`}, []string{`api.example.org. 60 HTTPS 1 . alpn="h2"`}},
		{"a key and its signature", []string{`api.example.org. 60 HTTPS 1 . alpn="h2" ech="AAAA"`, signature}, []string{`api.example.org. 60 HTTPS 1 . alpn="h2"`}},
		{"no key", []string{`api.example.org. 60 HTTPS 1 . alpn="h2"`, signature}, []string{`api.example.org. 60 HTTPS 1 . alpn="h2"`, signature}},
		{"a key that is mandatory", []string{
			`api.example.org. 60 HTTPS 1 . mandatory="ech" alpn="h2" ech="AAAA"`, `api.example.org. 60 HTTPS 2 . alpn="h2"`},
			[]string{`api.example.org. 60 HTTPS 2 . alpn="h2"`}},
	} {
		r := comingBack(t, tt.records...)
		pkt := packed(func(m *dns.Msg) { m.SetQuestion("api.example.org.", dns.TypeHTTPS).SetEdns0(1232, true) })
		for range 2 {
			m := r.ask(pkt, billing)
			if got := answers(m); !slices.Equal(got, tt.want) {
				t.Errorf("%s: answers %q, want %q", tt.what, got, tt.want)
			}
			if strings.Contains(m.String(), "ech=") {
				t.Errorf("%s: a key is passed on", tt.what)
			}
		}
	}
}

func TestSignaturesGoToThoseWhoAskForThem(t *testing.T) {
	const signature = "api.example.org. 60 RRSIG A 13 3 60 20300101000000 20200101000000 1 example.org. AAAA"
	var asked []bool
	r := newFixture(t, nil, func(o *dnsfilter.Options) {
		o.Exchange = func(_ context.Context, _ dns.Question, do bool) (dnsfilter.Records, error) {
			asked = append(asked, do)
			return dnsfilter.Records{TTL: time.Minute, Answer: []dns.RR{mustRR("api.example.org. 60 A 8.8.8.8"), mustRR(signature)}}, nil
		}
	})
	for _, do := range []bool{false, true, false, true} {
		m := r.ask(packed(func(m *dns.Msg) { m.SetQuestion("api.example.org.", dns.TypeA).SetEdns0(1232, do) }), billing)
		if want := map[bool]int{false: 1, true: 2}[do]; len(m.Answer) != want || m.IsEdns0().Do() != do {
			t.Errorf("DO %t: %v", do, m)
		}
	}
	if !slices.Equal(asked, []bool{false, true}) {
		t.Errorf("asked upstream with DO: %v", asked)
	}
}

func TestAnyIsAnsweredWithAsLittleAsThereIs(t *testing.T) {
	r := newFixture(t, zoneOf(), nil)
	pkt := question("api.example.org.", "ANY")
	reply := r.loop.Handle(pkt, billing, false)
	m := r.read(reply)
	if len(m.Answer) != 1 || m.Answer[0].Header().Rrtype != dns.TypeHINFO || len(reply) > 2*len(pkt) || r.asked.Load() != 0 {
		t.Errorf("answer of %d bytes to %d: %v", len(reply), len(pkt), m)
	}
	if _, text := ede(r.ask(question("evil.example.", "ANY"), billing)); text != "host_not_allowed" {
		t.Errorf("ANY for a refused name: %q", text)
	}
}

func TestAnswerKeepsToTheSizeThatTheClientTakes(t *testing.T) {
	z := zoneOf()
	for _, n := range []string{"8.8.8.", "8.8.4.", "1.1.1."} {
		for _, d := range "123456789" {
			z["medium.wild.example.org. A"] = append(z["medium.wild.example.org. A"], "medium.wild.example.org. 300 A "+n+string(d))
		}
	}
	for i := range 40 {
		z["large.wild.example.org. A"] = append(z["large.wild.example.org. A"], fmt.Sprintf("large.wild.example.org. 300 A 8.8.8.%d", i))
	}
	for i := range 9 {
		z["api.example.org. TXT"] = append(z["api.example.org. TXT"], "api.example.org. 300 TXT "+strings.Repeat(string("123456789"[i]), 255))
	}
	for _, tt := range []struct {
		name, qtype string
		size        int // of EDNS; -1: none
		tcp         bool
		whole       bool
	}{
		{"api.example.org.", "TXT", -1, false, false},
		{"api.example.org.", "TXT", 65535, false, false},
		{"api.example.org.", "TXT", -1, true, true},
		{"api.example.org.", "TXT", 1232, true, true},
		{"medium.wild.example.org.", "A", 0, false, true}, // 27 addresses are 488 bytes
		{"medium.wild.example.org.", "A", 100, false, true},
		{"medium.wild.example.org.", "A", -1, false, true},
		{"large.wild.example.org.", "A", -1, false, false},
		{"large.wild.example.org.", "A", 512, false, false},
		{"large.wild.example.org.", "A", 1232, false, true},
		{"large.wild.example.org.", "A", -1, true, true},
	} {
		r := newFixture(t, z, func(o *dnsfilter.Options) { o.Types = []uint16{dns.TypeA, dns.TypeTXT} })
		pkt := packed(func(m *dns.Msg) {
			m.SetQuestion(tt.name, dns.StringToType[tt.qtype])
			if tt.size >= 0 {
				m.SetEdns0(uint16(tt.size), false)
			}
		})
		for range 2 {
			reply := r.loop.Handle(pkt, billing, tt.tcp)
			m := r.read(reply)
			limit := map[bool]int{true: 65535, false: min(max(tt.size, 512), 1232)}[tt.tcp]
			all := len(z[tt.name+" "+tt.qtype])
			fits := len(m.Answer) == all // or one record more would be over the limit
			if !tt.whole {
				fits = len(m.Answer) > 0 && len(m.Answer) < all && len(reply)+dns.Len(m.Answer[0])-len(tt.name)+1 > limit
			}
			if len(reply) > limit || m.Truncated == tt.whole || !fits {
				t.Errorf("%s %s, EDNS %d, TCP %t: %d bytes, truncated %t, %d records", tt.name, tt.qtype, tt.size, tt.tcp, len(reply), m.Truncated, len(m.Answer))
			}
			if o := m.IsEdns0(); (o != nil) != (tt.size >= 0) || o != nil && o.UDPSize() != 1232 {
				t.Errorf("%s: OPT %v", tt.name, o)
			}
		}
	}
}
