package dnsfilter_test

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/dnsfilter"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
)

// The callers of the fixture's policy, by the function whose source they are.
var (
	billing   = netip.MustParseAddrPort("127.0.1.1:5300") // enforces, see rules
	partner   = netip.MustParseAddrPort("127.0.2.1:5300") // enforces, private.example.org alone
	reporting = netip.MustParseAddrPort("127.0.3.1:5300") // report mode, no rules
	nobody    = netip.MustParseAddrPort("127.0.0.1:5300") // no function's source
	outsider  = netip.MustParseAddrPort("192.0.2.1:5300") // may not ask
)

// testTimeout is how long a test waits for what must happen before it gives up.
const testTimeout = egresstest.Timeout

// fixture is a server over a zone, with everything that it does written down.
type fixture struct {
	t        testing.TB
	server   *dnsfilter.Server
	loop     *dnsfilter.Loop
	registry *prometheus.Registry
	asked    atomic.Int64 // questions that went upstream
	lines    *egresstest.Buffer
	out      *failingWriter
	counted  atomic.Int64 // events given to Count

	mu     sync.Mutex
	policy *policy.Policy
	table  *identity.Table
}

// failingWriter fails while it is told to.
type failingWriter struct {
	fails atomic.Bool
	to    *egresstest.Buffer
}

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.fails.Load() {
		return 0, context.DeadlineExceeded
	}
	return w.to.Write(p)
}

// rule is an allow entry on port 443.
func rule(pattern string, addresses ...string) policy.RuleSpec {
	return ruleOn(443, pattern, addresses...)
}

// ruleOn is an allow entry on that port.
func ruleOn(port uint16, pattern string, addresses ...string) policy.RuleSpec {
	p, err := hostname.ParsePattern(pattern)
	if err != nil {
		panic(err)
	}
	conditions := &policy.Conditions{Ports: hostname.Ports(port)}
	for _, a := range addresses {
		conditions.Addresses = append(conditions.Addresses, netip.MustParsePrefix(a))
	}
	return policy.RuleSpec{Pattern: p, Conditions: conditions, Line: 7}
}

// spec is the fixture's policy. "evil" stands for names that no rule has.
func spec() policy.Spec {
	denied, _ := hostname.ParsePattern("*.denied.example")
	expired := rule("expired.example.org")
	expired.Conditions.Expires = time.Unix(1, 0)
	return policy.Spec{
		Hash: "0123456789ab",
		Deny: []policy.DenySpec{{Pattern: denied, Line: 3}},
		Functions: []policy.FunctionSpec{
			{Name: "billing", Owner: "payments", Rules: []policy.RuleSpec{
				rule("api.example.org"), rule("*.wild.example.org"), rule("*.denied.example"), expired,
				rule("private.example.org"), ruleOn(5432, "private.example.org", "10.1.0.0/16"), rule("*.in-addr.arpa"),
			}},
			{Name: "partner", Rules: []policy.RuleSpec{rule("private.example.org")}},
			{Name: "reporting", ReportUntil: time.Now().Add(time.Hour)},
		},
	}
}

// entries say whose sources the callers are. A token beside a source changes
// nothing: nobody can show one here.
func entries() []identity.Entry {
	return []identity.Entry{
		{Function: "billing", Sources: []netip.Prefix{netip.MustParsePrefix("127.0.1.0/24")}},
		{Function: "partner", Tokens: []identity.Token{{1}}, Sources: []netip.Prefix{netip.MustParsePrefix("127.0.2.0/24")}},
		{Function: "reporting", Sources: []netip.Prefix{netip.MustParsePrefix("127.0.3.0/24")}},
	}
}

// zone is what the fixture's upstream knows, "name type" to records. Every TTL is
// 300 s unless the record says otherwise.
type zone map[string][]string

// zoneOf is the zone of most tests.
func zoneOf() zone {
	return zone{
		"api.example.org. A":        {"api.example.org. 300 A 8.8.8.8", "api.example.org. 300 A 8.8.4.4"},
		"api.example.org. AAAA":     {"api.example.org. 300 AAAA 2606:4700::1111"},
		"api.example.org. HTTPS":    {`api.example.org. 300 HTTPS 1 . alpn="h2" ipv4hint="8.8.8.8"`},
		"private.example.org. A":    {"private.example.org. 300 A 10.1.2.3"},
		"a.wild.example.org. A":     {"a.wild.example.org. 300 CNAME edge.cdn.example.", "edge.cdn.example. 300 A 8.8.8.8"},
		"4.4.8.8.in-addr.arpa. PTR": {"4.4.8.8.in-addr.arpa. 300 PTR dns.example.org."},
	}
}

// exchange answers from the zone: NXDOMAIN with an SOA for what is not there.
func (z zone) exchange(q dns.Question) dnsfilter.Records {
	r := dnsfilter.Records{TTL: 300 * time.Second}
	for _, text := range z[q.Name+" "+dns.Type(q.Qtype).String()] {
		r.Answer = append(r.Answer, mustRR(text))
	}
	if r.Answer == nil {
		r.Rcode = dns.RcodeNameError
		r.Authority = []dns.RR{mustRR("org. 60 SOA ns.org. admin.org. 1 3600 600 86400 60")}
	}
	return r
}

func mustRR(text string) dns.RR {
	rr, err := dns.NewRR(text)
	if err != nil {
		panic(err)
	}
	return rr
}

// newFixture makes a server over z; change may change its options.
func newFixture(t testing.TB, z zone, change func(*dnsfilter.Options)) *fixture {
	t.Helper()
	r := &fixture{t: t, registry: prometheus.NewRegistry(), lines: &egresstest.Buffer{}}
	r.out = &failingWriter{to: r.lines}
	r.setPolicy(spec())
	o := dnsfilter.Options{
		Policy: func() (*policy.Policy, *identity.Table) {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.policy, r.table
		},
		Exchange: func(_ context.Context, q dns.Question, _ bool) (dnsfilter.Records, error) {
			r.asked.Add(1)
			return z.exchange(q), nil
		},
		Audit:      audit.New(r.out, audit.Options{}),
		Count:      func(*audit.Event) { r.counted.Add(1) },
		Clients:    []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Limits:     dnsfilter.Limits{Budget: 2 * testTimeout, ConnIdle: 2 * testTimeout}, // where a test names no time
		Registerer: r.registry,
	}
	if change != nil {
		change(&o)
	}
	var err error
	if r.server, err = dnsfilter.New(o); err != nil {
		t.Fatal(err)
	}
	r.loop = r.server.NewLoop()
	return r
}

// setPolicy puts a policy in force.
func (r *fixture) setPolicy(s policy.Spec) {
	r.t.Helper()
	p, err := policy.Compile(s)
	if err != nil {
		r.t.Fatal(err)
	}
	table, err := identity.New(entries())
	if err != nil {
		r.t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.policy, r.table = p, table
}

// question packs a question as dig sends it: recursion desired, EDNS, 1,232 bytes.
func question(name, qtype string) []byte {
	return packed(func(m *dns.Msg) { m.SetQuestion(name, dns.StringToType[qtype]); m.SetEdns0(1232, false) })
}

// packed packs what build makes of a message.
func packed(build func(*dns.Msg)) []byte {
	m := &dns.Msg{}
	build(m)
	m.Id = 4242
	pkt, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return pkt
}

// ask gives a packet to the server and reads the answer; nil: silence.
func (r *fixture) ask(pkt []byte, client netip.AddrPort) *dns.Msg {
	r.t.Helper()
	return r.read(r.loop.Handle(pkt, client, false))
}

// read reads an answer.
func (r *fixture) read(reply []byte) *dns.Msg {
	r.t.Helper()
	if reply == nil {
		return nil
	}
	m := &dns.Msg{}
	if err := m.Unpack(reply); err != nil {
		r.t.Fatalf("the answer does not parse: %v", err)
	}
	return m
}

// record is what the tests look at of a record.
type record struct {
	Event, Protocol, Function, Owner, Via, Host, Type, Verdict, Reason, Rule string
	Client                                                                   string
	Addresses                                                                []string
}

// records returns what has been recorded. Every line must be JSON.
func (r *fixture) records() []record {
	r.t.Helper()
	return egresstest.Records[record](r.t, r.lines.Bytes())
}

// ede returns the extended error of an answer: 17 host_not_allowed.
func ede(m *dns.Msg) (code uint16, text string) {
	if opt := m.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if e, ok := o.(*dns.EDNS0_EDE); ok {
				return e.InfoCode, e.ExtraText
			}
		}
	}
	return 0, ""
}

// answers returns the data of the answer section, one string for each record.
func answers(m *dns.Msg) (all []string) {
	for _, rr := range m.Answer {
		all = append(all, strings.Join(strings.Fields(strings.Replace(rr.String(), "\tIN\t", "\t", 1)), " "))
	}
	return all
}

// metric returns the sum of the registry's metric of that name.
func (r *fixture) metric(name string, labels ...string) (sum float64) {
	r.t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			text := m.String()
			fits := true
			for _, l := range labels {
				fits = fits && strings.Contains(text, `value:"`+l+`"`)
			}
			if fits {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// series returns how many series the registry has.
func (r *fixture) series() int {
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	n := 0
	for _, f := range families {
		n += len(f.GetMetric())
	}
	return n
}
