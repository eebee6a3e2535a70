package dnsfilter_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/dnsfilter"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/distinct"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/fair"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

func TestNameIsAnsweredAsThePolicyOfItsCallerSays(t *testing.T) {
	for _, tt := range []struct {
		client   netip.AddrPort
		name     string
		qtype    string
		rcode    int
		reason   string // of the record and the extended error; "": allowed
		upstream int64
	}{
		{billing, "api.example.org.", "A", dns.RcodeSuccess, "", 1},
		{billing, "API.eXample.ORG.", "A", dns.RcodeSuccess, "", 1},
		{billing, "a.wild.example.org.", "A", dns.RcodeSuccess, "", 1},
		{billing, "4.4.8.8.in-addr.arpa.", "PTR", dns.RcodeSuccess, "", 1},
		{billing, "none.wild.example.org.", "A", dns.RcodeNameError, "", 1},
		{billing, "wild.example.org.", "A", dns.RcodeSuccess, "host_not_allowed", 0},
		{billing, "evil.example.", "A", dns.RcodeNameError, "host_not_allowed", 0},
		{billing, "expired.example.org.", "A", dns.RcodeNameError, "rule_expired", 0},
		{billing, "x.denied.example.", "A", dns.RcodeNameError, "host_denied", 0},
		{billing, "api.example.org.", "TXT", dns.RcodeSuccess, "type_not_allowed", 0},
		{billing, "api.example.org.", "NULL", dns.RcodeSuccess, "type_not_allowed", 0},
		{billing, "evil.example.", "TXT", dns.RcodeNameError, "host_not_allowed", 0},
		{billing, "1.2.3.4.", "A", dns.RcodeNameError, "bad_target", 0},
		{billing, ".", "NS", dns.RcodeSuccess, "bad_target", 0},
		{billing, `sp\ ace.wild.example.org.`, "A", dns.RcodeNameError, "bad_target", 0},
		{billing, `do\.t.wild.example.org.`, "A", dns.RcodeNameError, "bad_target", 0},
		{partner, "api.example.org.", "A", dns.RcodeNameError, "host_not_allowed", 0},
		{partner, "private.example.org.", "A", dns.RcodeSuccess, "address_not_allowed", 1},
		{billing, "private.example.org.", "A", dns.RcodeSuccess, "", 1},
		{nobody, "api.example.org.", "A", dns.RcodeSuccess, "", 1},
		{nobody, "private.example.org.", "A", dns.RcodeSuccess, "", 1},
		{nobody, "evil.example.", "A", dns.RcodeNameError, "host_not_allowed", 0},
		{nobody, "x.denied.example.", "A", dns.RcodeNameError, "host_denied", 0},
		{reporting, "x.denied.example.", "A", dns.RcodeNameError, "host_denied", 0},
	} {
		t.Run(fmt.Sprint(tt.client.Addr(), " ", tt.name, tt.qtype), func(t *testing.T) {
			r := newFixture(t, zoneOf(), nil)
			m := r.ask(question(tt.name, tt.qtype), tt.client)
			if m == nil || m.Rcode != tt.rcode || m.Id != 4242 || !m.Response || !m.RecursionDesired || !m.RecursionAvailable ||
				len(m.Question) != 1 || m.Question[0].Name != tt.name {
				t.Fatalf("answer: %v", m)
			}
			if got := r.asked.Load(); got != tt.upstream {
				t.Errorf("%d questions upstream, want %d", got, tt.upstream)
			}
			code, text := ede(m)
			all := r.records()
			if tt.reason == "" {
				if len(all) != 0 || code != 0 || len(m.Answer) == 0 && tt.rcode == dns.RcodeSuccess {
					t.Errorf("allowed: records %v, extended error %d, answer %v", all, code, m.Answer)
				}
				return
			}
			if code != dns.ExtendedErrorCodeFiltered || text != tt.reason || len(m.Answer) != 0 {
				t.Errorf("extended error %d %q, answer %v", code, text, m.Answer)
			}
			if len(m.Ns) != 1 || m.Ns[0].Header().Ttl == 0 || m.Ns[0].Header().Ttl > 60 {
				t.Errorf("authority %v, want an SOA with a short TTL", m.Ns)
			}
			if len(all) != 1 || all[0].Event != "answered" || all[0].Verdict != "deny" || all[0].Reason != tt.reason ||
				all[0].Type != tt.qtype || all[0].Protocol != "dns" || all[0].Client != tt.client.String() {
				t.Errorf("records: %+v", all)
			}
			if r.counted.Load() != 1 || r.metric("egress_dns_answers_total", tt.reason, "deny") != 1 {
				t.Error("the refusal is not counted once")
			}
		})
	}
}

func TestRecordNamesFunctionOwnerAndRule(t *testing.T) {
	r := newFixture(t, zoneOf(), nil)
	r.ask(question("x.denied.example.", "A"), billing)
	want := record{Event: "answered", Protocol: "dns", Function: "billing", Owner: "payments", Via: "source", Host: "x.denied.example",
		Type: "A", Verdict: "deny", Reason: "host_denied", Rule: "deny[0]", Client: billing.String()}
	if got := r.records(); len(got) != 1 || fmt.Sprint(got[0]) != fmt.Sprint(want) {
		t.Errorf("records: %+v", got)
	}
}

func TestRefusalIsAsTheFileSays(t *testing.T) {
	for _, tt := range []struct {
		with  dnsfilter.Refusal
		name  string
		qtype string
		rcode int
		soas  int
	}{
		{dnsfilter.NXDomain, "evil.example.", "A", dns.RcodeNameError, 1},
		{dnsfilter.NoData, "evil.example.", "A", dns.RcodeSuccess, 1},
		{dnsfilter.Refused, "evil.example.", "A", dns.RcodeRefused, 0},
		{dnsfilter.Refusal(9), "evil.example.", "A", dns.RcodeNameError, 1},
		// NXDOMAIN would deny the name's other types too.
		{dnsfilter.NXDomain, "api.example.org.", "TXT", dns.RcodeSuccess, 1},
		{dnsfilter.Refused, "api.example.org.", "TXT", dns.RcodeRefused, 0},
	} {
		for _, edns := range []bool{true, false} {
			r := newFixture(t, zoneOf(), func(o *dnsfilter.Options) { o.RefuseWith = tt.with })
			pkt := packed(func(m *dns.Msg) {
				m.SetQuestion(tt.name, dns.StringToType[tt.qtype])
				if edns {
					m.SetEdns0(1232, false)
				}
			})
			m := r.ask(pkt, billing)
			if m.Rcode != tt.rcode || len(m.Ns) != tt.soas || (m.IsEdns0() != nil) != edns {
				t.Errorf("refuse_with %d, %s %s, EDNS %t: %v", tt.with, tt.name, tt.qtype, edns, m)
			}
		}
	}
}

// A name that has allowed names below it has no records, and exists: a cache in front that
// were told otherwise might cut those off (RFC 8020). On both paths.
func TestNameAboveAllowedOnesIsThere(t *testing.T) {
	paths := map[string]func(m *dns.Msg){"fast": func(*dns.Msg) {}, "slow": func(m *dns.Msg) {
		m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_LOCAL{Code: 65001, Data: []byte("x")}}
	}}
	for _, with := range []dnsfilter.Refusal{dnsfilter.NXDomain, dnsfilter.Refused, dnsfilter.NoData} {
		r := newFixture(t, zoneOf(), func(o *dnsfilter.Options) { o.RefuseWith = with })
		for _, tt := range []struct {
			client netip.AddrPort
			name   string
			there  bool
		}{
			{billing, ".", true}, {billing, "org.", true}, {billing, "example.org.", true}, {billing, "wild.example.org.", true}, {billing, "WILD.example.ORG.", true},
			{billing, "arpa.", true}, {billing, "in-addr.arpa.", true}, {billing, "example.", true}, {billing, "test.", false}, {billing, "a.api.example.org.", false},
			{billing, "evil.example.", false}, {billing, "a.denied.example.", false}, {billing, `a\ b.example.org.`, false}, {billing, "private.", false},
			{partner, ".", true}, {partner, "example.org.", true}, {partner, "wild.example.org.", false}, {partner, "arpa.", false},
			{nobody, ".", true}, {nobody, "wild.example.org.", true}, {nobody, "evil.example.", false},
			{reporting, ".", true}, {reporting, "a.denied.example.", false},
		} {
			want := map[dnsfilter.Refusal]int{dnsfilter.NXDomain: dns.RcodeNameError, dnsfilter.Refused: dns.RcodeRefused}[with]
			if tt.there && with == dnsfilter.NXDomain {
				want = dns.RcodeSuccess
			}
			for path, change := range paths {
				m := r.ask(packed(func(m *dns.Msg) { change(m.SetQuestion(tt.name, dns.TypeA).SetEdns0(1232, false)) }), tt.client)
				if _, why := ede(m); m.Rcode != want || why == "" || len(m.Answer) != 0 || (len(m.Ns) == 1) != (want != dns.RcodeRefused) {
					t.Errorf("%s for %v, refuse_with %d, %s: %v", tt.name, tt.client.Addr(), with, path, m)
				}
			}
		}
		if r.asked.Load() != 0 {
			t.Errorf("%d questions upstream", r.asked.Load())
		}
	}
}

func TestUnknownSourceGetsNothingWhereTheFileSaysSo(t *testing.T) {
	r := newFixture(t, zoneOf(), func(o *dnsfilter.Options) { o.RefuseUnknown = true })
	m := r.ask(question("api.example.org.", "A"), nobody)
	if _, text := ede(m); m.Rcode != dns.RcodeNameError || text != "identity_required" || r.asked.Load() != 0 {
		t.Errorf("answer: %v", m)
	}
}

func TestNilPolicyRefusesEverything(t *testing.T) {
	for _, client := range []netip.AddrPort{billing, nobody} {
		r := newFixture(t, zoneOf(), nil)
		r.mu.Lock()
		r.policy, r.table = nil, nil
		r.mu.Unlock()
		if m := r.ask(question("api.example.org.", "A"), client); m.Rcode != dns.RcodeNameError || r.asked.Load() != 0 {
			t.Errorf("%v: %v", client, m)
		}
	}
}

func TestSourceOutsideOfClientsGetsSilenceAndNoRecord(t *testing.T) {
	r := newFixture(t, zoneOf(), nil)
	for _, pkt := range [][]byte{question("api.example.org.", "A"), question("evil.example.", "A"), []byte("x"), nil} {
		if m := r.ask(pkt, outsider); m != nil {
			t.Errorf("answer: %v", m)
		}
	}
	if r.asked.Load() != 0 || len(r.records()) != 0 || r.metric("egress_dns_dropped_total", "client") != 4 {
		t.Error("a stranger leaves more than a count")
	}
}

func TestReportModeAnswersAndRecords(t *testing.T) {
	z := zoneOf()
	z["evil.example. A"] = []string{"evil.example. 300 A 8.8.8.8"}
	z["rebind.example. A"] = []string{"rebind.example. 300 A 10.0.0.1"}
	r := newFixture(t, z, nil)
	for range 2 { // from upstream, from the cache
		if m := r.ask(question("evil.example.", "A"), reporting); len(m.Answer) != 1 {
			t.Fatalf("answer: %v", m)
		}
	}
	all := r.records()
	if len(all) != 2 || all[1].Verdict != "report" || all[1].Reason != "host_not_allowed" || !slices.Equal(all[1].Addresses, []string{"8.8.8.8"}) {
		t.Errorf("records: %+v", all)
	}
	if m := r.ask(question("rebind.example.", "A"), reporting); len(m.Answer) != 0 {
		t.Errorf("a private address passes in report mode: %v", m)
	}
}

func TestAnswersAreRecordedWhereTheFileSaysAll(t *testing.T) {
	r := newFixture(t, zoneOf(), func(o *dnsfilter.Options) { o.RecordAll = true })
	for range 2 {
		r.ask(question("api.example.org.", "A"), billing)
	}
	all := r.records()
	if len(all) != 2 || all[0].Verdict != "allow" || all[0].Rule != "functions.billing.allow[0]" || fmt.Sprint(all[0]) != fmt.Sprint(all[1]) {
		t.Errorf("records: %+v", all)
	}
}

func TestDecisionStandsBeforeTheCache(t *testing.T) {
	for _, order := range [][]netip.AddrPort{{billing, partner}, {partner, billing}} {
		r := newFixture(t, zoneOf(), nil)
		for range 2 {
			for _, client := range order {
				m := r.ask(question("api.example.org.", "A"), client)
				if want := map[netip.AddrPort]int{billing: 2, partner: 0}[client]; len(m.Answer) != want {
					t.Errorf("%v gets %v", client, m)
				}
			}
		}
		if r.asked.Load() != 1 {
			t.Errorf("%d questions upstream", r.asked.Load())
		}
	}
}

func TestAddressThatOneFunctionMayReachIsNotCachedForAnother(t *testing.T) {
	for _, order := range [][]netip.AddrPort{{billing, partner}, {partner, billing}} {
		r := newFixture(t, zoneOf(), nil)
		for range 2 {
			for _, client := range order {
				m := r.ask(question("private.example.org.", "A"), client)
				if want := map[netip.AddrPort]int{billing: 1, partner: 0}[client]; len(m.Answer) != want {
					t.Errorf("%v gets %v", client, m)
				}
			}
		}
	}
}

func TestChangeOfThePolicyEmptiesTheCache(t *testing.T) {
	z := zoneOf()
	r := newFixture(t, z, nil)
	r.ask(question("a.wild.example.org.", "A"), billing)
	next := spec()
	denied, _ := hostname.ParsePattern("edge.cdn.example")
	next.Deny = append(next.Deny, policy.DenySpec{Pattern: denied})
	r.setPolicy(next)
	m := r.ask(question("a.wild.example.org.", "A"), billing)
	if _, text := ede(m); text != "host_denied" || len(m.Answer) != 0 {
		t.Errorf("an answer by the old policy: %v", m)
	}
}

func TestCachedAnswerCountsItsTTLDown(t *testing.T) {
	synctestRun(t, func(t *testing.T, pass func(seconds int)) {
		r := newFixture(t, zoneOf(), nil)
		for _, tt := range []struct {
			after    int
			ttl      uint32
			upstream int64
		}{{0, 300, 1}, {100, 200, 1}, {139, 61, 1}, {2, 300, 2}} {
			pass(tt.after)
			m := r.ask(question("api.example.org.", "A"), billing)
			if got := m.Answer[0].Header().Ttl; got != tt.ttl || r.asked.Load() != tt.upstream {
				t.Errorf("after %d s more: TTL %d, want %d; %d questions upstream, want %d", tt.after, got, tt.ttl, r.asked.Load(), tt.upstream)
			}
		}
	})
}

func TestAnswerWithoutTTLServesOneQuestion(t *testing.T) {
	r := newFixture(t, nil, func(o *dnsfilter.Options) {
		ask := o.Exchange
		o.Exchange = func(ctx context.Context, q dns.Question, do bool) (dnsfilter.Records, error) {
			_, err := ask(ctx, q, do)
			return dnsfilter.Records{Answer: []dns.RR{mustRR("api.example.org. 0 A 8.8.8.8")}}, err
		}
	})
	for range 3 {
		r.ask(question("api.example.org.", "A"), billing)
	}
	if r.asked.Load() != 3 {
		t.Errorf("%d questions upstream, want 3", r.asked.Load())
	}
}

func TestStaleAnswerSaysSoAndIsNotKept(t *testing.T) {
	r := newFixture(t, nil, func(o *dnsfilter.Options) {
		ask := o.Exchange
		o.RecordAll = true
		o.Exchange = func(ctx context.Context, q dns.Question, do bool) (dnsfilter.Records, error) {
			_, err := ask(ctx, q, do)
			return dnsfilter.Records{Answer: []dns.RR{mustRR("api.example.org. 30 A 8.8.8.8")}, TTL: 30e9, Stale: true}, err
		}
	})
	for range 2 {
		m := r.ask(question("api.example.org.", "A"), billing)
		if code, _ := ede(m); code != dns.ExtendedErrorCodeStaleAnswer || len(m.Answer) != 1 {
			t.Errorf("answer: %v", m)
		}
	}
	if r.asked.Load() != 2 {
		t.Errorf("%d questions upstream, want 2", r.asked.Load())
	}
	if n := strings.Count(string(r.lines.Bytes()), `"stale":true`); n != 2 {
		t.Errorf("%d records say that the answer was stale, want 2", n)
	}
}

func TestNamesBelowAWildcardAreLimitedByFunction(t *testing.T) {
	synctestRun(t, func(t *testing.T, pass func(seconds int)) {
		r := newFixture(t, zoneOf(), func(o *dnsfilter.Options) { o.Names = distinct.New(distinct.Options{Limit: 10}) })
		ask := func(i int, client netip.AddrPort) string {
			_, text := ede(r.ask(question(fmt.Sprintf("l%d.wild.example.org.", i), "A"), client))
			return text
		}
		for i := range 1000 {
			want := ""
			if i >= 10 {
				want = "limit_names"
			}
			if got := ask(i, billing); got != want {
				t.Fatalf("name %d: %q, want %q", i, got, want)
			}
		}
		if n := len(r.records()); n != 990 || r.asked.Load() != 10 {
			t.Errorf("%d records, %d questions upstream", n, r.asked.Load())
		}
		other := netip.MustParseAddrPort("127.0.1.2:1")
		if ask(3, billing) != "" || ask(99, nobody) != "" {
			t.Error("a known name or another caller is limited")
		}
		if got := ask(99, other); got != "limit_names" {
			t.Errorf("another address of the same function: %q", got)
		}
		if m := r.ask(question("api.example.org.", "A"), billing); len(m.Answer) != 2 {
			t.Error("a name that a rule has itself is limited")
		}
		pass(61)
		if ask(500, billing) != "" {
			t.Error("the limit outlasts its minute")
		}
	})
}

func TestNamesAreRefusedWhereThereIsNoRoomToRememberThem(t *testing.T) {
	r := newFixture(t, zoneOf(), nil)
	r.server.RememberNames()
	if _, text := ede(r.ask(question("a.wild.example.org.", "A"), billing)); text != "limit_names" {
		t.Errorf("refused as %q", text)
	}
}

func TestRefusalThatCannotBeRecordedIsServfail(t *testing.T) {
	r := newFixture(t, zoneOf(), nil)
	r.ask(question("evil.example.", "A"), billing)
	r.out.fails.Store(true)
	for _, pkt := range [][]byte{
		question("evil.example.", "A"),
		packed(func(m *dns.Msg) { m.SetQuestion("evil.example.", dns.TypeAXFR); m.SetEdns0(1232, false) }),
	} {
		m := r.ask(pkt, billing)
		if _, text := ede(m); m.Rcode != dns.RcodeServerFailure || text != "audit_unavailable" {
			t.Errorf("answer: %v", m)
		}
	}
	if m := r.ask(question("evil.example.", "A"), reporting); m.Rcode != dns.RcodeServerFailure {
		t.Errorf("report mode without a record: %v", m)
	}
	if m := r.ask(question("api.example.org.", "A"), billing); len(m.Answer) != 2 {
		t.Errorf("what needs no record: %v", m)
	}
	if got := r.metric("egress_dns_answers_total", "audit_unavailable", "deny"); got != 3 {
		t.Errorf("%v counted as audit_unavailable, want 3", got)
	}
}

func TestFailedLookupIsServfailWithItsReason(t *testing.T) {
	for _, tt := range []struct {
		err    error
		reason string
	}{
		{errors.New("refused by 10.0.0.2"), "dns_failed"}, {timeout{}, "dns_timeout"},
		{fmt.Errorf("resolving: %w", &fair.ShareError{Reason: verdict.ReasonLimitFunction}), "limit_function"},
	} {
		r := newFixture(t, nil, func(o *dnsfilter.Options) {
			o.Exchange = func(ctx context.Context, _ dns.Question, _ bool) (dnsfilter.Records, error) {
				if c := fair.CallerFrom(ctx); c != (fair.Caller{Function: "billing", ByAddress: true}) {
					t.Errorf("asked for %v", c)
				}
				return dnsfilter.Records{}, tt.err
			}
		})
		m := r.ask(question("api.example.org.", "A"), billing)
		want := dns.ExtendedErrorCodeNoReachableAuthority
		if tt.reason == "limit_function" {
			want = dns.ExtendedErrorCodeNotReady
		}
		if code, text := ede(m); m.Rcode != dns.RcodeServerFailure || code != want || text != tt.reason {
			t.Errorf("answer: %v", m)
		}
		if strings.Contains(m.String(), "10.0.0.2") {
			t.Error("the error reaches the client")
		}
		if all := r.records(); len(all) != 1 || all[0].Reason != tt.reason || all[0].Verdict != "deny" {
			t.Errorf("records: %v", all)
		}
	}
}

// timeout is an error that says that it is one.
type timeout struct{}

func (timeout) Error() string { return "too late" }
func (timeout) Timeout() bool { return true }

func TestHundredThousandRefusedNamesCauseNoLookupAndNoNewSeries(t *testing.T) {
	if testing.Short() {
		t.Skip("100,000 records")
	}
	r := newFixture(t, zoneOf(), nil)
	r.ask(question("evil.example.", "A"), billing)
	before := r.series()
	for i := range 100_000 {
		r.loop.Handle(question(fmt.Sprintf("data%d.evil.example.", i), "A"), billing, false)
	}
	if r.asked.Load() != 0 {
		t.Errorf("%d questions upstream", r.asked.Load())
	}
	if after := r.series(); after != before {
		t.Errorf("%d series, before %d", after, before)
	}
	if n := strings.Count(r.lines.String(), "\n"); n != 100_001 {
		t.Errorf("%d records", n)
	}
}
