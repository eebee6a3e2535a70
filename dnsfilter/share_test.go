package dnsfilter_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/dnsfilter"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
)

// shared is a filter with 64 places, whose upstreams answer after ten milliseconds, and
// nothing for the name silent.wild.example.org and those below it.
type shared struct {
	*fixture
	t   *testing.T
	log *egresstest.Buffer
	all sync.WaitGroup
}

// newShared makes one whose sources of no function are answered.
func newShared(t *testing.T, change func(*dnsfilter.Options)) *shared {
	s := &shared{t: t, log: &egresstest.Buffer{}}
	s.fixture = newFixture(t, zone{}, func(o *dnsfilter.Options) {
		o.Clients = append(o.Clients, netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32"))
		o.Limits = dnsfilter.Limits{InFlight: 64, Budget: 5 * time.Second}
		o.Logger = slog.New(slog.NewJSONHandler(s.log, nil))
		o.Exchange = func(ctx context.Context, q dns.Question, _ bool) (dnsfilter.Records, error) {
			after := 10 * time.Millisecond
			if strings.HasSuffix(q.Name, "silent.wild.example.org.") {
				after = time.Hour
			}
			select {
			case <-time.After(after):
				return dnsfilter.Records{Answer: []dns.RR{mustRR(q.Name + " 0 A 8.8.8.8")}}, nil
			case <-ctx.Done():
				return dnsfilter.Records{}, timeout{}
			}
		}
		if change != nil {
			change(o)
		}
	})
	return s
}

// ask asks without waiting; answered may be nil.
func (s *shared) ask(name string, from netip.AddrPort, answered func(*dns.Msg)) {
	s.all.Add(1)
	s.server.Deliver(question(name, "A"), from, func(reply []byte) {
		defer s.all.Done()
		if answered != nil {
			answered(s.read(reply))
		}
	})
}

// mustBeEmpty waits for all answers, and fails the test where something is held then.
func (s *shared) mustBeEmpty() {
	s.t.Helper()
	s.all.Wait()
	synctest.Wait()
	if places, callers := s.server.Holds(); places != 0 || callers != 0 || s.metric("egress_dns_in_flight") != 0 {
		s.t.Errorf("%d places of %d callers are left, %v counted", places, callers, s.metric("egress_dns_in_flight"))
	}
}

// floods are who asks for what nobody answers, i being the number of the question.
var floods = []struct {
	name string
	from func(i int) string
	what func(i int) string
}{
	{"one function, one name", func(i int) string { return fmt.Sprintf("127.0.1.%d", i%250) }, func(int) string { return "silent.wild.example.org." }},
	{"one function, many names", func(int) string { return "127.0.1.1" }, func(i int) string { return fmt.Sprintf("x%d.silent.wild.example.org.", i%900) }},
	{"one source", func(int) string { return "10.0.0.1" }, func(int) string { return "silent.wild.example.org." }},
	{"many addresses of one prefix", func(i int) string { return fmt.Sprintf("2001:db8::%x", i) }, func(int) string { return "silent.wild.example.org." }},
	{"many sources of no function", func(i int) string { return fmt.Sprintf("10.1.%d.%d", i/250, i%250) }, func(int) string { return "silent.wild.example.org." }},
}

// Whatever others ask, another function's questions are answered as soon as they would be.
func TestQuestionsOfOneClientStandInNobodysWay(t *testing.T) {
	for _, flood := range floods {
		t.Run(flood.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShared(t, nil)
				for round := range 100 { // 4,000 questions a second, and an honest one before each forty
					honest := partner
					if round%2 == 1 && flood.name != "many sources of no function" { // who are like it
						honest = nobody
					}
					began := time.Now()
					done := make(chan *dns.Msg, 1)
					s.ask("private.example.org.", honest, func(m *dns.Msg) { done <- m })
					for i := range 40 {
						n := 40*round + i
						s.ask(flood.what(n), netip.AddrPortFrom(netip.MustParseAddr(flood.from(n)), 5300), nil)
					}
					if m := <-done; m == nil || m.Rcode != dns.RcodeSuccess || len(m.Answer) != 1 {
						t.Fatalf("round %d, %v: %v", round, honest, m)
					}
					if took := time.Since(began); took != 10*time.Millisecond {
						t.Fatalf("round %d, %v took %v", round, honest, took)
					}
				}
				s.mustBeEmpty()
			})
		})
	}
}

// Who is beyond its share is told so, whatever refuse_with says; the record has whose
// source it is, and the operator learns it too.
func TestQuestionBeyondTheShareOfItsClientIsToldAsThat(t *testing.T) {
	for _, tt := range []struct {
		from                   netip.AddrPort
		cause, function, named string
	}{
		{billing, "function", "billing", `"function":"billing"`},
		{netip.MustParseAddrPort("10.0.0.1:5300"), "source", "", `"source":"10.0.0.1"`},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newShared(t, func(o *dnsfilter.Options) { o.RefuseWith = dnsfilter.Refused })
			reasons := map[string]int{}
			var mu sync.Mutex
			for range 21 {
				s.ask("silent.wild.example.org.", tt.from, func(m *dns.Msg) {
					mu.Lock()
					defer mu.Unlock()
					_, text := ede(m)
					reasons[fmt.Sprintf("%s %s", dns.RcodeToString[m.Rcode], text)]++
				})
				synctest.Wait()
			}
			s.mustBeEmpty()
			if reasons["SERVFAIL limit_function"] != 5 || reasons["SERVFAIL dns_timeout"] != 16 {
				t.Errorf("answers: %v", reasons)
			}
			for _, r := range s.records() {
				if r.Function != tt.function {
					t.Errorf("a record of %q, want %q: %+v", r.Function, tt.function, r)
				}
			}
			if got := s.metric("egress_dns_questions_refused_total", tt.cause); got != 5 {
				t.Errorf("%v counted as %s, want 5", got, tt.cause)
			}
			if text := s.log.String(); strings.Count(text, "more than its share") != 1 || !strings.Contains(text, tt.named) {
				t.Errorf("logged: %s", text)
			}
		})
	}
}
