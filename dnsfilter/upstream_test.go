package dnsfilter_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/dnsfilter"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/resolve"
)

// upstream is a DNS server on loopback that counts its packets.
type upstream struct {
	addr    netip.AddrPort
	packets atomic.Int64
}

// newUpstream serves a handler over UDP.
func newUpstream(t *testing.T, handle func(m *dns.Msg, name string)) *upstream {
	t.Helper()
	u := &upstream{}
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u.addr = c.LocalAddr().(*net.UDPAddr).AddrPort()
	started := make(chan struct{})
	s := &dns.Server{PacketConn: c, NotifyStartedFunc: func() { close(started) }, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		u.packets.Add(1)
		m := new(dns.Msg).SetReply(q)
		handle(m, q.Question[0].Name)
		_ = w.WriteMsg(m)
	})}
	ended := make(chan struct{})
	go func() {
		_ = s.ActivateAndServe()
		close(ended)
	}()
	<-started
	t.Cleanup(func() {
		_ = s.Shutdown()
		<-ended
	})
	return u
}

// timedOut is the error of an upstream that is silent.
type timedOut struct{ error }

func (timedOut) Timeout() bool { return true }

// over makes the fixture's Exchange ask a real resolver in front of the upstream.
func over(t *testing.T, u netip.AddrPort, wait time.Duration) func(*dnsfilter.Options) {
	t.Helper()
	r, err := resolve.New(resolve.Config{Upstreams: []netip.AddrPort{u}, Hosts: "/dev/null", Timeout: wait})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return func(o *dnsfilter.Options) {
		o.Exchange = func(ctx context.Context, q dns.Question, do bool) (dnsfilter.Records, error) {
			found, err := r.Exchange(ctx, q, do)
			if errors.Is(err, resolve.ErrTimeout) {
				err = timedOut{err}
			}
			return dnsfilter.Records{Answer: found.Answer, Authority: found.Authority, Rcode: found.Rcode, TTL: found.TTL, Stale: found.Stale}, err
		}
	}
}

func TestRefusedNamesSendNoPacketUpstream(t *testing.T) {
	u := newUpstream(t, func(m *dns.Msg, name string) { m.Answer = []dns.RR{mustRR(name + " 60 A 8.8.8.8")} })
	r := newFixture(t, nil, over(t, u.addr, 2*testTimeout))
	c := dial(t, "udp", billing, r.listen(t, "127.0.0.1:0"))
	for i := range 1000 {
		if m := exchange(t, c, question(fmt.Sprintf("data%d.evil.example.", i), "A")); m.Rcode != dns.RcodeNameError {
			t.Fatalf("answer: %v", m)
		}
	}
	if u.packets.Load() != 0 {
		t.Errorf("%d packets upstream", u.packets.Load())
	}
	if m := exchange(t, c, question("api.example.org.", "A")); len(m.Answer) != 1 || u.packets.Load() != 1 {
		t.Errorf("an allowed name: %v, %d packets", m, u.packets.Load())
	}
}

func TestIdenticalQuestionsInFlightAreOnePacketUpstream(t *testing.T) {
	release := make(chan struct{})
	u := newUpstream(t, func(m *dns.Msg, name string) {
		<-release
		m.Answer = []dns.RR{mustRR(name + " 60 A 8.8.8.8")}
	})
	r := newFixture(t, nil, over(t, u.addr, 2*testTimeout))
	addr := r.listen(t, "127.0.0.1:0")
	var clients []*dns.Conn
	for range 10 {
		clients = append(clients, &dns.Conn{Conn: dial(t, "udp", billing, addr)})
	}
	// A socket's buffer holds some of them, not all.
	for n := range 50 {
		for _, c := range clients {
			for range 2 {
				if _, err := c.Write(question("api.example.org.", "A")); err != nil {
					t.Fatal(err)
				}
			}
		}
		egresstest.Eventually(t, "all questions are in flight", func() bool { return r.metric("egress_dns_in_flight") == float64(20*(n+1)) })
	}
	close(release)
	for _, c := range clients {
		for range 100 {
			if m, err := c.ReadMsg(); err != nil || len(m.Answer) != 1 {
				t.Fatalf("answer: %v, %v", m, err)
			}
		}
	}
	// One that is late is sent again, ever more seldom.
	if n := u.packets.Load(); n > 8 {
		t.Errorf("%d packets upstream for 1,000 questions", n)
	}
}

func TestWhatUpstreamSendsBeyondTheQuestionGoesNowhere(t *testing.T) {
	u := newUpstream(t, func(m *dns.Msg, name string) {
		m.Answer = []dns.RR{mustRR(name + " 60 CNAME edge.cdn.example."), mustRR("edge.cdn.example. 60 A 8.8.8.8"), mustRR("victim.example.org. 60 A 8.8.4.4")}
		m.Ns = []dns.RR{mustRR("example.org. 60 NS ns.evil.example.")}
		m.Extra = []dns.RR{mustRR("ns.evil.example. 60 A 8.8.4.4")}
	})
	r := newFixture(t, nil, over(t, u.addr, 2*testTimeout))
	for range 2 {
		m := r.ask(question("api.example.org.", "A"), billing)
		if len(m.Answer) != 2 || len(m.Ns) != 0 || len(m.Extra) != 1 {
			t.Errorf("answer: %v", m)
		}
	}
}

func TestUpstreamThatIsDownIsServfailWithinTheBudget(t *testing.T) {
	// What is connected takes nothing from others, and keeps its port.
	closed, err := net.DialUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9})
	if err != nil {
		t.Fatal(err)
	}
	defer closed.Close()
	down := closed.LocalAddr().(*net.UDPAddr).AddrPort()
	silentServer, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silentServer.Close()
	for what, tt := range map[string]struct {
		addr   netip.AddrPort
		wait   time.Duration
		reason string
	}{
		"closed": {down, testTimeout, "dns_failed"},
		"silent": {silentServer.LocalAddr().(*net.UDPAddr).AddrPort(), 100 * time.Millisecond, "dns_timeout"},
	} {
		r := newFixture(t, nil, over(t, tt.addr, tt.wait))
		m := r.ask(question("api.example.org.", "A"), billing)
		if _, text := ede(m); m.Rcode != dns.RcodeServerFailure || text != tt.reason {
			t.Errorf("%s: %v", what, m)
		}
	}
}
