package resolve

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/resolve/cache"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/resolve/chain"
)

// aliases is a chain of n CNAMEs from c0.example to cN.example, and the address there.
func aliases(n int) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "c%d.example. 60 IN CNAME c%d.example.\n", i, i+1)
	}
	fmt.Fprintf(&text, "c%d.example. 60 IN A 192.0.2.1\n", n)
	return text.String()
}

// Either family can be led another way, and its addresses are used: the chain has
// the names of both.
func TestChainHasTheNamesThatEitherFamilyWasLedThrough(t *testing.T) {
	const (
		direct   = "x.example. 60 IN A 192.0.2.1"
		byB      = "x.example. 60 IN CNAME b.example.\nb.example. 60 IN A 192.0.2.1"
		byB6     = "x.example. 60 IN CNAME b.example.\nb.example. 60 IN AAAA 2001:db8::1"
		byC6     = "x.example. 60 IN CNAME c.example.\nc.example. 60 IN AAAA 2001:db8::1"
		directly = "x.example. 60 IN AAAA 2001:db8::1"
	)
	for _, tt := range []struct {
		name, ip4, ip6 string
		want           []string
	}{
		{"none", direct, directly, nil},
		{"of IPv4 alone", byB, directly, []string{"b.example"}},
		{"of IPv6 alone", direct, byC6, []string{"c.example"}},
		{"the same", byB, byB6, []string{"b.example"}},
		{"another of each", byB, byC6, []string{"b.example", "c.example"}},
	} {
		r, _ := newScripted(t, Config{Families: Both}, script{"x.example. A": {answer: tt.ip4}, "x.example. AAAA": {answer: tt.ip6}})
		for range 2 { // the second from the cache, which it must not have written to
			got, err := r.Lookup(t.Context(), "x.example")
			if err != nil || !slices.Equal(got.Chain, tt.want) {
				t.Errorf("%s: chain %v, %v, want %v", tt.name, got.Chain, err, tt.want)
			}
		}
	}
}

// unchased is the same chain at an upstream that gives one CNAME at a time.
func unchased(n int) script {
	s := script{}
	for line := range strings.Lines(aliases(n)) {
		name, _, _ := strings.Cut(line, " ")
		s[name+" A"] = reply{answer: line}
	}
	return s
}

// chainCase is what Lookup makes of c0.example at an upstream that plays a script.
type chainCase struct {
	name  string
	plays script
	want  []string
	chain []string
	fails error
}

func chainCases() []chainCase {
	return []chainCase{
		{name: "an address",
			plays: script{"c0.example. A": {answer: "c0.example. 60 IN A 192.0.2.1"}},
			want:  []string{"192.0.2.1"}},
		{name: "letters in another case",
			plays: script{"c0.example. A": {answer: "C0.EXAMPLE. 60 IN CNAME X.Example.\nx.example. 60 IN A 192.0.2.1"}},
			want:  []string{"192.0.2.1"}, chain: []string{"x.example"}},
		{name: "records in the wrong order",
			plays: script{"c0.example. A": {answer: "c1.example. 60 IN A 192.0.2.1\nc0.example. 60 IN CNAME c1.example."}},
			want:  []string{"192.0.2.1"}, chain: []string{"c1.example"}},
		{name: "an address that hangs on no CNAME",
			plays: script{"c0.example. A": {answer: "other.example. 60 IN A 10.0.0.1\nc0.example. 60 IN A 192.0.2.1\nother.example. 60 IN A 10.0.0.2"}},
			want:  []string{"192.0.2.1"}},
		{name: "nothing but such an address",
			plays: script{"c0.example. A": {answer: "other.example. 60 IN A 10.0.0.1"}},
			fails: ErrNotFound},
		{name: "addresses among authorities and additions",
			plays: script{"c0.example. A": {authority: "c0.example. 60 IN A 10.0.0.1", additional: "c0.example. 60 IN A 10.0.0.2"}},
			fails: ErrNotFound},
		{name: "another type and another class",
			plays: script{"c0.example. A": {answer: "c0.example. 60 IN AAAA 2001:db8::1\nc0.example. 60 CH A 10.0.0.1"}},
			fails: ErrNotFound},
		{name: "an address beside NXDOMAIN",
			plays: script{"c0.example. A": {rcode: dns.RcodeNameError, answer: "c0.example. 60 IN A 10.0.0.1"}},
			fails: ErrNotFound},
		{name: "sixteen CNAMEs", plays: script{"c0.example. A": {answer: aliases(16)}}, want: []string{"192.0.2.1"}, chain: aliasNames(16)},
		{name: "seventeen CNAMEs", plays: script{"c0.example. A": {answer: aliases(17)}}, fails: chain.ErrTooLong},
		{name: "fifty CNAMEs", plays: script{"c0.example. A": {answer: aliases(50)}}, fails: chain.ErrTooLong},
		{name: "a CNAME that the upstream did not follow", plays: unchased(1), want: []string{"192.0.2.1"}, chain: []string{"c1.example"}},
		{name: "sixteen of them", plays: unchased(16), want: []string{"192.0.2.1"}, chain: aliasNames(16)},
		{name: "seventeen of them", plays: unchased(17), fails: chain.ErrTooLong},
		{name: "a loop of three",
			plays: script{"c0.example. A": {answer: "c0.example. 60 IN CNAME c1.example.\nc1.example. 60 IN CNAME c2.example.\nc2.example. 60 IN CNAME c0.example."}},
			fails: chain.ErrLoop},
		{name: "a loop beside the question",
			plays: script{"c0.example. A": {answer: "c0.example. 60 IN CNAME c1.example.\nc1.example. 60 IN CNAME c2.example.\nc2.example. 60 IN CNAME c1.example."}},
			fails: chain.ErrLoop},
		{name: "a CNAME to itself",
			plays: script{"c0.example. A": {answer: "c0.example. 60 IN CNAME c0.example."}},
			fails: chain.ErrLoop},
		{name: "a loop over several replies",
			plays: script{"c0.example. A": {answer: "c0.example. 60 IN CNAME c1.example."}, "c1.example. A": {answer: "c1.example. 60 IN CNAME c0.example."}},
			fails: chain.ErrLoop},
		{name: "a CNAME to the root",
			plays: script{"c0.example. A": {answer: "c0.example. 60 IN CNAME ."}},
			fails: chain.ErrNoTarget},
		{name: "a CNAME into nothing",
			plays: script{"c0.example. A": {rcode: dns.RcodeNameError, answer: "c0.example. 60 IN CNAME c1.example.", authority: soa}},
			fails: ErrNotFound},
		{name: "a CNAME to a name without addresses",
			plays: script{"c0.example. A": {answer: "c0.example. 60 IN CNAME c1.example.", authority: soa}},
			fails: ErrNotFound},
		{name: "a DNAME and the CNAME that comes of it",
			plays: script{"c0.example. A": {answer: "example. 60 IN DNAME other.\nc0.example. 60 IN CNAME c0.other.\nc0.other. 60 IN A 192.0.2.1"}},
			want:  []string{"192.0.2.1"}, chain: []string{"c0.other"}},
	}
}

// aliasNames are the names that so many aliases of c0.example lead through.
func aliasNames(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("c%d.example", i+1))
	}
	return names
}

// How many aliases are followed is for the configuration to say.
func TestAsManyAliasesAreFollowedAsAreConfigured(t *testing.T) {
	for _, limit := range []int{1, 8, 40} {
		r, _ := newScripted(t, Config{MaxChain: limit}, script{
			"c0.example. A": {answer: aliases(limit)}, "d0.example. A": {answer: strings.ReplaceAll(aliases(limit+1), "c0.", "d0.")},
		})
		if got := mustLookup(t, r, "c0.example", "192.0.2.1"); len(got.Chain) != limit {
			t.Errorf("of %d: %v", limit, got.Chain)
		}
		mustFail(t, r, "d0.example", chain.ErrTooLong)
	}
}

// A circle is seen by the first name that comes again: nobody is asked for it once more.
func TestCircleOfAliasesEndsAtOnce(t *testing.T) {
	r, s := newScripted(t, Config{}, script{
		"c0.example. A": {answer: "c0.example. 60 IN CNAME c1.example."},
		"c1.example. A": {answer: "c1.example. 60 IN CNAME c2.example."},
		"c2.example. A": {answer: "c2.example. 60 IN CNAME c0.example."},
	})
	mustFail(t, r, "c0.example", chain.ErrLoop)
	mustAsk(t, s, 3)
}

func TestOnlyTheChainOfTheQuestionIsUsed(t *testing.T) {
	for _, tt := range chainCases() {
		t.Run(tt.name, func(t *testing.T) {
			r, _ := newScripted(t, Config{}, tt.plays)
			if tt.fails != nil {
				mustFail(t, r, "c0.example", tt.fails)
				if tt.fails != ErrNotFound {
					mustFail(t, r, "c0.example", ErrFailed)
				}
				return
			}
			got := mustLookup(t, r, "c0.example", tt.want...)
			if !slices.Equal(got.Chain, tt.chain) {
				t.Errorf("chain %v, want %v", got.Chain, tt.chain)
			}
		})
	}
}

func TestRecordsOffTheChainAreNotCached(t *testing.T) {
	r, s := newScripted(t, Config{}, script{
		"c0.example. A": {
			answer:     "c0.example. 60 IN A 192.0.2.1\nbank.example. 60 IN A 10.0.0.1",
			authority:  "bank.example. 60 IN NS evil.example.",
			additional: "evil.example. 60 IN A 10.0.0.2",
		},
		"bank.example. A": {answer: "bank.example. 60 IN A 192.0.2.2"},
		"evil.example. A": {answer: "evil.example. 60 IN A 192.0.2.3"},
	})
	mustLookup(t, r, "c0.example", "192.0.2.1")
	mustLookup(t, r, "bank.example", "192.0.2.2")
	mustLookup(t, r, "evil.example", "192.0.2.3")
	mustAsk(t, s, 3)
}

func TestLongestNamesMakeAChain(t *testing.T) {
	long := func(i int) string {
		label := strings.Repeat("x", 62)
		return fmt.Sprintf("%d%s.%s.%s.%s.", i, label, label+"y", label+"y", strings.Repeat("x", 61))
	}
	text := "c0.example. 60 IN CNAME " + long(1) + "\n"
	for i := 1; i < 8; i++ {
		text += long(i) + " 60 IN CNAME " + long(i+1) + "\n"
	}
	r, _ := newScripted(t, Config{}, script{"c0.example. A": {answer: text + long(8) + " 60 IN A 192.0.2.1"}})
	got := mustLookup(t, r, "c0.example", "192.0.2.1")
	if len(got.Chain) != 8 || len(got.Chain[7])+2 != 255 {
		t.Errorf("a chain of %d, the last of %d bytes; want 8 and 255", len(got.Chain), len(got.Chain[7])+2)
	}
}

func TestTTLIsTheSmallestOfTheChainClamped(t *testing.T) {
	cfg := Config{MinTTL: 10 * time.Second, MaxTTL: time.Hour, NegativeTTL: time.Minute}
	const alias, found = "c0.example. %d IN CNAME c1.example.", "c1.example. %d IN A 192.0.2.1"
	for _, tt := range []struct {
		name    string
		answer  string
		soa     string
		want    time.Duration
		expires bool
	}{
		{name: "the address's", answer: fmt.Sprintf(alias+"\n"+found, 600, 60), want: time.Minute},
		{name: "the CNAME's", answer: fmt.Sprintf(alias+"\n"+found, 60, 600), want: time.Minute},
		{name: "below the floor", answer: fmt.Sprintf(alias+"\n"+found, 60, 1), want: 10 * time.Second},
		{name: "above the ceiling", answer: fmt.Sprintf(alias+"\n"+found, 86400, 86400), want: time.Hour},
		{name: "2^31", answer: fmt.Sprintf(alias+"\n"+found, 1<<31, 1<<31), want: time.Hour},
		{name: "2^32-1", answer: fmt.Sprintf(alias+"\n"+found, uint32(1<<32-1), uint32(1<<32-1)), want: time.Hour},
		{name: "zero, floor or not", answer: fmt.Sprintf(alias+"\n"+found, 60, 0), want: 0},
		{name: "no records: the SOA's minimum", soa: "example. 300 IN SOA ns. r. 1 2 3 4 30", want: 30 * time.Second},
		{name: "no records: the SOA's own TTL", soa: "example. 20 IN SOA ns. r. 1 2 3 4 30", want: 20 * time.Second},
		{name: "no records: below the floor for answers", soa: "example. 1 IN SOA ns. r. 1 2 3 4 30", want: time.Second},
		{name: "no records: capped", soa: "example. 9999 IN SOA ns. r. 1 2 3 4 9999", want: time.Minute},
		{name: "no records: a minimum of zero", soa: "example. 300 IN SOA ns. r. 1 2 3 4 0", want: 0},
		{name: "no records: no SOA", want: 0},
		{name: "no records: an SOA of another zone", soa: "other. 300 IN SOA ns. r. 1 2 3 4 30", want: 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := key{Name: "c0.example", Type: dns.TypeA}
			c := chain.New(k, 8)
			done, err := c.Add(&dns.Msg{Answer: zone(tt.answer), Ns: zone(tt.soa)})
			if !done || err != nil {
				t.Fatal(done, err)
			}
			if got := cache.New(c, k, cfg.ttls(), 0).Expires; got != tt.want {
				t.Errorf("kept for %v, want %v", got, tt.want)
			}
		})
	}
}

// FuzzReply gives the reader whatever an upstream may send behind the right id and
// question. It must not panic, must keep nothing off the chain, and must stay
// within the bounds of an answer.
func FuzzReply(f *testing.F) {
	k := key{Name: "c0.example", Type: dns.TypeA}
	question, err := new(dns.Msg).SetQuestion("c0.example.", dns.TypeA).Pack()
	if err != nil {
		f.Fatal(err)
	}
	seed := func(flags uint16, answer, authority string) {
		m := &dns.Msg{Question: []dns.Question{{Name: "c0.example.", Qtype: dns.TypeA, Qclass: 1}}, Compress: true}
		m.Answer, m.Ns = zone(answer), zone(authority)
		wire, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(flags, uint16(len(m.Answer)), uint16(len(m.Ns)), wire[len(question):])
	}
	seed(0x8180, aliases(0), "")
	seed(0x8180, aliases(8), "")
	seed(0x8180, aliases(9), "")
	seed(0x8180, "c0.example. 60 IN CNAME c0.example.", soa)
	seed(0x8183, "c0.example. 60 IN CNAME .", soa)
	f.Add(uint16(0x8180), uint16(1), uint16(0), []byte("\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x00"))         // no target
	f.Add(uint16(0x8180), uint16(1), uint16(0), []byte("\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x00"))         // no address
	f.Add(uint16(0x8180), uint16(1), uint16(0), []byte("\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x40\x01\x02")) // a length that lies
	f.Add(uint16(0x8180), uint16(1), uint16(0), []byte("\xc0\x1c\x00\x01"))                                         // a pointer at itself
	f.Add(uint16(0x8180), uint16(65535), uint16(65535), []byte{})
	f.Fuzz(func(t *testing.T, flags, answers, authorities uint16, rest []byte) {
		wire := slices.Concat(question, rest)
		binary.BigEndian.PutUint16(wire[2:], flags)
		binary.BigEndian.PutUint16(wire[6:], answers)
		binary.BigEndian.PutUint16(wire[8:], authorities)
		m := new(dns.Msg)
		if m.Unpack(wire) != nil || !m.Response {
			return
		}
		c := chain.New(k, 8)
		if _, err := c.Add(m); err != nil {
			if !errors.Is(err, chain.ErrLoop) && !errors.Is(err, chain.ErrTooLong) && !errors.Is(err, chain.ErrNoTarget) {
				t.Fatal(err)
			}
			return
		}
		checkEntry(t, k, cache.New(c, k, Config{}.withDefaults().ttls(), 0))
	})
}

// checkEntry holds e, whatever made it, to the bounds and the chain of an A question.
func checkEntry(t *testing.T, k key, e *cache.Entry) {
	t.Helper()
	if len(e.Addrs) > MaxAddrs || len(e.Chain) > 8 || e.Expires > time.Hour || (e.Problem == nil) != (len(e.Addrs) > 0) {
		t.Fatalf("out of bounds: %+v", e)
	}
	onChain := append([]string{k.Name}, e.Chain...)
	for _, rr := range e.Answer {
		if !slices.Contains(onChain, hostname.Fold(rr.Header().Name)) {
			t.Fatalf("%v is not on the chain %v", rr, onChain)
		}
		if rrtype := rr.Header().Rrtype; rrtype != dns.TypeA && rrtype != dns.TypeCNAME {
			t.Fatalf("%v is neither asked for nor a CNAME", rr)
		}
	}
}
