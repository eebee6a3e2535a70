package dnsfilter_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/dnsfilter"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
)

// newFlooded makes a filter whose callers have records of their own for twenty refusals a
// minute, and which has 64 places for those that wait for one. Upstream answers with
// that address.
func newFlooded(t *testing.T, address string) *shared {
	out := &egresstest.Buffer{}
	s := newShared(t, func(o *dnsfilter.Options) {
		o.Audit = audit.New(out, audit.Options{RefusalRecords: 20})
		o.Limits.Refusals = 64
		o.Exchange = func(_ context.Context, q dns.Question, _ bool) (dnsfilter.Records, error) {
			return dnsfilter.Records{Answer: []dns.RR{mustRR(q.Name + " 0 A " + address)}}, nil
		}
	})
	s.lines = out
	return s
}

// answered returns how many records of decisions there are.
func (s *shared) answered() (n int) {
	for _, r := range s.records() {
		if r.Event == "answered" {
			n++
		}
	}
	return n
}

// Refused questions, the next ones when the answers are there, for a minute: those beyond the budget of their
// caller wait, and share records.
func TestRefusedQuestionsBeyondTheBudgetShareRecords(t *testing.T) {
	for _, flood := range []struct {
		name string
		from netip.AddrPort
		ask  func(i int) string
	}{
		{"a function", billing, func(i int) string { return fmt.Sprintf("r%d.evil.example.", i) }},
		{"a source of no function", nobody, func(i int) string { return fmt.Sprintf("r%d.evil.example.", i) }},
		{"by the slow path", billing, func(i int) string { return fmt.Sprintf("r%d\\000.evil.example.", i) }},
		{"refused for its answer", partner, func(i int) string { return "private.example.org." }},
	} {
		t.Run(flood.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFlooded(t, "10.6.6.6") // which no rule permits
				began, n := time.Now(), 0
				for ; time.Since(began) < 59*time.Second; n++ {
					replies := make(chan *dns.Msg, 5)
					for i := range 5 {
						s.ask(flood.ask(5*n+i), flood.from, func(m *dns.Msg) { replies <- m })
					}
					for range 5 {
						if m := <-replies; m == nil || len(m.Answer) != 0 {
							t.Fatalf("question %d: %v", n, m)
						}
					}
				}
				// Twenty at once, twenty more as the minute passes, and one a second.
				if got := s.answered(); got > 20+20+60 || got < 20+59 || n < 59 {
					t.Errorf("%d records of %d refused questions", got, 5*n)
				}
				s.mustBeEmpty()
			})
		})
	}
}

// Who is refused without end takes neither places nor time from others: of what is beyond
// its share it gets nothing at all.
func TestFloodOfRefusedQuestionsStandsInNobodysWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFlooded(t, "8.8.8.8")
		var answers, silences atomic.Int64
		for second := range 10 {
			for i := range 1000 {
				s.ask(fmt.Sprintf("r%d-%d.evil.example.", second, i), billing, func(m *dns.Msg) {
					if m == nil {
						silences.Add(1)
					} else {
						answers.Add(1)
					}
				})
			}
			for _, honest := range []struct {
				name  string
				from  netip.AddrPort
				rcode int
			}{
				{"evil.example.", partner, dns.RcodeNameError},
				{"evil.example.", nobody, dns.RcodeNameError},
				{"api.example.org.", billing, dns.RcodeSuccess}, // its own questions too, if they are allowed
			} {
				began := time.Now()
				reply := make(chan *dns.Msg, 1)
				s.ask(honest.name, honest.from, func(m *dns.Msg) { reply <- m })
				m := <-reply
				if m == nil || m.Rcode != honest.rcode || time.Since(began) > 10*time.Millisecond {
					t.Fatalf("%s of %v after %v: %v", honest.name, honest.from, time.Since(began), m)
				}
			}
			if places, _ := s.server.Holds(); places > 16 {
				t.Errorf("%d places are taken, want the share of one caller", places)
			}
			time.Sleep(1100 * time.Millisecond)
		}
		s.mustBeEmpty()
		if a, b := answers.Load(), silences.Load(); a+b != 10_000 || a < 20+10*16 || a > 20+10*16+4 {
			t.Errorf("%d answers and %d silences", a, b)
		}
		if got := s.metric("egress_dns_refusals_dropped_total"); got != float64(silences.Load()) {
			t.Errorf("%v counted, %d were dropped", got, silences.Load())
		}
		// What was answered is in a record and counted as a decision, and nothing else is.
		if counted := s.metric("egress_dns_answers_total", "deny"); int64(counted) != answers.Load()+20 {
			t.Errorf("%v decisions, %d answers", counted, answers.Load()+20)
		}
		if got := s.answered(); got > 20+20+10+4 {
			t.Errorf("%d records", got)
		}
		if text := s.log.String(); strings.Count(text, "more than its share") != 1 || !strings.Contains(text, `"function":"billing"`) {
			t.Errorf("logged: %s", text)
		}
	})
}

// Callers that together have all places, each no more than its share, keep out nobody who
// has less: one of theirs gets no answer for it.
func TestRefusedQuestionsOfManyKeepNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFlooded(t, "8.8.8.8")
		var answers, silences atomic.Int64
		count := func(m *dns.Msg) {
			if m == nil {
				silences.Add(1)
			} else {
				answers.Add(1)
			}
		}
		floods := []netip.AddrPort{billing, partner, nobody, netip.MustParseAddrPort("10.9.0.1:5300")}
		for i := range 100 { // of which twenty of each are within its budget
			for _, from := range floods {
				s.ask(fmt.Sprintf("r%d.evil.example.", i), from, count)
			}
		}
		if places, _ := s.server.Holds(); places != 64 {
			t.Fatalf("%d places are taken, want all", places)
		}
		honest := netip.MustParseAddrPort("10.9.0.2:5300")
		for i := range 25 {
			s.ask(fmt.Sprintf("r%d.evil.example.", i), honest, func(m *dns.Msg) {
				if m == nil || m.Rcode != dns.RcodeNameError {
					t.Errorf("its question %d: %v", i, m)
				}
			})
		}
		s.mustBeEmpty()
		if a, b := answers.Load(), silences.Load(); a != 4*20+64-5 || a+b != 400 {
			t.Errorf("%d answers and %d silences", a, b)
		}
		if got := s.metric("egress_dns_refusals_dropped_total"); got != float64(silences.Load()) {
			t.Errorf("%v counted, %d were dropped", got, silences.Load())
		}
		if counted := s.metric("egress_dns_answers_total", "deny"); int64(counted) != answers.Load()+25 {
			t.Errorf("%v decisions, %d answers", counted, answers.Load()+25)
		}
	})
}

// A question that is refused for its answer waits for its record in no place of those
// that wait for the resolver.
func TestRefusalThatWaitsForItsRecordHoldsUpNoLookup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFlooded(t, "10.6.6.6")
		for range 40 {
			s.ask("private.example.org.", partner, nil)
			synctest.Wait()
		}
		if places, _ := s.server.Holds(); places != 16 || s.metric("egress_dns_in_flight") != 0 {
			t.Errorf("%d places are taken, %v questions in flight", places, s.metric("egress_dns_in_flight"))
		}
		s.mustBeEmpty()
	})
}

// No answer leaves before the record that it shares, and one that cannot be written is
// everybody's SERVFAIL.
func TestRefusalThatSharesARecordIsAnsweredAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFlooded(t, "8.8.8.8")
		for i := range 20 {
			s.ask(fmt.Sprintf("r%d.evil.example.", i), billing, nil)
		}
		var early atomic.Int64
		for i := range 10 {
			s.ask(fmt.Sprintf("s%d.evil.example.", i), billing, func(m *dns.Msg) {
				if s.answered() != 21 || m.Rcode != dns.RcodeNameError {
					early.Add(1)
				}
			})
		}
		synctest.Wait()
		if got := s.answered(); got != 20 {
			t.Errorf("%d records before the second is over", got)
		}
		s.mustBeEmpty()
		if early.Load() != 0 {
			t.Errorf("%d answers left before their record", early.Load())
		}
	})
}
