package resolve

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/resolve/upstream"
)

// reply is what a scripted upstream says to one question, in zone-file text.
type reply struct {
	rcode                         int
	answer, authority, additional string
	err                           error
	after                         time.Duration
}

// script is an upstream: a reply for each "name. TYPE". What it does not list is
// answered with an empty NOERROR.
type script map[string]reply

func (s script) message(q dns.Question) *dns.Msg {
	p := s[strings.ToLower(q.Name)+" "+dns.TypeToString[q.Qtype]]
	m := new(dns.Msg)
	m.Response = true
	m.Rcode = p.rcode
	m.Question = []dns.Question{q}
	m.Answer, m.Ns, m.Extra = zone(p.answer), zone(p.authority), zone(p.additional)
	return m
}

// zone parses zone-file lines. It takes them through the wire, where records get
// the lengths that real ones have.
func zone(text string) []dns.RR {
	m := new(dns.Msg)
	for line := range strings.Lines(text) {
		rr, err := dns.NewRR(line)
		if err != nil {
			panic(fmt.Sprintf("%q: %v", line, err))
		}
		if rr != nil {
			m.Answer = append(m.Answer, rr)
		}
	}
	wire, err := m.Pack()
	if err != nil {
		panic(err)
	}
	parsed := new(dns.Msg)
	if err := parsed.Unpack(wire); err != nil {
		panic(err)
	}
	return parsed.Answer
}

// scripted is the network of a resolver under test: it plays a script to the
// questions, the same for every upstream, and counts them.
type scripted struct {
	mu    sync.Mutex
	plays script
	asked []string
}

func (s *scripted) ask(ctx context.Context, try upstream.Try) (*dns.Msg, error) {
	k := try.Question
	q := dns.Question{Name: dns.Fqdn(k.Name), Qtype: k.Type, Qclass: dns.ClassINET}
	name := q.Name + " " + dns.TypeToString[q.Qtype]
	s.mu.Lock()
	s.asked = append(s.asked, name)
	p, m := s.plays[name], s.plays.message(q)
	s.mu.Unlock()
	if p.after > 0 {
		select {
		case <-time.After(p.after):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return m, p.err
}

func (s *scripted) play(plays script) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plays = plays
}

func (s *scripted) questions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

// newScripted makes a resolver whose network is a script. It reads no files of the
// machine.
func newScripted(t testing.TB, cfg Config, plays script) (*Resolver, *scripted) {
	t.Helper()
	if cfg.Hosts == "" {
		cfg.Hosts = filepath.Join(t.TempDir(), "hosts")
	}
	if len(cfg.Upstreams) == 0 {
		cfg.Upstreams = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:53")}
	}
	if cfg.HasIPv6 == nil {
		cfg.HasIPv6 = func() bool { return false }
	}
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	s := &scripted{plays: plays}
	r.upstreams.Query = s.ask
	return r, s
}

func addrs(texts ...string) []netip.Addr {
	var out []netip.Addr
	for _, text := range texts {
		out = append(out, netip.MustParseAddr(text))
	}
	return out
}

func mustLookup(t *testing.T, r *Resolver, name string, want ...string) Answer {
	t.Helper()
	got, err := r.Lookup(t.Context(), name)
	if err != nil || !slices.Equal(got.Addrs, addrs(want...)) {
		t.Errorf("Lookup(%q) = %v, %v; want %v", name, got.Addrs, err, want)
	}
	return got
}

func mustFail(t *testing.T, r *Resolver, name string, want error) {
	t.Helper()
	got, err := r.Lookup(t.Context(), name)
	if !errors.Is(err, want) || len(got.Addrs) != 0 {
		t.Errorf("Lookup(%q) = %v, %v; want %v", name, got.Addrs, err, want)
	}
}

func mustAsk(t *testing.T, s *scripted, want int) {
	t.Helper()
	if got := s.questions(); got != want {
		t.Fatalf("upstream was asked %d times, want %d: %v", got, want, s.asked)
	}
}

// counted reads egress_dns_cache_total by result, zeros left out.
func counted(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counts := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "egress_dns_cache_total" && m.GetCounter().GetValue() > 0 {
				counts[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
			}
		}
	}
	return counts
}

const soa = "example. 300 IN SOA ns.example. root.example. 1 2 3 4 30"

func TestFamiliesDecideWhatIsAsked(t *testing.T) {
	dual := script{
		"dual.example. A":    {answer: "dual.example. 60 IN A 192.0.2.1"},
		"dual.example. AAAA": {answer: "dual.example. 60 IN AAAA 2001:db8::1"},
	}
	for _, tt := range []struct {
		name     string
		families Families
		ipv6     bool
		want     []string
		asked    int
	}{
		{"auto without a global IPv6 address", Auto, false, []string{"192.0.2.1"}, 1},
		{"auto with one", Auto, true, []string{"192.0.2.1", "2001:db8::1"}, 2},
		{"ip4 whatever the host has", IP4, true, []string{"192.0.2.1"}, 1},
		{"ip6 whatever the host has", IP6, false, []string{"2001:db8::1"}, 1},
		{"both whatever the host has", Both, false, []string{"192.0.2.1", "2001:db8::1"}, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, s := newScripted(t, Config{Families: tt.families, HasIPv6: func() bool { return tt.ipv6 }}, dual)
			mustLookup(t, r, "dual.example", tt.want...)
			mustLookup(t, r, "dual.example", tt.want...)
			mustAsk(t, s, tt.asked)
		})
	}
}

func TestOneFamilyServesWhereTheOtherHasNothingOrFails(t *testing.T) {
	const (
		a    = "x.example. 60 IN A 192.0.2.1"
		aaaa = "x.example. 60 IN AAAA 2001:db8::1"
	)
	for _, tt := range []struct {
		name   string
		ip4    reply
		ip6    reply
		want   []string
		failed error
	}{
		{name: "A, no AAAA", ip4: reply{answer: a}, ip6: reply{authority: soa}, want: []string{"192.0.2.1"}},
		{name: "AAAA, no A", ip4: reply{authority: soa}, ip6: reply{answer: aaaa}, want: []string{"2001:db8::1"}},
		{name: "A, AAAA is SERVFAIL", ip4: reply{answer: a}, ip6: reply{rcode: dns.RcodeServerFailure}, want: []string{"192.0.2.1"}},
		{name: "A, AAAA is silence", ip4: reply{answer: a}, ip6: reply{err: context.DeadlineExceeded}, want: []string{"192.0.2.1"}},
		{name: "A is silence, AAAA", ip4: reply{err: context.DeadlineExceeded}, ip6: reply{answer: aaaa}, want: []string{"2001:db8::1"}},
		{name: "neither", ip4: reply{authority: soa}, ip6: reply{authority: soa}, failed: ErrNotFound},
		{name: "no such name", ip4: reply{rcode: 3, authority: soa}, ip6: reply{rcode: 3, authority: soa}, failed: ErrNotFound},
		{name: "no A, AAAA is silence", ip4: reply{authority: soa}, ip6: reply{err: context.DeadlineExceeded}, failed: ErrTimeout},
		{name: "A is SERVFAIL, no AAAA", ip4: reply{rcode: dns.RcodeServerFailure}, ip6: reply{authority: soa}, failed: ErrFailed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, _ := newScripted(t, Config{Families: Both}, script{"x.example. A": tt.ip4, "x.example. AAAA": tt.ip6})
			if tt.failed != nil {
				mustFail(t, r, "x.example", tt.failed)
				return
			}
			mustLookup(t, r, "x.example", tt.want...)
		})
	}
}

func TestOneAnswerHoldsSixteenAddressesAtMost(t *testing.T) {
	var many strings.Builder
	for i := range 100 {
		fmt.Fprintf(&many, "many.example. 60 IN A 192.0.2.%d\n", i+1)
	}
	r, _ := newScripted(t, Config{}, script{"many.example. A": {answer: many.String()}})
	got, err := r.Lookup(t.Context(), "many.example")
	if err != nil || len(got.Addrs) != MaxAddrs || got.Addrs[0] != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("got %d addresses %v, %v; want the first %d", len(got.Addrs), got.Addrs, err, MaxAddrs)
	}
}

func TestMappedAddressIsReturnedAsTheIPv4AddressItIs(t *testing.T) {
	r, _ := newScripted(t, Config{Families: IP6}, script{
		"m.example. AAAA": {answer: "m.example. 60 IN AAAA ::ffff:10.0.0.1\nm.example. 60 IN AAAA ::ffff:10.0.0.1"},
	})
	mustLookup(t, r, "m.example", "10.0.0.1")
}

func TestExchangeReturnsRecordsWithWhatIsLeftOfTheirTTL(t *testing.T) {
	const (
		mx  = "m.example. 60 IN MX 10 mail.example."
		sig = "m.example. 60 IN RRSIG MX 13 2 60 20300101000000 20200101000000 1 example. c2ln"
		nx  = "example. 300 IN NSEC a.example. SOA"

		alias    = "alias.example. 60 IN CNAME m.example."
		aliasSig = "alias.example. 60 IN RRSIG CNAME 13 2 60 20300101000000 20200101000000 1 example. c2ln"
	)
	r, s := newScripted(t, Config{}, script{
		"m.example. MX":        {answer: mx + "\n" + sig, additional: "mail.example. 60 IN A 192.0.2.9"},
		"alias.example. MX":    {answer: alias + "\n" + aliasSig + "\n" + mx + "\n" + sig},
		"alias.example. CNAME": {answer: alias},
		"no.example. MX":       {rcode: dns.RcodeNameError, authority: soa + "\n" + nx},
	})
	for _, tt := range []struct {
		name   string
		q      dns.Question
		dnssec bool
		want   Records
	}{
		{"an answer, and nothing additional", dns.Question{Name: "M.Example.", Qtype: dns.TypeMX, Qclass: 1}, false,
			Records{Answer: zone(mx)}},
		{"the same with signatures", dns.Question{Name: "m.example", Qtype: dns.TypeMX, Qclass: 1}, true,
			Records{Answer: zone(mx + "\n" + sig)}},
		{"an alias with both signatures", dns.Question{Name: "alias.example", Qtype: dns.TypeMX, Qclass: 1}, true,
			Records{Answer: zone(alias + "\n" + aliasSig + "\n" + mx + "\n" + sig)}},
		{"an alias itself", dns.Question{Name: "alias.example", Qtype: dns.TypeCNAME, Qclass: 1}, false,
			Records{Answer: zone(alias)}},
		{"no such name", dns.Question{Name: "no.example.", Qtype: dns.TypeMX, Qclass: 1}, false,
			Records{Rcode: dns.RcodeNameError, Authority: zone(soa)}},
		{"no such name, with its proof", dns.Question{Name: "no.example.", Qtype: dns.TypeMX, Qclass: 1}, true,
			Records{Rcode: dns.RcodeNameError, Authority: zone(soa + "\n" + nx)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := r.Exchange(t.Context(), tt.q, tt.dnssec)
			if err != nil {
				t.Fatal(err)
			}
			if got.TTL <= 0 || got.TTL > time.Minute {
				t.Errorf("TTL %v", got.TTL)
			}
			for _, rr := range append(got.Answer, got.Authority...) {
				if ttl := rr.Header().Ttl; ttl > uint32(got.TTL/time.Second) {
					t.Errorf("%v outlives the answer's %v", rr, got.TTL)
				}
				rr.Header().Ttl = 1 // the copy is ours: the cache must not see this
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.IgnoreFields(dns.RR_Header{}, "Ttl"),
				cmpopts.IgnoreFields(Records{}, "TTL")); diff != "" {
				t.Error(diff)
			}
			again, err := r.Exchange(t.Context(), tt.q, tt.dnssec)
			if err != nil || len(again.Answer) > 0 && again.Answer[0].Header().Ttl == 1 {
				t.Errorf("the cache gave out its own records: %v, %v", again.Answer, err)
			}
		})
	}
	mustAsk(t, s, 6)
}

func TestExchangeRefusesWhatIsNoRecord(t *testing.T) {
	r, s := newScripted(t, Config{}, nil)
	for _, q := range []dns.Question{
		{Name: "x.example.", Qtype: dns.TypeANY, Qclass: dns.ClassINET},
		{Name: "x.example.", Qtype: dns.TypeAXFR, Qclass: dns.ClassINET},
		{Name: "x.example.", Qtype: dns.TypeTSIG, Qclass: dns.ClassINET},
		{Name: "x.example.", Qtype: dns.TypeOPT, Qclass: dns.ClassINET},
		{Name: "x.example.", Qtype: dns.TypeNone, Qclass: dns.ClassINET},
		{Name: "version.bind.", Qtype: dns.TypeTXT, Qclass: dns.ClassCHAOS},
		{Name: "x.example.", Qtype: dns.TypeA},
	} {
		if _, err := r.Exchange(t.Context(), q, false); !errors.Is(err, ErrFailed) {
			t.Errorf("%v: %v, want ErrFailed", q, err)
		}
	}
	mustAsk(t, s, 0)
}

func TestNameThatCannotBePackedFails(t *testing.T) {
	hosts := filepath.Join(t.TempDir(), "hosts")
	r, err := New(Config{Hosts: hosts, Upstreams: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:9")}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, name := range []string{"a..b", strings.Repeat("a", 64) + ".example", strings.Repeat("a.", 127) + "example", `a\`} {
		mustFail(t, r, name, ErrFailed)
	}
}

func TestConfigThatMakesNoSenseIsRefused(t *testing.T) {
	for _, cfg := range []Config{
		{Families: Both + 1},
		{Timeout: -1},
		{MaxChain: -1},
		{CacheBytes: -1},
		{MinTTL: 2 * time.Hour},
		{NegativeTTL: -1},
		{Upstreams: []netip.AddrPort{{}}},
		{Upstreams: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}},
	} {
		if r, err := New(cfg); err == nil {
			r.Close()
			t.Errorf("%+v was accepted", cfg)
		}
	}
}

func TestMetricsHaveTheirNamesAndAClosedSetOfResults(t *testing.T) {
	reg := prometheus.NewRegistry()
	newScripted(t, Config{Registerer: reg}, nil)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			series := f.GetName()
			for _, label := range m.GetLabel() {
				series += " " + label.GetName() + "=" + label.GetValue()
			}
			got = append(got, series)
		}
	}
	if diff := cmp.Diff([]string{
		"egress_bound_share bound=lookups",
		"egress_bound_size bound=cached_lookups",
		"egress_bound_size bound=extra_lookups",
		"egress_bound_size bound=lookups",
		"egress_bound_size bound=mute_questions",
		"egress_bound_used bound=cached_lookups",
		"egress_bound_used bound=extra_lookups",
		"egress_bound_used bound=lookups",
		"egress_bound_used bound=mute_questions",
		"egress_dns_cache_total result=hit",
		"egress_dns_cache_total result=miss",
		"egress_dns_cache_total result=negative",
		"egress_dns_cache_total result=prefetch",
		"egress_dns_cache_total result=shared",
		"egress_dns_cache_total result=stale",
		"egress_dns_stale_age_seconds",
		"egress_dns_upstream_failures_total cause=local upstream=127.0.0.1:53",
		"egress_dns_upstream_failures_total cause=malformed upstream=127.0.0.1:53",
		"egress_dns_upstream_failures_total cause=rcode upstream=127.0.0.1:53",
		"egress_dns_upstream_failures_total cause=referral upstream=127.0.0.1:53",
		"egress_dns_upstream_failures_total cause=refused upstream=127.0.0.1:53",
		"egress_dns_upstream_failures_total cause=servfail upstream=127.0.0.1:53",
		"egress_dns_upstream_failures_total cause=timeout upstream=127.0.0.1:53",
		"egress_dns_upstream_failures_total cause=unreachable upstream=127.0.0.1:53",
		"egress_dns_upstream_seconds outcome=answered upstream=127.0.0.1:53",
		"egress_dns_upstream_seconds outcome=failed upstream=127.0.0.1:53",
		"egress_dns_upstream_seconds outcome=given_up upstream=127.0.0.1:53",
		"egress_dns_upstream_seconds outcome=timeout upstream=127.0.0.1:53",
		"egress_dns_upstream_up upstream=127.0.0.1:53",
		"egress_lookups_refused_total cause=all", "egress_lookups_refused_total cause=function", "egress_lookups_refused_total cause=source",
	}, got); diff != "" {
		t.Error(diff)
	}
}
