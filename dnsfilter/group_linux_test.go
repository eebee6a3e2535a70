package dnsfilter_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/dnsfilter"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
)

// watchedOutput is an output of records that looks, at each write, whether the
// client has been answered by then. Loopback delivers within the call that
// sends, so that an answer that has left is there.
type watchedOutput struct {
	client *net.UDPConn
	err    error         // of every write; nil: they succeed
	tried  chan struct{} // gets a value at each write

	mu     sync.Mutex
	writes []string
	early  bool // an answer came before its record
}

func (w *watchedOutput) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.early = w.early || w.client != nil && answered(w.client)
	w.tried <- struct{}{}
	if w.err != nil {
		return 0, w.err
	}
	w.writes = append(w.writes, string(p))
	return len(p), nil
}

// answered reports whether a packet waits in the client's socket.
func answered(c *net.UDPConn) (there bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	_ = raw.Control(func(fd uintptr) {
		_, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_DONTWAIT|unix.MSG_PEEK)
		there = err == nil
	})
	return there
}

// burst has a server with that output find all of the questions in its socket
// when it begins to read, and returns its answers by the name asked for.
func burst(t *testing.T, out *watchedOutput, names []string) map[string]*dns.Msg {
	t.Helper()
	r := newFixture(t, zoneOf(), func(o *dnsfilter.Options) { o.Audit = audit.New(out, audit.Options{}) })
	r.loop.Handle(question("api.example.org.", "A"), billing, false) // is packed from here on
	socks, err := dnsfilter.Listen(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"), 1)
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, "udp", netip.AddrPortFrom(billing.Addr(), 0), socks.Addr()).(*net.UDPConn)
	out.mu.Lock()
	out.client = c
	out.mu.Unlock()
	for _, name := range names {
		if _, err := c.Write(question(name, "A")); err != nil {
			t.Fatal(err)
		}
	}
	served := make(chan error)
	go func() { served <- r.server.Serve(socks) }()
	<-out.tried // nobody takes an answer before the output has looked
	answers := map[string]*dns.Msg{}
	buf := make([]byte, 2048)
	_ = c.SetReadDeadline(time.Now().Add(testTimeout))
	for range names {
		n, err := c.Read(buf)
		if err != nil {
			t.Fatalf("%d of %d answers: %v", len(answers), len(names), err)
		}
		m := r.read(buf[:n])
		answers[m.Question[0].Name] = m
	}
	r.server.Shutdown(context.Background())
	if err := <-served; err != nil {
		t.Error(err)
	}
	return answers
}

// evils are names that the policy refuses.
func evils(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("data%d.evil.example.", i))
	}
	return names
}

func TestRefusalsThatComeTogetherAreRecordedByOneWriteBeforeAnyAnswer(t *testing.T) {
	names := evils(20)
	var out *watchedOutput
	var answers map[string]*dns.Msg
	// The kernel of a busy machine may not have brought all of them when the server begins.
	for range 10 {
		out = &watchedOutput{tried: make(chan struct{}, 32)}
		answers = burst(t, out, slices.Insert(slices.Clone(names), 7, "api.example.org."))
		if out.early {
			t.Error("an answer left before the records were written")
		}
		if len(out.writes) == 1 {
			break
		}
	}
	if len(out.writes) != 1 {
		t.Fatalf("%d writes", len(out.writes))
	}
	lines := strings.Split(strings.TrimSpace(out.writes[0]), "\n")
	if len(lines) != len(names) {
		t.Fatalf("%d records for %d refusals", len(lines), len(names))
	}
	for i, name := range names {
		if !strings.Contains(lines[i], `"host":"`+strings.TrimSuffix(name, ".")+`"`) {
			t.Errorf("record %d is not of %s: %s", i, name, lines[i])
		}
		if m := answers[name]; m == nil || m.Rcode != dns.RcodeNameError {
			t.Errorf("%s: %v", name, m)
		}
	}
	if m := answers["api.example.org."]; m == nil || len(m.Answer) != 2 {
		t.Errorf("the allowed one among them: %v", m)
	}
}

func TestRefusalsThatCannotBeRecordedTogetherAreServfailAndTheAllowedOneIsAnswered(t *testing.T) {
	out := &watchedOutput{err: errors.New("full"), tried: make(chan struct{}, 32)}
	names := evils(5)
	answers := burst(t, out, append(slices.Clone(names), "api.example.org."))
	for _, name := range names {
		m := answers[name]
		if m == nil || m.Rcode != dns.RcodeServerFailure {
			t.Fatalf("%s: %v", name, m)
		}
		if _, text := ede(m); text != "audit_unavailable" {
			t.Errorf("%s: reason %q", name, text)
		}
	}
	if m := answers["api.example.org."]; m == nil || m.Rcode != dns.RcodeSuccess || len(m.Answer) != 2 {
		t.Errorf("the allowed one, which needs no record: %v", m)
	}
}

func TestPanicWhileDecidingCostsItsPacketOneServfail(t *testing.T) {
	var fails atomic.Bool
	r := newFixture(t, zoneOf(), func(o *dnsfilter.Options) {
		get := o.Policy
		o.Policy = func() (*policy.Policy, *identity.Table) {
			if fails.Load() {
				panic("injected")
			}
			return get()
		}
	})
	r.ask(question("evil.example.", "A"), billing) // leaves an event behind in the loop's memory
	fails.Store(true)
	if m := r.ask(question("api.example.org.", "A"), billing); m.Rcode != dns.RcodeServerFailure || m.Id != 4242 {
		t.Errorf("answer: %v", m)
	}
	if n := len(r.records()); n != 1 || r.metric("egress_dns_panics_total") != 1 {
		t.Errorf("%d records, %v panics counted", n, r.metric("egress_dns_panics_total"))
	}
	fails.Store(false)
	if m := r.ask(question("api.example.org.", "A"), billing); len(m.Answer) != 2 {
		t.Errorf("the next one: %v", m)
	}
}
