package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/dnsfilter"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/distinct"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/explain"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/gate"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// front is a way to ask for a target. A new front of the program has a row in fronts, and
// then agrees with the others on every target, or says in its tables where it does not.
type front struct {
	name  string
	order gate.Front // that it walks; 0: lookupOrder, or what the target asks for
	ask   func(e *everyFront, function int, host string) outcome
}

// fronts are all of them. A CONNECT has two drivers: an event loop serves the first
// listener, and goroutines serve the second, which is none of the kernel's to the program.
var fronts = []front{
	{"connect by loop", gate.Connect, func(e *everyFront, function int, host string) outcome { return e.connect(e.loop, function, host) }},
	{"connect by goroutine", gate.Connect, func(e *everyFront, function int, host string) outcome { return e.connect(e.goroutine, function, host) }},
	{"plain", gate.Plain, (*everyFront).plain},
	{"lookup", 0, (*everyFront).lookup},
	{"explain", 0, (*everyFront).explain},
}

// outcome is what a front has decided, as its record says, or its last line.
type outcome struct {
	host, verdict, reason, rule string
}

// everyFront is a program with one policy and one table of names, asked by every front.
type everyFront struct {
	t               testing.TB
	cfg             *config.Config
	policy          *policy.Policy
	loop, goroutine string // addresses of the listeners
	port            string // of the origin
	filter          string
	answers         sync.Map          // of names: answerOf
	lines           egresstest.Buffer // records since the last decision
}

// answerOf is what a name resolves to; without addresses the lookup fails.
type answerOf struct {
	aliases   []string
	addresses []netip.Addr
}

// newEveryFront starts the servers of a policy, of which ${port} is the origin's; the nth
// function's sources have 127.0.n.1.
func newEveryFront(t testing.TB, text string, limit int) *everyFront {
	t.Helper()
	egresstest.NeedsLoopback(t)
	e := &everyFront{t: t}
	names := distinct.New(distinct.Options{Limit: limit})
	origin := e.listen()
	egresstest.Serve(t, origin, func(c net.Conn) {
		// A plain request is answered, a tunnel's end awaited.
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
		}
	})
	e.port = port(origin)
	file := filepath.Join(t.TempDir(), "egress.yaml")
	e.must(os.WriteFile(file, []byte(strings.ReplaceAll(text, "${port}", e.port)), 0o600))
	var err error
	e.cfg, err = config.Load(file)
	e.must(err)
	var table *identity.Table
	e.policy, table, err = e.cfg.Compile()
	e.must(err)
	current := func() (*policy.Policy, *identity.Table) { return e.policy, table }
	log := audit.New(&e.lines, audit.Options{RefusalRecords: 1 << 30})
	e.serveProxy(proxy.Options{Policy: current, Lookup: e.resolve, Audit: log, Names: names})
	e.serveFilter(dnsfilter.Options{
		Policy: current, Exchange: e.exchange, Audit: log, Names: names, RecordAll: true, Clients: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	})
	return e
}

func (e *everyFront) must(err error) {
	e.t.Helper()
	if err != nil {
		e.t.Fatal(err)
	}
}

// listen listens on loopback.
func (e *everyFront) listen() net.Listener {
	e.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	e.must(err)
	return ln
}

// otherListener is a listener that no event loop can serve.
type otherListener struct{ net.Listener }

// serveProxy serves both listeners of the proxy until the test ends.
func (e *everyFront) serveProxy(o proxy.Options) {
	s := proxy.New(o)
	first, second := e.listen(), e.listen()
	e.loop, e.goroutine = first.Addr().String(), second.Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	ran, served := make(chan struct{}), make(chan error, 2)
	go func() { s.Run(ctx); close(ran) }()
	go func() { served <- s.Serve(first, nil) }()
	go func() { served <- s.Serve(otherListener{second}, nil) }()
	e.t.Cleanup(func() {
		stop()
		<-ran
		s.Close()
		for range 2 {
			if err := <-served; err != nil {
				e.t.Error(err)
			}
		}
	})
}

// serveFilter serves the DNS filter until the test ends.
func (e *everyFront) serveFilter(o dnsfilter.Options) {
	f, err := dnsfilter.New(o)
	e.must(err)
	socks, err := dnsfilter.Listen(e.t.Context(), netip.MustParseAddrPort("127.0.0.1:0"), 1)
	e.must(err)
	e.filter = socks.Addr().String()
	served := make(chan error, 1)
	go func() { served <- f.Serve(socks) }()
	e.t.Cleanup(func() {
		f.Shutdown(context.Background())
		if err := <-served; err != nil {
			e.t.Error(err)
		}
	})
}

// answer returns what a name resolves to.
func (e *everyFront) answer(name string) answerOf {
	a, _ := e.answers.Load(name)
	known, _ := a.(answerOf)
	return known
}

// errNoName is a lookup that fails.
var errNoName = errors.New("no such name")

// resolve is the lookup of the proxy.
func (e *everyFront) resolve(_ context.Context, n hostname.Name) (proxy.Resolved, error) {
	a := e.answer(n.String())
	if len(a.addresses) == 0 {
		return proxy.Resolved{}, errNoName
	}
	return proxy.Resolved{Addresses: a.addresses, Aliases: a.aliases}, nil
}

// exchange is that of the filter.
func (e *everyFront) exchange(_ context.Context, q dns.Question, _ bool) (r dnsfilter.Records, err error) {
	a := e.answer(strings.TrimSuffix(q.Name, "."))
	if len(a.addresses) == 0 {
		return r, errNoName
	}
	at := q.Name
	for _, alias := range a.aliases {
		r.Answer = append(r.Answer, &dns.CNAME{Hdr: dns.RR_Header{Name: at, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: 1}, Target: alias + "."})
		at = alias + "."
	}
	for _, addr := range a.addresses {
		r.Answer = append(r.Answer, &dns.A{Hdr: dns.RR_Header{Name: at, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: addr.AsSlice()})
	}
	return r, nil
}

// source is an address of the nth function.
func source(function int) string { return fmt.Sprintf("127.0.%d.9", function+1) }

// request sends a request head and returns what the record says of it.
func (e *everyFront) request(listener string, function int, head string) outcome {
	e.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source(function))}, Timeout: patience, Control: latePort}
	c, err := d.Dial("tcp", listener)
	e.must(err)
	defer c.Close()
	e.must(c.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(c, head)
	e.must(err)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	e.must(err)
	o := e.recorded()
	if refused := o.verdict == "deny"; refused != (resp.Header.Get("X-Egress-Reason") != "") || refused && resp.Header.Get("X-Egress-Reason") != o.reason {
		e.t.Errorf("%q is answered %s, %q, and recorded as %+v", head, resp.Status, resp.Header.Get("X-Egress-Reason"), o)
	}
	return o
}

func (e *everyFront) connect(listener string, function int, host string) outcome {
	e.t.Helper()
	return e.request(listener, function, "CONNECT "+host+":"+e.port+" HTTP/1.1\r\nHost: x\r\n\r\n")
}

func (e *everyFront) plain(function int, host string) outcome {
	e.t.Helper()
	return e.request(e.loop, function, "GET http://"+host+":"+e.port+"/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
}

func (e *everyFront) lookup(function int, host string) outcome {
	e.t.Helper()
	q := new(dns.Msg)
	q.Id, q.RecursionDesired = dns.Id(), true
	q.Question = []dns.Question{{Name: strings.TrimSuffix(host, ".") + ".", Qtype: dns.TypeA, Qclass: dns.ClassINET}}
	c := dns.Client{Net: "udp", Timeout: patience, Dialer: dialerAt(source(function), "udp")}
	q.SetEdns0(1232, false)
	m, _, err := c.Exchange(q, e.filter)
	if err != nil {
		e.t.Fatalf("%q: %v", host, err)
	}
	o := e.recorded()
	if f := readAnswer(m); (o.verdict == "deny") != (f.why != "") || o.verdict == "deny" && f.why != o.reason {
		e.t.Errorf("the lookup of %q is answered %s, and recorded as %+v", host, f, o)
	}
	return o
}

// explain is what the command of that name says, without the rule of a refusal.
func (e *everyFront) explain(function int, host string) outcome {
	e.t.Helper()
	var out bytes.Buffer
	q := &explain.Query{
		Config: e.cfg, Function: e.cfg.Functions[function].Name, Target: host + ":" + e.port,
		Lookup: func(ctx context.Context, n hostname.Name) ([]netip.Addr, []string, verdict.Reason) {
			found, err := e.resolve(ctx, n)
			if err != nil {
				return nil, nil, verdict.ReasonDNSFailed
			}
			return found.Addresses, found.Aliases, verdict.ReasonNone
		},
	}
	reason, err := q.Run(e.t.Context(), &out)
	e.must(err)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	last := lines[len(lines)-1]
	o := outcome{verdict: "deny", reason: reason.String()}
	if rule, is := strings.CutPrefix(last, "allowed: "); is {
		o.verdict, o.rule = "allow", strings.Split(rule, ",")[0]
	} else if _, why, is := strings.Cut(last, "by the list alone: "); is && strings.HasPrefix(last, "let through: ") {
		o.verdict, o.reason = "report", why
	} else if last != "refused: "+o.reason {
		e.t.Errorf("explain ends in %q with reason %s", last, reason)
	}
	if target, is := strings.CutPrefix(lines[0], "target: "); is {
		o.host = strings.Trim(target[:strings.LastIndex(target[:strings.Index(target, " for ")], ":")], "[]")
	}
	return o
}

// recorded returns the decision that has been recorded since the last call: the record is
// there before the answer is.
func (e *everyFront) recorded() outcome {
	e.t.Helper()
	lines := e.lines.Bytes()
	for _, r := range egresstest.Records[record](e.t, lines[:bytes.LastIndexByte(lines, '\n')+1]) {
		switch r.Event {
		case "opened", "refused", "answered", "challenged":
			e.lines.Reset()
			return outcome{host: r.Host, verdict: r.Verdict, reason: r.Reason, rule: r.Rule}
		}
	}
	e.t.Fatal("there is no record before the answer")
	return outcome{}
}
