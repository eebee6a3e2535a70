package main

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

const accountsPolicy = head + `deny: ["*.denied.test"]
functions:
  billing:
    identify: {${token_billing}}
    allow:
      - {host: open.test, ports: [${echo}], tls: any, addresses: [127.0.0.0/8]}
      - {host: strict.test, ports: [${echo}], addresses: [127.0.0.0/8]}
      - {host: plain.test, ports: [${http}], tls: any, addresses: [127.0.0.0/8]}
      - {host: private.test, ports: [443]}
      - {host: nowhere.test, ports: [443]}
      - {host: closed.test, ports: [${closed}], tls: any, addresses: [127.0.0.0/8]}
      - {host: old.test, expires: 2020-01-31}
  nightly:
    mode: report
    report_until: 2999-12-31
    identify: {${token_nightly}}
    allow:
      - {host: open.test, ports: [1], addresses: [127.0.0.0/8]}
`

// account is what decisions are counted by, in records and in metrics.
type account struct{ function, verdict, reason, protocol string }

// question is one kind of request and the decisions that come of it.
type question struct {
	request string
	says    string // what is sent behind a 200; "" is nothing
	status  int
	counts  []account
}

// questions are the kinds of request of a mixed run, one of each way to end.
func (w *world) questions() []question {
	connect := func(function, target string) string {
		return "CONNECT " + target + " HTTP/1.1\r\n" + authorization(function) + "\r\n"
	}
	get := func(method, function, url string) string {
		return method + " " + url + " HTTP/1.1\r\nHost: plain.test\r\nConnection: close\r\n" + authorization(function) + "\r\n"
	}
	deny := func(function, reason, protocol string) []account {
		return []account{{function, "deny", reason, protocol}}
	}
	return []question{
		{connect("billing", "open.test:"+w.vars["echo"]), "", 200, []account{{"billing", "allow", "", "connect"}}},
		{connect("nightly", "open.test:"+w.vars["echo"]), "", 200, []account{{"nightly", "report", "port_not_allowed", "connect"}}},
		{connect("billing", "strict.test:"+w.vars["echo"]), "SSH-2.0-x\r\n", 200, []account{
			{"billing", "allow", "", "connect"}, {"billing", "deny", "not_tls", "connect"},
		}},
		{connect("billing", "evil.test:443"), "", 403, deny("billing", "host_not_allowed", "connect")},
		{connect("billing", "www.denied.test:443"), "", 403, deny("billing", "host_denied", "connect")},
		{connect("nightly", "www.denied.test:443"), "", 403, deny("nightly", "host_denied", "connect")},
		{connect("billing", "open.test:1"), "", 403, deny("billing", "port_not_allowed", "connect")},
		{connect("billing", "old.test:443"), "", 403, deny("billing", "rule_expired", "connect")},
		{connect("billing", "private.test:443"), "", 403, deny("billing", "address_not_allowed", "connect")},
		{connect("billing", "nowhere.test:443"), "", 502, deny("billing", "dns_failed", "connect")},
		{connect("billing", "closed.test:"+w.vars["closed"]), "", 502, deny("billing", "dial_failed", "connect")},
		{connect("", "open.test:"+w.vars["echo"]), "", 407, deny("", "identity_required", "connect")},
		{connect("billing", "open.test"), "", 400, deny("", "bad_target", "connect")},
		{"CONNECT  open.test:443 HTTP/1.1\r\n\r\n", "", 400, deny("", "bad_request", "http")},
		{get("GET", "billing", "http://plain.test:"+w.vars["http"]+"/"), "", 200, []account{{"billing", "allow", "", "http"}}},
		{get("GET", "billing", "http://evil.test/"), "", 403, deny("billing", "host_not_allowed", "http")},
		{get("GET", "", "http://plain.test:"+w.vars["http"]+"/"), "", 407, deny("", "identity_required", "http")},
		{get("GET", "billing", "https://evil.test/path"), "", 501, deny("", "https_not_tunneled", "http")},
		{get("GET", "billing", "ftp://evil.test/path"), "", 501, deny("", "scheme_not_supported", "http")},
		{get("TRACE", "billing", "http://evil.test/"), "", 405, deny("", "method_not_allowed", "http")},
	}
}

func TestMetricsAndRecordsAgreeAfterAMixedRun(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	t.Cleanup(web.Close)
	w.vars["http"], w.vars["closed"] = port(web.Listener), "1" // nothing listens at the first port
	for _, name := range []string{"open.test", "strict.test", "plain.test", "closed.test"} {
		w.names.set(name, "127.0.0.1")
	}
	w.names.set("private.test", "10.1.2.3")
	p := w.start(strings.Replace(accountsPolicy, "deny:", "limits: {dial_timeout: 30s, hello_timeout: 30s}\ndeny:", 1))

	requests := 10_000
	if testing.Short() || raceDetector {
		requests = 2_000
	}
	want := p.ask32(w.questions(), requests)
	// Credentials that do not hold: beyond a budget they are counted one by one
	// and recorded as one.
	const wrong = 120
	flood := p.flood(wrong)
	w.eventually("every tunnel has ended", func() bool {
		return p.metric(`egress_tunnels{function="billing"}`) == "0" && p.metric(`egress_tunnels{function="nightly"}`) == "0"
	})
	counted := p.counted()
	p.signal(syscall.SIGTERM)
	if code := p.wait(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	recorded := p.recorded()

	if !maps.Equal(counted, recorded) {
		t.Errorf("metrics and records differ:\n%s", difference(counted, recorded))
	}
	maps.Copy(want, flood)
	if !maps.Equal(recorded, want) {
		t.Errorf("records and requests differ:\n%s", difference(recorded, want))
	}
	if got := flood[account{"", "deny", "limit_failures", "connect"}] + flood[account{"", "deny", "identity_rejected", "connect"}]; got != wrong {
		t.Errorf("%d of %d wrong credentials were answered", got, wrong)
	}
}

// ask32 sends n requests, 32 at a time, each kind as often as the others, and
// returns the decisions that must come of them.
func (p *running) ask32(kinds []question, n int) map[account]int {
	p.t.Helper()
	want := map[account]int{}
	next := make(chan question, 32)
	var asking sync.WaitGroup
	for range cap(next) {
		asking.Go(func() {
			for q := range next {
				p.expect(q)
			}
		})
	}
	for i := range n {
		q := kinds[i%len(kinds)]
		for _, a := range q.counts {
			want[a]++
		}
		next <- q
	}
	close(next)
	asking.Wait()
	return want
}

// expect sends one request and compares the status.
func (p *running) expect(q question) {
	r, err := p.ask(q.request)
	if err != nil {
		p.t.Errorf("%.60q: %v", q.request, err)
		return
	}
	if r.StatusCode != q.status {
		p.t.Errorf("%.60q: %s, want %d", q.request, r.Status, q.status)
	}
	if r.conn == nil {
		return
	}
	defer r.conn.Close()
	if q.says != "" {
		_, _ = io.WriteString(r.conn, q.says)
		_, _ = io.Copy(io.Discard, r.conn)
	}
}

// flood shows n credentials that do not hold, at once, and counts the answers.
func (p *running) flood(n int) map[account]int {
	p.t.Helper()
	reasons := make(chan string, n)
	for range n {
		go func() {
			r, err := p.ask("CONNECT open.test:443 HTTP/1.1\r\n" + authorization("nobody") + "\r\n")
			if err != nil {
				p.t.Error(err)
				reasons <- ""
				return
			}
			reasons <- r.reason()
		}()
	}
	got := map[account]int{}
	for range n {
		got[account{"", "deny", <-reasons, "connect"}]++
	}
	return got
}

// decisions matches a line of egress_decisions_total.
var decisions = regexp.MustCompile(`(?m)^egress_decisions_total\{function="(.*)",protocol="(.*)",reason="(.*)",verdict="(.*)"\} (\d+)$`)

// counted returns what the metrics say was decided. A series may be there at 0
// before the first decision of its kind.
func (p *running) counted() map[account]int {
	p.t.Helper()
	_, text := p.get("/metrics")
	all := map[account]int{}
	for _, m := range decisions.FindAllStringSubmatch(text, -1) {
		n, err := strconv.Atoi(m[5])
		p.world.must(err)
		if n > 0 {
			all[account{m[1], m[4], m[3], m[2]}] = n
		}
	}
	return all
}

// recorded returns what the records say was decided.
func (p *running) recorded() map[account]int {
	p.t.Helper()
	all := map[account]int{}
	for _, r := range p.records() {
		switch r.Event {
		case "opened", "refused", "challenged", "answered":
			all[account{r.Function, r.Verdict, r.Reason, r.Protocol}] += 1 + r.Suppressed
		}
	}
	return all
}

// difference prints the accounts that differ.
func difference(got, want map[account]int) string {
	var lines []string
	both := maps.Clone(got)
	maps.Copy(both, want)
	for a := range both {
		if got[a] != want[a] {
			lines = append(lines, fmt.Sprintf("%+v: %d and %d", a, got[a], want[a]))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
