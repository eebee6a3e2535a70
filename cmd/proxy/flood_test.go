package main

import (
	"maps"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
)

// verified reads files of records back, independently of what wrote them.
func (w *world) verified(files ...string) evidence.Result {
	w.t.Helper()
	v := evidence.NewVerifier()
	v.Expect(files)
	w.must(evidence.Read(files, nil, func(l evidence.Line) error { v.Add(l); return nil }))
	return v.Result()
}

// wholeAndStopped fails unless the records of one boot are whole to their end.
func (p *running) wholeAndStopped() {
	p.t.Helper()
	r := p.world.verified(p.recordFiles...)
	if !r.Whole || len(r.Processes) != 1 || r.Processes[0].Tail != nil || r.Unreadable != 0 {
		p.t.Errorf("the records are not whole: %+v", r)
	}
}

// seen is what clients were told: the reason by the id of the answer, and how
// many answers.
type seen struct {
	mu      sync.Mutex
	reasons map[string]string
	answers map[account]int
}

func newSeen() *seen { return &seen{reasons: map[string]string{}, answers: map[account]int{}} }

// add takes an answer over. What has no reason is not a refusal.
func (s *seen) add(r reply, function, protocol string) {
	if r.Response == nil || r.reason() == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reasons[r.Header.Get("X-Egress-Request-Id")] = r.reason()
	s.answers[account{function, "deny", r.reason(), protocol}]++
}

// count returns how many records clients were told of.
func (s *seen) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.reasons)
}

// missing returns the ids that no record has, or one with another reason.
func (s *seen) missing(all []record) (ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := maps.Clone(s.reasons)
	for _, r := range all {
		if left[r.ID] == r.Reason {
			delete(left, r.ID)
		}
	}
	for id, reason := range left {
		ids = append(ids, id+" "+reason)
	}
	return ids
}

// floodPolicy gives every refusal beyond a small budget to a shared record.
const floodPolicy = `version: 1
listen: {proxy: "127.0.0.1:0", admin: "127.0.0.1:0", dns: "127.0.0.1:0"}
dns: {upstreams: ["${dns}"], families: ip4, clients: [127.0.0.0/8], unknown: refuse}
limits: {refusal_records: 300}
functions:
  billing:
    identify: {${token_billing}}
    allow: [{host: open.test, ports: [${echo}], tls: any, addresses: [127.0.0.0/8]}]
  lookups:
    identify: {sources: [127.0.0.2/32]}
    allow: ["*.broken.test"]
`

// floodBy has n clients at once ask for the same thing, each times after the
// other, and notes what they see.
func (p *running) floodBy(s *seen, n, times int, request, function, protocol string) {
	var asking sync.WaitGroup
	for range n {
		asking.Go(func() {
			for range times {
				r, err := p.ask(request)
				if err != nil {
					p.t.Errorf("%.40q: %v", request, err)
				}
				s.add(r, function, protocol)
			}
		})
	}
	asking.Wait()
}

// askNames sends n refused questions as a source over one socket, and counts
// the answers.
func (p *running) askNames(s *seen, source string, n int, want account) {
	c := dns.Client{Net: "udp", Timeout: patience, Dialer: dialerAt(source, "udp")}
	conn, err := c.Dial(p.dns)
	if err != nil {
		p.t.Error(err)
		return
	}
	defer conn.Close()
	const burst = 200 // no more than wait for a record at once, and than the socket buffers hold
	for range n / burst {
		for range burst {
			if err := conn.WriteMsg(new(dns.Msg).SetQuestion("evil.test.", dns.TypeA)); err != nil {
				p.t.Error(err)
			}
		}
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		for range burst {
			m, err := conn.ReadMsg()
			if err != nil || m.Rcode != dns.RcodeNameError {
				p.t.Errorf("%v, %v", m, err)
				return
			}
		}
	}
	s.mu.Lock()
	s.answers[want] += n / burst * burst
	s.mu.Unlock()
}

func TestFloodOfRefusalsSharesRecordsAndEverySumAgrees(t *testing.T) {
	egresstest.NeedsLoopback(t)
	t.Parallel()
	w := newEchoWorld(t)
	w.names.set("open.test", "127.0.0.1")
	p := w.start(floodPolicy)
	// All of them together are fewer than one source may have that say nothing
	// yet: beyond that who is slow to speak is put out.
	clients, names := 400, 2_000
	if testing.Short() || raceDetector {
		clients, names = 100, 1_000
	}
	connect := func(function string) string {
		return "CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n" + authorization(function) + "\r\n"
	}
	// Credentials that do not hold have a budget of their own beside the other.
	wrong := p.flood(120)
	s := newSeen()
	var floods sync.WaitGroup
	floods.Go(func() { p.floodBy(s, clients, 4, connect("billing"), "billing", "connect") })
	floods.Go(func() {
		p.floodBy(s, clients, 2, "GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n"+authorization("billing")+"\r\n", "billing", "http")
	})
	floods.Go(func() { p.floodBy(s, 100, 5, connect(""), "", "connect") })
	floods.Go(func() { p.floodBy(s, 100, 2, "CONNECT  x HTTP/1.1\r\n\r\n", "", "http") })
	floods.Go(func() { p.askNames(s, "127.0.0.2", names, account{"lookups", "deny", "host_not_allowed", "dns"}) })
	floods.Go(func() { p.askNames(s, "127.0.0.3", names, account{"", "deny", "identity_required", "dns"}) })
	floods.Wait()

	counted := p.counted()
	p.signal(syscall.SIGTERM)
	if code := p.wait(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	recorded := p.recorded()
	if !maps.Equal(counted, recorded) {
		t.Errorf("metrics and records differ:\n%s", difference(counted, recorded))
	}
	want := maps.Clone(s.answers)
	for a, n := range wrong {
		want[a] += n
	}
	if !maps.Equal(recorded, want) {
		t.Errorf("records and answers differ:\n%s", difference(recorded, want))
	}
	if ids := s.missing(p.records()); len(ids) > 0 {
		t.Errorf("%d refusals that a client saw are no record: %.200q", len(ids), ids)
	}
	p.wholeAndStopped()
	p.toldOfFloods(sumOf(want))
}

// sumOf adds all accounts up.
func sumOf(all map[account]int) (n int) {
	for _, of := range all {
		n += of
	}
	return n
}

// toldOfFloods checks that the floods stand in the records with who, that each
// ended, and that the records are far fewer than the refusals they stand for.
func (p *running) toldOfFloods(requests int) {
	p.t.Helper()
	who := map[string]int{}
	for _, r := range p.of("flood") {
		name := r.Function
		if name == "" {
			name, _, _ = strings.Cut(r.Client, ":")
		}
		who[name]++
	}
	// Once when it begins and once when it ends.
	want := map[string]int{"billing": 2, "lookups": 2, "127.0.0.1": 2, "127.0.0.3": 2}
	if !maps.Equal(who, want) {
		p.t.Errorf("floods of %v are told, want %v", who, want)
	}
	if n := len(p.records()); n > requests/2 {
		p.t.Errorf("%d records for %d requests", n, requests)
	}
}

func TestFloodOfRefusalsStopsNeitherPermitsNorOthers(t *testing.T) {
	egresstest.NeedsLoopback(t)
	t.Parallel()
	w := newEchoWorld(t)
	w.names.set("open.test", "127.0.0.1")
	p := w.start(strings.Replace(floodPolicy, "refusal_records: 300", "refusal_records: 1", 1))
	s := newSeen()
	ended := make(chan struct{})
	var flood sync.WaitGroup
	for range 50 {
		flood.Go(func() {
			for {
				select {
				case <-ended:
					return
				default:
				}
				r, err := p.tryConnect("billing", "evil.test:443")
				if err != nil {
					t.Error(err)
				}
				s.add(r, "billing", "connect")
			}
		})
	}
	w.eventually("the flood is told", func() bool { return len(p.of("flood")) > 0 })
	// Others, and what the function that floods may do, come in between.
	if r := p.lookup("127.0.0.2", "udp", "evil.test", dns.TypeA); r.rcode != dns.RcodeNameError {
		t.Errorf("another function's lookup: %v", r)
	}
	r := p.connect("billing", "open.test:"+w.vars["echo"])
	r.carries(t)
	_ = r.conn.Close()
	close(ended)
	flood.Wait()
	if ids := s.missing(p.records()); len(ids) > 0 {
		t.Errorf("%d refusals that a client saw are no record", len(ids))
	}
}

// A question that has to wait for upstream and is refused in the end is a refusal like
// another: beyond the budget it shares a record, and is answered after that.
func TestLookupsThatFailBeyondTheBudgetShareARecord(t *testing.T) {
	egresstest.NeedsLoopback(t)
	t.Parallel()
	w := newEchoWorld(t)
	p := w.start(strings.Replace(floodPolicy, "refusal_records: 300", "refusal_records: 1", 1))
	const n = 10
	var asking sync.WaitGroup
	for i := range n {
		name := string(rune('a'+i)) + ".broken.test"
		w.names.set(name, failure)
		asking.Go(func() {
			if f, err := p.tryLookup("127.0.0.2", "udp", name, dns.TypeA); err != nil || f.rcode != dns.RcodeServerFailure {
				t.Errorf("%s: %v, %v", name, f, err)
			}
		})
	}
	asking.Wait()
	sum := 0
	for _, r := range p.of("answered") {
		if sum += 1 + int(r.Suppressed); r.Reason != "dns_failed" {
			t.Errorf("%s is refused as %s", r.Host, r.Reason)
		}
	}
	if got := len(p.of("answered")); got >= n || sum != n {
		t.Errorf("%d records for %d of %d lookups", got, sum, n)
	}
}
