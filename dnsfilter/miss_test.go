package dnsfilter_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/dnsfilter"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
)

// A question that the resolver is asked for is judged before that, and not again.
func TestMissIsJudgedOnceAndAsksTheResolverOnce(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			var judged atomic.Int64
			r := newFixture(t, zoneOf(), func(o *dnsfilter.Options) {
				get := o.Policy
				o.Policy = func() (*policy.Policy, *identity.Table) {
					judged.Add(1)
					return get()
				}
			})
			r.ask(question("evil.example.", "A"), billing) // a new policy is looked at twice
			judged.Store(0)
			c := dial(t, network, netip.AddrPortFrom(billing.Addr(), 0), r.listen(t, "127.0.0.1:0"))
			if m := exchange(t, c, question("api.example.org.", "A")); len(m.Answer) != 2 {
				t.Fatalf("answer: %v", m)
			}
			if n := judged.Load(); n != 1 {
				t.Errorf("the policy was asked for %d times, want once", n)
			}
			if n := r.asked.Load(); n != 1 {
				t.Errorf("the resolver was asked %d times, want once", n)
			}
			if hit, miss := r.metric("egress_dns_packed_total", "hit"), r.metric("egress_dns_packed_total", "miss"); hit != 0 || miss != 1 {
				t.Errorf("%v hits and %v misses counted, want one miss", hit, miss)
			}
		})
	}
}

// The memory that packets are read into is used again while questions wait.
func TestQuestionsThatWaitTogetherKeepTheirOwnNames(t *testing.T) {
	const questions = 20
	arrived, answer := make(chan struct{}, questions), make(chan struct{})
	r := newFixture(t, zoneOf(), func(o *dnsfilter.Options) {
		o.Exchange = func(_ context.Context, q dns.Question, _ bool) (dnsfilter.Records, error) {
			arrived <- struct{}{}
			<-answer
			return dnsfilter.Records{Answer: []dns.RR{mustRR(q.Name + " 300 A 8.8.8.8")}, TTL: time.Minute}, nil
		}
	})
	c := dial(t, "udp", netip.AddrPortFrom(billing.Addr(), 0), r.listen(t, "127.0.0.1:0")).(*net.UDPConn)
	want := map[string]bool{}
	for i := range questions {
		name := fmt.Sprintf("Name-%d.wild.example.org.", i)
		want[name] = true
		if _, err := c.Write(question(name, "A")); err != nil {
			t.Fatal(err)
		}
		<-arrived
	}
	close(answer)
	_ = c.SetReadDeadline(time.Now().Add(testTimeout))
	for range questions {
		buf := make([]byte, 2048)
		n, err := c.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		m := r.read(buf[:n])
		name := m.Question[0].Name
		if !want[name] || len(m.Answer) != 1 || m.Answer[0].Header().Name != name {
			t.Errorf("an answer that nobody asked for: %v", m)
		}
		delete(want, name)
	}
}

// The answer to a miss is made by another writer than the slow path's; both
// give the same bytes, for what is stale, cut or refused too.
func TestAnswerToAMissIsThatOfTheSlowPath(t *testing.T) {
	for _, found := range []struct {
		name   string
		change func(*dnsfilter.Records)
	}{
		{"fresh", func(*dnsfilter.Records) {}},
		{"not to be kept", func(r *dnsfilter.Records) { r.TTL = 0 }},
		{"stale", func(r *dnsfilter.Records) { r.TTL, r.Stale = 30*time.Second, true }},
		{"a failure", func(r *dnsfilter.Records) { r.Rcode = dns.RcodeServerFailure }},
		{"an address that no rule has", func(r *dnsfilter.Records) {
			for _, rr := range r.Answer {
				if a, ok := rr.(*dns.A); ok {
					a.A = net.IPv4(10, 6, 6, 6)
				}
			}
		}},
	} {
		t.Run(found.name, func(t *testing.T) {
			synctestRun(t, func(t *testing.T, _ func(int)) {
				taken := 0
				for _, s := range append(shapes(), tight()...) {
					for _, tcp := range []bool{false, true} {
						taken += sameAnswerToAMiss(t, s, tcp, found.change)
					}
				}
				if taken < 20 {
					t.Errorf("%d misses were compared", taken)
				}
			})
		})
	}
}

// tight are questions of clients that take just as much as the answer, or its
// answer when stale, is long, and of some that take a little less.
func tight() (all []shape) {
	for size := uint16(512); size <= 560; size++ {
		all = append(all, shape{"tight", packed(func(m *dns.Msg) {
			m.SetQuestion("many.wild.example.org.", dns.TypeA).SetEdns0(size, false)
		}), dns.RcodeSuccess})
	}
	return all
}

// sameAnswerToAMiss compares both paths' answers to a question whose answer
// neither has, and returns 1 if the question took the fast path to Exchange.
func sameAnswerToAMiss(t *testing.T, s shape, tcp bool, change func(*dnsfilter.Records)) int {
	t.Helper()
	z := largeZone()
	for i := range 30 {
		z["many.wild.example.org. A"] = append(z["many.wild.example.org. A"], fmt.Sprintf("many.wild.example.org. 300 A 8.8.9.%d", i))
	}
	fresh := func() *fixture {
		return newFixture(t, z, func(o *dnsfilter.Options) {
			ask := o.Exchange
			o.Exchange = func(ctx context.Context, q dns.Question, dnssec bool) (dnsfilter.Records, error) {
				r, err := ask(ctx, q, dnssec)
				change(&r)
				return r, err
			}
		})
	}
	a, b := fresh(), fresh()
	reply := a.loop.Handle(s.pkt, billing, tcp)
	if reply == nil {
		return 0
	}
	if slow := b.server.Slow(s.pkt, billing, time.Now(), tcp); !bytes.Equal(reply, slow) {
		t.Errorf("%s, over TCP %t:\n%v\n%v", s.name, tcp, a.read(reply), b.read(slow))
	}
	if got, want := a.lines.String(), b.lines.String(); len(got) != len(want) {
		t.Errorf("%s, over TCP %t: recorded %s, by the slow path %s", s.name, tcp, got, want)
	}
	if _, fast := fresh().server.Fast(s.pkt, billing, time.Now(), tcp); fast || a.asked.Load() == 0 {
		return 0
	}
	return 1
}
