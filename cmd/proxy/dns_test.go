package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// namesPolicy lets a function of each kind look a few names up.
const namesPolicy = `deny: ["*.denied.test"]
functions:
  billing:
    owner: payments-team
    identify: {sources: [127.0.1.0/24]}
    allow:
      - {host: before.test, ports: [${echo}], tls: any, addresses: [127.0.0.0/8]}
      - {host: two.test}
      - {host: private.test}
      - {host: fails.test}
      - {host: nowhere.test}
      - {host: "*.many.test"}
  nightly:
    mode: report
    report_until: 2999-12-31
    identify: {sources: [127.0.2.0/24]}
    allow: []
`

// newNamesWorld is a world for namesPolicy.
func newNamesWorld(t testing.TB) *world {
	t.Helper()
	w := newEchoWorld(t)
	w.names.set("two.test", "1.1.1.1", "2606:4700::1111")
	w.names.set("private.test", "10.1.2.3")
	w.names.set("fails.test", failure)
	for _, name := range []string{"a", "b", "c"} {
		w.names.set(name+".many.test", "1.1.1.1")
	}
	return w
}

func TestStartSaysWhereTheFilterListensAndNobodyIsTunneledThere(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	const rule = `functions:
  billing:
    identify: {${token_billing}}
    allow: [{cidr: 127.0.0.0/8, ports: [${at}], tls: any}]
`
	w.vars["at"] = "1"
	p := w.start(withDNS("", rule))
	if detail := p.one("started").Detail; !strings.Contains(detail, ", dns "+p.dns+", ") {
		t.Errorf("the first record says %q, the log that DNS is at %q", detail, p.dns)
	}
	_, w.vars["at"], _ = net.SplitHostPort(p.dns)
	p.reloadWith(withDNS("", rule))
	if r := p.connect("billing", p.dns); r.reason() != "address_not_allowed" {
		t.Errorf("CONNECT to the filter itself gets %s", r.Status)
	}
}

func TestProgramWithoutListenDNSAnswersNoQuestions(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	p := w.start(only("before.test"))
	if strings.Contains(p.one("started").Detail, "dns") || p.dns != "" {
		t.Errorf("the first record says %q, the log has DNS at %q", p.one("started").Detail, p.dns)
	}
	if _, text := p.get("/metrics"); strings.Contains(text, "egress_dns_in_flight") {
		t.Error("there are metrics of a filter")
	}
}

func TestEveryKeyOfDNSDoesWhatItSays(t *testing.T) {
	t.Parallel()
	const billing, unknown = "127.0.1.1", "127.0.9.1"
	w := newNamesWorld(t)
	programs := map[string]*running{} // by their keys
	for _, row := range []struct {
		keys, source, name string
		qtype              uint16
		want               string
	}{
		{"", billing, "two.test", dns.TypeA, "1.1.1.1"},
		{"", billing, "two.test", dns.TypeAAAA, "2606:4700::1111"},
		{"", billing, "nowhere.test", dns.TypeA, "NXDOMAIN"},
		{"", billing, "evil.test", dns.TypeA, "NXDOMAIN 17 host_not_allowed"},
		{"", billing, "a.denied.test", dns.TypeA, "NXDOMAIN 17 host_denied"},
		{"", billing, "private.test", dns.TypeA, "NOERROR 17 address_not_allowed"},
		{"", billing, "fails.test", dns.TypeA, "SERVFAIL 22 dns_failed"},
		{"", billing, "two.test", dns.TypeTXT, "NOERROR 17 type_not_allowed"},
		{"", unknown, "two.test", dns.TypeA, "1.1.1.1"},
		{"refuse_with: refused", billing, "evil.test", dns.TypeA, "REFUSED 17 host_not_allowed"},
		{"refuse_with: nodata", billing, "evil.test", dns.TypeA, "NOERROR 17 host_not_allowed"},
		{"unknown: refuse", unknown, "two.test", dns.TypeA, "NXDOMAIN 17 identity_required"},
		{"unknown: refuse", billing, "two.test", dns.TypeA, "1.1.1.1"},
		{"types: [A]", billing, "two.test", dns.TypeA, "1.1.1.1"},
		{"types: [A]", billing, "two.test", dns.TypeAAAA, "NOERROR 17 type_not_allowed"},
		{"types: [TXT]", billing, "two.test", dns.TypeTXT, ""},
		{"distinct_names_per_minute: 2", billing, "a.many.test", dns.TypeA, "1.1.1.1"},
		{"distinct_names_per_minute: 2", billing, "b.many.test", dns.TypeA, "1.1.1.1"},
		{"distinct_names_per_minute: 2", billing, "c.many.test", dns.TypeA, "SERVFAIL 14 limit_names"},
	} {
		if programs[row.keys] == nil {
			programs[row.keys] = w.start(withDNS(row.keys, namesPolicy))
		}
		programs[row.keys].answers(row.source, row.name, row.qtype, row.want)
	}
}

func TestBalancerTellsTheFilterWhoAsks(t *testing.T) {
	t.Parallel()
	w := newNamesWorld(t)
	p := w.start(strings.Replace(withDNS("record: all", namesPolicy), "listen: {", "listen: {proxy_protocol_from: [127.0.5.0/24], ", 1))
	c, err := dialerAt("127.0.5.1", "tcp").Dial("tcp", p.dns)
	w.must(err)
	defer c.Close()
	w.must(c.SetDeadline(time.Now().Add(patience)))
	_, err = fmt.Fprintf(c, "PROXY TCP4 127.0.1.7 127.0.0.1 4711 53\r\n")
	w.must(err)
	co := &dns.Conn{Conn: c}
	w.must(co.WriteMsg(new(dns.Msg).SetQuestion("two.test.", dns.TypeA)))
	m, err := co.ReadMsg()
	w.must(err)
	if got := readAnswer(m).String(); got != "1.1.1.1" {
		t.Errorf("the answer is %q", got)
	}
	if r := p.one("answered"); r.Client != "127.0.1.7:4711" || r.Function != "billing" || r.Owner != "payments-team" || r.Via != "source" {
		t.Errorf("the record of it: %+v", r)
	}
}

func TestWhoIsNotOfClientsGetsNoAnswer(t *testing.T) {
	t.Parallel()
	w := newNamesWorld(t)
	p := w.start(strings.Replace(withDNS("", namesPolicy), "clients: [127.0.0.0/8]", "clients: [127.0.1.0/24]", 1))
	c, err := dialerAt("127.0.9.1", "udp").Dial("udp", p.dns)
	w.must(err)
	defer c.Close()
	co := &dns.Conn{Conn: c}
	w.must(co.WriteMsg(new(dns.Msg).SetQuestion("a.many.test.", dns.TypeA)))
	w.eventually("the question is dropped", func() bool { return p.metric(`egress_dns_dropped_total{cause="client"}`) == "1" })
	p.answers("127.0.1.1", "two.test", dns.TypeA, "1.1.1.1")
	if !w.names.onlyAsked("two.test") {
		t.Errorf("%d packets went upstream, %d of them for who may ask", w.names.total(), w.names.queries("two.test"))
	}
}

func TestReloadChangesWhatIsAnswered(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	allow := func(host string) string {
		return withDNS("", `functions:
  billing:
    identify: {sources: [127.0.1.0/24]}
    allow: [{host: `+host+`, addresses: [127.0.0.0/8]}]
`)
	}
	p := w.start(allow("before.test"))
	const yes, no = "127.0.0.1", "NXDOMAIN 17 host_not_allowed"
	for _, source := range []string{"127.0.1.1", "127.0.9.1"} { // the function, and nobody in particular
		p.answers(source, "before.test", dns.TypeA, yes)
		p.answers(source, "after.test", dns.TypeA, no)
	}
	p.reloadWith(allow("after.test"))
	for _, source := range []string{"127.0.1.1", "127.0.9.1"} {
		p.answers(source, "before.test", dns.TypeA, no) // although its answer was cached
		p.answers(source, "after.test", dns.TypeA, yes)
	}
	if p.logged("changes that take effect at the next start") {
		t.Error("the log says that a rule takes effect at the next start")
	}
	p.reloadWith(strings.Replace(allow("after.test"), "clients: [127.0.0.0/8]", "clients: [10.0.0.0/8]", 1))
	p.answers("127.0.1.1", "after.test", dns.TypeA, yes)
	w.eventually("the log says that dns.clients takes effect at the next start", func() bool {
		return p.logged("changes that take effect at the next start")
	})
}

func TestFilterAnswersUntilTheDrainEnds(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	p := w.start(withDNS("", `functions:
  billing:
    identify: {${token_billing}, sources: [127.0.0.0/8]}
    allow: [{host: before.test, ports: [${echo}], tls: any, addresses: [127.0.0.0/8]}]
`))
	tunnel := p.open(1)[0]
	p.signal(syscall.SIGTERM)
	w.eventually("the program drains", func() bool { code, _ := p.get("/readyz"); return code == http.StatusServiceUnavailable })
	p.answers("127.0.0.1", "before.test", dns.TypeA, "127.0.0.1")
	p.answers("127.0.0.1", "evil.test", dns.TypeA, "NXDOMAIN 17 host_not_allowed")
	_ = tunnel.conn.Close()
	if code := p.wait(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if all := p.records(); all[len(all)-1].Event != "stopped" {
		t.Errorf("the last record is %s", all[len(all)-1].Event)
	}
}

func TestRefusedNamesOfEitherListenerSendNoPacketUpstream(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	p := w.start(withDNS("", strings.TrimPrefix(only("before.test"), head)) + "limits: {refusal_records: 1000000}\n")
	questions, connects := 100_000, 300
	if testing.Short() || raceDetector {
		questions = 10_000
	}
	p.askRefused(questions)
	for range connects {
		if r := p.connect("billing", smuggled()+":443"); r.reason() != "host_not_allowed" {
			t.Errorf("CONNECT gets %s", r.Status)
		}
	}
	if n := w.names.total(); n != 0 {
		t.Errorf("%d packets went upstream for refused names", n)
	}
	for protocol, want := range map[string]int{`function="",protocol="dns"`: questions, `function="billing",protocol="connect"`: connects} {
		if got := p.metric(`egress_decisions_total{` + protocol + `,reason="host_not_allowed",verdict="deny"}`); got != strconv.Itoa(want) {
			t.Errorf("%s: %s refusals are counted, want %d", protocol, got, want)
		}
	}
	if n := strings.Count(string(p.stream()), `"event":"answered"`); n != questions {
		t.Errorf("%d refusals are recorded, want %d", n, questions)
	}
	// The server would have counted them.
	p.answers("127.0.0.1", "before.test", dns.TypeA, "127.0.0.1")
	if !w.names.onlyAsked("before.test") {
		t.Errorf("%d packets went upstream, %d of them for an allowed name", w.names.total(), w.names.queries("before.test"))
	}
}

// smuggled returns a name that no rule has and that carries data.
func smuggled() string {
	tail := []string{"evil.test", "before.test", "test", "before.test.evil.test"}[rand.N(4)]
	return fmt.Sprintf("%016x%016x.%x.%s", rand.Uint64(), rand.Uint64(), rand.Uint32(), tail)
}

// askRefused asks for n random names over UDP, and checks that each is refused.
func (p *running) askRefused(n int) {
	p.t.Helper()
	const sockets = 8
	var left atomic.Int64
	left.Store(int64(n))
	var asking sync.WaitGroup
	for range sockets {
		asking.Go(func() {
			c, err := net.Dial("udp", p.dns)
			if err != nil {
				p.t.Error(err)
				return
			}
			defer c.Close()
			co := &dns.Conn{Conn: c, UDPSize: 1232}
			for left.Add(-1) >= 0 {
				q := new(dns.Msg).SetQuestion(smuggled()+".", []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeHTTPS, dns.TypeTXT, dns.TypeNULL}[rand.N(5)])
				q.SetEdns0(1232, false)
				_ = c.SetDeadline(time.Now().Add(patience))
				if err := co.WriteMsg(q); err != nil {
					p.t.Error(err)
					return
				}
				m, err := co.ReadMsg()
				if err != nil || m.Id != q.Id || readAnswer(m).String() != "NXDOMAIN 17 host_not_allowed" {
					p.t.Errorf("%s is answered %v, %v", q.Question[0].Name, m, err)
					return
				}
			}
		})
	}
	asking.Wait()
}

func TestMetricsAndRecordsOfLookupsAgree(t *testing.T) {
	t.Parallel()
	for _, keys := range []string{"record: all", "record: refused"} {
		w := newNamesWorld(t)
		p := w.start(withDNS(keys, namesPolicy))
		p.mixedLookups(10)
		if r, err := p.askFrom("127.0.1.1", "CONNECT evil.test:443 HTTP/1.1\r\n\r\n"); err != nil || r.reason() != "host_not_allowed" {
			t.Errorf("CONNECT gets %v, %v", r, err)
		}
		counted, answered := p.counted(), p.answered()
		recorded := p.recorded()
		if keys == "record: refused" {
			maps.DeleteFunc(counted, func(a account, _ int) bool { return a.verdict == "allow" })
			maps.DeleteFunc(answered, func(a account, _ int) bool { return a.verdict == "allow" })
		}
		if len(answered) < 6 || !maps.Equal(counted, recorded) {
			t.Errorf("%s: metrics and records differ:\n%s", keys, difference(counted, recorded))
		}
		maps.DeleteFunc(recorded, func(a account, _ int) bool { return a.protocol != "dns" })
		if !maps.Equal(answered, recorded) {
			t.Errorf("%s: the filter's metrics and the records differ:\n%s", keys, difference(answered, recorded))
		}
	}
}

// mixedLookups asks every kind of question n times, from several clients at once.
func (p *running) mixedLookups(n int) {
	p.t.Helper()
	names := []string{"before.test", "two.test", "private.test", "fails.test", "nowhere.test", "a.many.test", "evil.test", "x.denied.test"}
	var asking sync.WaitGroup
	for _, source := range []string{"127.0.1.1", "127.0.2.1", "127.0.9.1"} {
		for _, network := range []string{"udp", "tcp"} {
			asking.Go(func() {
				for i := range n * len(names) {
					qtype := []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeTXT}[i%3]
					if _, err := p.tryLookup(source, network, names[i%len(names)], qtype); err != nil {
						p.t.Error(err)
					}
				}
			})
		}
	}
	asking.Wait()
}

// answerLines matches a line of egress_dns_answers_total.
var answerLines = regexp.MustCompile(`(?m)^egress_dns_answers_total\{function="(.*)",reason="(.*)",type=".*",verdict="(.*)"\} (\d+)$`)

// answered returns what the filter's own metric says was decided.
func (p *running) answered() map[account]int {
	p.t.Helper()
	_, text := p.get("/metrics")
	all := map[account]int{}
	for _, m := range answerLines.FindAllStringSubmatch(text, -1) {
		n, err := strconv.Atoi(m[4])
		p.world.must(err)
		all[account{m[1], m[3], m[2], "dns"}] += n
	}
	return all
}
