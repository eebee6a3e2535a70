package dnsfilter_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/dnsfilter"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
)

// listen serves the fixture on loopback until the test ends and returns the address.
func (r *fixture) listen(t *testing.T, on string) netip.AddrPort {
	t.Helper()
	socks, err := dnsfilter.Listen(t.Context(), netip.MustParseAddrPort(on), 2)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- r.server.Serve(socks) }()
	t.Cleanup(func() {
		r.server.Shutdown(context.Background())
		if err := <-served; err != nil {
			t.Errorf("serving: %v", err)
		}
		if n := r.metric("egress_dns_connections") + r.metric("egress_dns_in_flight"); n != 0 {
			t.Errorf("%v connections and questions are left", n)
		}
	})
	return socks.Addr()
}

// dial connects to the server from the address of a caller.
func dial(t *testing.T, network string, from netip.AddrPort, to netip.AddrPort) net.Conn {
	t.Helper()
	d := net.Dialer{Timeout: testTimeout}
	if network == "tcp" {
		d.LocalAddr = &net.TCPAddr{IP: from.Addr().AsSlice()}
	} else {
		d.LocalAddr = &net.UDPAddr{IP: from.Addr().AsSlice()}
	}
	c, err := d.DialContext(t.Context(), network, to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(testTimeout))
	return c
}

// exchange asks over a connection of either kind.
func exchange(t *testing.T, c net.Conn, pkt []byte) *dns.Msg {
	t.Helper()
	conn := &dns.Conn{Conn: c}
	if _, err := conn.Write(pkt); err != nil {
		t.Fatal(err)
	}
	m, err := conn.ReadMsg()
	if err != nil {
		t.Fatalf("reading the answer: %v", err)
	}
	return m
}

// ended reports whether the server has closed the connection, after what it sent.
func ended(t *testing.T, c net.Conn) bool {
	t.Helper()
	_, err := io.Copy(io.Discard, c)
	timeout, ok := err.(net.Error)
	return !ok || !timeout.Timeout()
}

func TestQuestionsAreAnsweredOverUDPAndTCP(t *testing.T) {
	r := newFixture(t, zoneOf(), nil)
	addr := r.listen(t, "127.0.0.1:0")
	for _, network := range []string{"udp", "tcp"} {
		for range 3 {
			c := dial(t, network, billing, addr)
			if m := exchange(t, c, question("api.example.org.", "A")); len(m.Answer) != 2 {
				t.Errorf("%s: %v", network, m)
			}
			if m := exchange(t, c, question("evil.example.", "A")); m.Rcode != dns.RcodeNameError {
				t.Errorf("%s: %v", network, m)
			}
			if m := exchange(t, c, question("a.wild.example.org.", "A")); len(m.Answer) != 2 {
				t.Errorf("%s: %v", network, m)
			}
		}
	}
}

func TestAnswerLeavesFromTheAddressThatWasAsked(t *testing.T) {
	r := newFixture(t, zoneOf(), nil)
	for _, on := range []string{"0.0.0.0:0", "[::]:0"} {
		addr := r.listen(t, on)
		// A connected socket takes answers from the asked address alone.
		c := dial(t, "udp", billing, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.77"), addr.Port()))
		for _, name := range []string{"api.example.org.", "evil.example.", on[:1] + "x.wild.example.org."} {
			exchange(t, c, packed(func(m *dns.Msg) { m.SetQuestion(dns.Fqdn("a.wild.example.org"), dns.TypeA) }))
			exchange(t, c, question(name, "A"))
		}
	}
}

func TestPipelinedQuestionsAreAllAnsweredInAnyOrder(t *testing.T) {
	release := make(chan struct{})
	r := newFixture(t, nil, func(o *dnsfilter.Options) {
		o.Exchange = func(_ context.Context, q dns.Question, _ bool) (dnsfilter.Records, error) {
			if q.Name == "slow.wild.example.org." {
				<-release
			}
			return dnsfilter.Records{Answer: []dns.RR{mustRR(q.Name + " 0 A 8.8.8.8")}}, nil
		}
	})
	c := dial(t, "tcp", billing, r.listen(t, "127.0.0.1:0"))
	var stream []byte
	for id := range 200 {
		name := fmt.Sprintf("n%d.wild.example.org.", id)
		if id == 0 {
			name = "slow.wild.example.org."
		}
		pkt := question(name, "A")
		binary.BigEndian.PutUint16(pkt, uint16(id))
		stream = append(binary.BigEndian.AppendUint16(stream, uint16(len(pkt))), pkt...)
	}
	go func() { _, _ = c.Write(stream) }()
	seen := map[uint16]bool{}
	conn := &dns.Conn{Conn: c}
	for len(seen) < 200 {
		if len(seen) == 199 {
			close(release)
		}
		m, err := conn.ReadMsg()
		if err != nil || len(m.Answer) != 1 || seen[m.Id] {
			t.Fatalf("after %d answers: %v, %v", len(seen), m, err)
		}
		seen[m.Id] = true
	}
}

func TestSilentAndSlowConnectionsEnd(t *testing.T) {
	r := newFixture(t, zoneOf(), func(o *dnsfilter.Options) { o.Limits.ConnIdle = 200 * time.Millisecond })
	addr := r.listen(t, "127.0.0.1:0")
	for _, tt := range []struct {
		what string
		sent []byte
	}{
		{"nothing", nil},
		{"half a length", []byte{0}},
		{"a length alone", []byte{0, 40}},
		{"a length of 65535", []byte{255, 255, 1}},
		{"a length of 0", []byte{0, 0}},
		{"a length of 11", append([]byte{0, 11}, make([]byte, 11)...)},
		{"a PROXY header that nobody asked for", []byte("PROXY TCP4 127.0.1.1 127.0.0.1 1 2\r\n")},
	} {
		c := dial(t, "tcp", billing, addr)
		_, _ = c.Write(tt.sent)
		if !ended(t, c) {
			t.Errorf("%s: the connection stays open", tt.what)
		}
	}
	drip := dial(t, "tcp", billing, addr)
	_, _ = drip.Write([]byte{0, 200})
	stop := make(chan struct{})
	var dripping sync.WaitGroup
	dripping.Go(func() {
		for tick := time.NewTicker(20 * time.Millisecond); ; {
			select {
			case <-tick.C:
				_, _ = drip.Write([]byte{0})
			case <-stop:
				return
			}
		}
	})
	if !ended(t, drip) {
		t.Error("bytes that drip in prolong the deadline")
	}
	close(stop)
	dripping.Wait()
}

// The share of one client: the connection that has been idle longest gives way.
func TestConnectionsBeyondTheShareOfAClientCloseItsIdleOnes(t *testing.T) {
	r := newFixture(t, zoneOf(), func(o *dnsfilter.Options) { o.Limits.Conns = 8 })
	addr := r.listen(t, "127.0.0.1:0")
	var open []net.Conn
	for range 4 {
		c := dial(t, "tcp", billing, addr)
		exchange(t, c, question("api.example.org.", "A"))
		open = append(open, c)
	}
	exchange(t, open[0], question("api.example.org.", "A")) // the second is the oldest now
	exchange(t, dial(t, "tcp", billing, addr), question("api.example.org.", "A"))
	if !ended(t, open[1]) {
		t.Error("the one that has been idle longest stays open")
	}
	for _, c := range []net.Conn{open[0], open[2], open[3]} {
		exchange(t, c, question("api.example.org.", "A"))
	}
	exchange(t, dial(t, "tcp", partner, addr), question("api.example.org.", "A"))
	if m := exchange(t, dial(t, "udp", billing, addr), question("api.example.org.", "A")); len(m.Answer) != 2 {
		t.Errorf("UDP meanwhile: %v", m)
	}
	if got := r.metric("egress_dns_connections_refused_total", "source"); got != 1 {
		t.Errorf("%v closed connections are counted, want 1", got)
	}
}

// However many connections others leave idle, and behind whatever balancer, a client gets
// one, and it stays as long as it is used.
func TestIdleConnectionsStandInNobodysWay(t *testing.T) {
	for _, attacker := range []struct {
		name string
		from func(i int) string
	}{
		{"one client", func(int) string { return "127.0.1.1" }},
		{"five clients", func(i int) string { return fmt.Sprintf("127.0.1.%d", i%5) }},
		{"many clients", func(i int) string { return fmt.Sprintf("127.0.1.%d", i) }},
		{"many addresses of one prefix", func(i int) string { return fmt.Sprintf("2001:db8::%x", i+1) }},
		{"a balancer that says nothing", func(int) string { return "" }},
	} {
		t.Run(attacker.name, func(t *testing.T) {
			const most = 64
			r := newFixture(t, zoneOf(), func(o *dnsfilter.Options) {
				o.Limits.Conns = most
				o.Clients = append(o.Clients, netip.MustParsePrefix("2001:db8::/32"))
				o.ProxyProtocolFrom = []netip.Prefix{netip.MustParsePrefix("127.0.9.0/24")}
			})
			addr := r.listen(t, "127.0.0.1:0")
			honest := dial(t, "tcp", partner, addr)
			exchange(t, honest, question("api.example.org.", "A"))
			for i := range 3 * most {
				from, via := attacker.from(i), netip.MustParseAddrPort("127.0.9.1:0")
				a, err := netip.ParseAddr(from)
				if err == nil && a.Is4() {
					via = netip.AddrPortFrom(a, 0)
				}
				c := dial(t, "tcp", via, addr)
				if a.Is6() {
					_, _ = fmt.Fprintf(c, "PROXY TCP6 %s ::1 1 53\r\n", from)
				}
				if from != "" { // once, so that it is known to have its place
					exchange(t, c, question("api.example.org.", "A"))
				}
				if i%20 == 0 {
					exchange(t, honest, question("api.example.org.", "A"))
					if attacker.name != "many clients" { // each of which has one, as the honest one has
						exchange(t, dial(t, "tcp", partner, addr), question("api.example.org.", "A"))
					}
				}
			}
			egresstest.Eventually(t, "no more connections than places", func() bool {
				return r.metric("egress_dns_connections") <= most
			})
			exchange(t, honest, question("api.example.org.", "A"))
		})
	}
}

func TestConnectionFromElsewhereIsClosed(t *testing.T) {
	r := newFixture(t, zoneOf(), func(o *dnsfilter.Options) {
		o.Clients = []netip.Prefix{netip.MustParsePrefix("127.0.1.0/24")}
		o.Limits.ConnIdle = time.Hour
	})
	c := dial(t, "tcp", partner, r.listen(t, "127.0.0.1:0"))
	if !ended(t, c) || r.asked.Load() != 0 || r.metric("egress_dns_dropped_total", "client") != 1 {
		t.Error("the connection stays open")
	}
}

func TestBalancerTellsWhoAsks(t *testing.T) {
	r := newFixture(t, zoneOf(), func(o *dnsfilter.Options) {
		o.ProxyProtocolFrom = []netip.Prefix{netip.MustParsePrefix("127.0.9.0/24")}
		o.Clients = []netip.Prefix{netip.MustParsePrefix("127.0.1.0/24")}
	})
	addr := r.listen(t, "127.0.0.1:0")
	balancer := netip.MustParseAddrPort("127.0.9.1:0")
	v2 := append([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"), 127, 0, 1, 1, 127, 0, 0, 1, 0, 5, 0, 53)
	pkt := question("api.example.org.", "A")
	framed := append(binary.BigEndian.AppendUint16(nil, uint16(len(pkt))), pkt...)
	for _, tt := range []struct {
		what   string
		header []byte
		ok     bool
	}{
		{"version 1", []byte("PROXY TCP4 127.0.1.1 127.0.0.1 5 53\r\n"), true},
		{"version 2", v2, true},
		{"none", nil, false},
		{"one that is none", []byte("PROXY nonsense\r\n"), false},
		{"one cut off", v2[:20], false},
		{"of a source that may not ask", []byte("PROXY TCP4 127.0.2.1 127.0.0.1 5 53\r\n"), false},
		{"of a health check, which may not ask", []byte("\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"), false},
	} {
		c := dial(t, "tcp", balancer, addr)
		_, _ = c.Write(append(bytes.Clone(tt.header), framed...))
		if tt.what == "one cut off" {
			_ = c.(*net.TCPConn).CloseWrite()
		}
		m, err := (&dns.Conn{Conn: c}).ReadMsg()
		if (err == nil) != tt.ok || tt.ok && len(m.Answer) != 2 {
			t.Errorf("%s: %v, %v", tt.what, m, err)
		}
	}
	_, _ = dial(t, "tcp", billing, addr).Write(append([]byte("PROXY TCP4 127.0.1.1 127.0.0.1 5 53\r\n"), framed...))
}

func TestPanicCostsOneServfail(t *testing.T) {
	for _, where := range []string{"upstream", "count"} {
		r := newFixture(t, zoneOf(), func(o *dnsfilter.Options) {
			ask := o.Exchange
			o.Exchange = func(ctx context.Context, q dns.Question, do bool) (dnsfilter.Records, error) {
				if where == "upstream" && q.Name == "panic.wild.example.org." {
					panic("injected")
				}
				return ask(ctx, q, do)
			}
			o.Count = func(e *audit.Event) {
				if where == "count" && e.Host == "panic.wild.example.org" {
					panic("injected")
				}
			}
		})
		addr := r.listen(t, "127.0.0.1:0")
		for _, network := range []string{"udp", "tcp"} {
			c := dial(t, network, billing, addr)
			for range 2 {
				m := exchange(t, c, question("panic.wild.example.org.", "A"))
				if m.Rcode != dns.RcodeServerFailure || m.Id != 4242 || len(m.Question) != 1 {
					t.Errorf("%s: %v", where, m)
				}
			}
			if m := exchange(t, c, question("api.example.org.", "A")); len(m.Answer) != 2 {
				t.Errorf("%s: %v", where, m)
			}
		}
		if got := r.metric("egress_dns_panics_total"); got != 4 {
			t.Errorf("%s: %v panics counted, want 4", where, got)
		}
	}
}

func TestQuestionsBeyondThoseInFlightAreServfail(t *testing.T) {
	release, waiting := make(chan struct{}), make(chan struct{}, 8)
	r := newFixture(t, zoneOf(), func(o *dnsfilter.Options) {
		o.Limits.InFlight = 2
		o.Exchange = func(_ context.Context, q dns.Question, _ bool) (dnsfilter.Records, error) {
			waiting <- struct{}{}
			<-release
			return dnsfilter.Records{Answer: []dns.RR{mustRR(q.Name + " 60 A 8.8.8.8")}, TTL: time.Minute}, nil
		}
	})
	addr := r.listen(t, "127.0.0.1:0")
	c := dial(t, "udp", billing, addr)
	for _, name := range []string{"b.wild.example.org.", "c.wild.example.org."} {
		_, _ = c.Write(question(name, "A"))
		<-waiting
	}
	// One that the fast path has judged, and one that nothing is known of yet.
	unusual := packed(func(m *dns.Msg) {
		m.SetQuestion("d.wild.example.org.", dns.TypeA)
		opt(m, func(o *dns.OPT) { o.Option = []dns.EDNS0{&dns.EDNS0_LOCAL{Code: 65001}} })
	})
	for _, pkt := range [][]byte{question("d.wild.example.org.", "A"), unusual} {
		m := exchange(t, c, pkt)
		if _, text := ede(m); m.Rcode != dns.RcodeServerFailure || text != "limit_function" {
			t.Errorf("answer: %v", m)
		}
	}
	if m := exchange(t, c, question("evil.example.", "A")); m.Rcode != dns.RcodeNameError {
		t.Errorf("a refusal meanwhile: %v", m)
	}
	close(release)
	for range 2 {
		if m, err := (&dns.Conn{Conn: c}).ReadMsg(); err != nil || len(m.Answer) != 1 {
			t.Errorf("answer: %v, %v", m, err)
		}
	}
	all := r.records()
	if len(all) != 3 || all[0].Reason != "limit_function" || all[0].Host != "d.wild.example.org" || all[0].Function != "billing" || all[0].Via != "source" || all[0].Owner != "payments" {
		t.Fatalf("records: %+v", all)
	}
	if diff := cmp.Diff(all[0], all[1]); diff != "" {
		t.Errorf("the records of both differ: %s", diff)
	}
}

func TestShutdownAnswersWhatIsInFlight(t *testing.T) {
	release, waiting := make(chan struct{}), make(chan struct{}, 2)
	r := newFixture(t, nil, func(o *dnsfilter.Options) {
		o.Exchange = func(_ context.Context, q dns.Question, _ bool) (dnsfilter.Records, error) {
			waiting <- struct{}{}
			<-release
			return dnsfilter.Records{Answer: []dns.RR{mustRR(q.Name + " 60 A 8.8.8.8")}, TTL: time.Minute}, nil
		}
	})
	addr := r.listen(t, "127.0.0.1:0")
	var conns []*dns.Conn
	for _, network := range []string{"udp", "tcp"} {
		c := &dns.Conn{Conn: dial(t, network, billing, addr)}
		_, _ = c.Write(question("api.example.org.", "A"))
		<-waiting
		conns = append(conns, c)
	}
	ended := make(chan struct{})
	go func() {
		r.server.Shutdown(context.Background())
		close(ended)
	}()
	egresstest.Eventually(t, "nobody listens any more", func() bool {
		c, err := net.Dial("tcp", addr.String())
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	close(release)
	for _, c := range conns {
		if m, err := c.ReadMsg(); err != nil || len(m.Answer) != 1 {
			t.Errorf("answer: %v, %v", m, err)
		}
	}
	<-ended
}

func TestShutdownGivesUpWhenItsContextEnds(t *testing.T) {
	waiting := make(chan struct{}, 1)
	r := newFixture(t, nil, func(o *dnsfilter.Options) {
		o.Limits.Budget = time.Hour
		o.Exchange = func(ctx context.Context, _ dns.Question, _ bool) (dnsfilter.Records, error) {
			waiting <- struct{}{}
			<-ctx.Done()
			return dnsfilter.Records{}, ctx.Err()
		}
	})
	c := &dns.Conn{Conn: dial(t, "udp", billing, r.listen(t, "127.0.0.1:0"))}
	_, _ = c.Write(question("api.example.org.", "A"))
	<-waiting
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.server.Shutdown(ctx)
	if m, err := c.ReadMsg(); err != nil || m.Rcode != dns.RcodeServerFailure {
		t.Errorf("answer: %v, %v", m, err)
	}
	if all := r.records(); len(all) != 1 || all[0].Reason != "draining" {
		t.Errorf("records of a lookup that was cut short, which has not failed: %+v", all)
	}
}
