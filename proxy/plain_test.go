package proxy_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// serveOK is an origin that answers every whole request with ok.
func serveOK(c net.Conn) { answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")(c) }

// answer makes an origin that sends the bytes for every whole request, and
// their head alone for a HEAD.
func answer(raw string) func(net.Conn) {
	return func(c net.Conn) {
		br := bufio.NewReader(c)
		for {
			r, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				return
			}
			out := raw
			if r.Method == http.MethodHead {
				out = raw[:strings.Index(raw, "\r\n\r\n")+4]
			}
			if _, err := io.WriteString(c, out); err != nil {
				return
			}
		}
	}
}

// plainRig is a rig with one plain HTTP origin that billing may reach.
type plainRig struct {
	*rig
	origin *origin
	host   string // allowed.test with the origin's port
}

func newPlainRig(t testing.TB, serve func(net.Conn)) *plainRig {
	t.Helper()
	return newPlainRigFor(t, newOrigin(t, serve), proxy.Limits{})
}

func newPlainRigFor(t testing.TB, o *origin, limits proxy.Limits) *plainRig {
	t.Helper()
	r := &plainRig{origin: o}
	r.host = fmt.Sprintf("allowed.test:%d", r.origin.port)
	r.rig = newRig(t, rigOptions{limits: limits, functions: []function{{name: "billing", rules: []rule{
		{host: "allowed.test", ports: []uint16{r.origin.port}, any: true, addresses: loopback},
	}}}})
	r.resolves("allowed.test", "127.0.0.1")
	return r
}

// request returns a request of billing to the origin: the method, the path,
// further field lines, and the body.
func (r *plainRig) request(method, path, fields, body string) string {
	return method + " http://" + r.host + path + " HTTP/1.1\r\nHost: " + r.host + "\r\n" + auth("billing") + fields + "\r\n" + body
}

// requests returns how many requests the origin has read the head of.
func (o *origin) requests() int { return strings.Count(o.text(), " HTTP/1.1\r\n") }

func TestPlainRequestIsForwardedAndRecorded(t *testing.T) {
	r := newPlainRig(t, serveOK)
	got := r.ask(r.request("GET", "/a%2fb/../c?d=e&f={}", "Connection: close\r\n", ""))
	if got.StatusCode != 200 || got.body != "ok" {
		t.Fatalf("answered %s %q", got.Status, got.body)
	}
	if via := got.Header.Values("Via"); len(via) != 1 || via[0] != "1.1 egress" {
		t.Errorf("the response has Via %q", via)
	}
	want := "GET /a%2fb/../c?d=e&f={} HTTP/1.1\r\nHost: " + r.host + "\r\nVia: 1.1 egress\r\n\r\n"
	if sent := r.origin.text(); sent != want {
		t.Errorf("the origin got\n%q, want\n%q", sent, want)
	}
	eventually(t, "a closed record", func() bool { return len(r.of("closed")) == 1 })
	opened, closed := r.of("opened"), r.of("closed")[0]
	if len(opened) != 1 || opened[0]["protocol"] != "http" || opened[0]["method"] != "GET" || opened[0]["host"] != "allowed.test" {
		t.Errorf("opened: %v", opened)
	}
	if closed["id"] != opened[0]["id"] || closed["ended"] != "origin" || closed["bytes_down"] != 2.0 ||
		closed["dialed"] != fmt.Sprintf("127.0.0.1:%d", r.origin.port) {
		t.Errorf("closed: %v", closed)
	}
}

func TestTargetIsForwardedAsItWasWritten(t *testing.T) {
	r := newPlainRig(t, serveOK)
	for _, row := range []struct{ method, target, want string }{
		{"GET", "", "GET / "},
		{"GET", "?q", "GET /?q "},
		{"GET", "/?", "GET /? "},
		{"GET", "//evil.test/x", "GET //evil.test/x "},
		{"GET", "/http://evil.test/", "GET /http://evil.test/ "},
		{"GET", "/%2e%2E/%c3%a4?%zz%", "GET /%2e%2E/%c3%a4?%zz% "},
		{"GET", "/;a=b,c:d@e!f$g'h(i)*j+k~l", "GET /;a=b,c:d@e!f$g'h(i)*j+k~l "},
		{"OPTIONS", "", "OPTIONS * "}, // RFC 9112, section 3.2.4
		{"OPTIONS", "/", "OPTIONS / "},
	} {
		before := len(r.origin.text())
		_, br := r.send(r.request(row.method, row.target, "", ""))
		if resp, _ := readOne(t, br); resp.StatusCode != 200 {
			t.Errorf("%q is answered %s", row.target, resp.Status)
			continue
		}
		if sent := r.origin.text()[before:]; !strings.HasPrefix(sent, row.want+"HTTP/1.1\r\n") {
			t.Errorf("%q is sent as %q", row.target, sent)
		}
	}
}

func TestEachRequestOfAConnectionIsJudged(t *testing.T) {
	r := newPlainRig(t, serveOK)
	allowed := r.request("GET", "/first", "", "")
	denied := "GET http://evil.test/ HTTP/1.1\r\nHost: " + r.host + "\r\n" + auth("billing") + "\r\n"
	_, br := r.send(allowed + denied + r.request("GET", "/third", "", ""))
	if resp, body := readOne(t, br); resp.StatusCode != 200 || body != "ok" || resp.Close {
		t.Errorf("the first is answered %s %q", resp.Status, body)
	}
	got := readReply(t, br)
	if got.StatusCode != 403 || got.reason() != "host_not_allowed" || got.rest != "" {
		t.Errorf("the second is answered %s, then %q", got.Status, got.rest)
	}
	if text := r.origin.text(); strings.Contains(text, "third") || r.origin.requests() != 1 {
		t.Errorf("the origin got %q", text)
	}
	var events []string
	for _, m := range r.records.all(t) {
		events = append(events, m["event"].(string))
	}
	if got, want := fmt.Sprint(events), "[opened closed refused]"; got != want {
		t.Errorf("records %s, want %s", got, want)
	}
}

func TestConnectionGoesOnBetweenAllowedRequests(t *testing.T) {
	r := newPlainRig(t, serveOK)
	_, br := r.send(strings.Repeat(r.request("GET", "/", "", ""), 3) + r.request("POST", "/", "Content-Length: 3\r\n", "abc") +
		r.request("POST", "/", "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\nT: x\r\n\r\n") + r.request("HEAD", "/", "", "") + r.request("GET", "/", "Connection: close\r\n", ""))
	for i := range 7 {
		req := &http.Request{Method: "GET"}
		if i == 5 {
			req.Method = "HEAD"
		}
		resp, err := http.ReadResponse(br, req)
		if err != nil {
			t.Fatalf("response %d: %v", i, err)
		}
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != 200 || string(body) != map[bool]string{true: "", false: "ok"}[i == 5] || resp.Close != (i == 6) {
			t.Errorf("response %d: %s %q, close %v", i, resp.Status, body, resp.Close)
		}
	}
	if _, err := br.ReadByte(); err != io.EOF {
		t.Errorf("behind the last response: %v", err)
	}
	// One that is answered before it is quite written is not used again.
	if n := r.origin.accepted.Load(); n >= 7 {
		t.Errorf("%d connections to the origin for 7 requests one after the other", n)
	}
	eventually(t, "a closed record for each", func() bool { return len(r.of("closed")) == 7 })
}

func TestConnectionIsNotKeptWhileTheProxyDrains(t *testing.T) {
	arrived, proceed := make(chan struct{}), make(chan struct{})
	r := newPlainRig(t, func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
			return
		}
		close(arrived)
		<-proceed
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	})
	_, br := r.send(r.request("GET", "/", "", ""))
	<-arrived
	over, cancel := context.WithCancel(t.Context())
	cancel()
	_ = r.server.Drain(over) // begins, and does not wait
	close(proceed)
	if got := readReply(t, br); got.StatusCode != 200 || got.body != "ok" || !got.Close {
		t.Errorf("answered %s %q, close %v", got.Status, got.body, got.Close)
	}
}

// A rule without tls: any wants TLS. By CONNECT it is the ClientHello that is asked
// for; a plain request has none, and its content would be in the clear.
func TestPlainRequestIsRefusedWhereTheRuleWantsTLS(t *testing.T) {
	o := newOrigin(t, serveOK)
	for _, row := range []struct {
		name   string
		rule   rule
		report time.Time
		status int
	}{
		{name: "verify", rule: rule{host: "good.test"}, status: 403},
		{name: "a wildcard", rule: rule{host: "*.test"}, status: 403},
		{name: "any", rule: rule{host: "good.test", any: true}, status: 200},
		{name: "report mode", rule: rule{host: "good.test"}, report: future, status: 200},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.rule.ports, row.rule.addresses = []uint16{o.port}, loopback
			r := newRig(t, rigOptions{functions: []function{{name: "billing", report: row.report, rules: []rule{row.rule}}}})
			r.resolves("good.test", "127.0.0.1")
			before := o.connections(t)
			for _, method := range []string{"GET", "POST"} {
				fields := "Connection: close\r\nContent-Length: 6\r\n"
				got := r.ask(method + " http://" + o.at("good.test") + "/ HTTP/1.1\r\nHost: x\r\n" + auth("billing") + fields + "\r\nsecret")
				if row.status == 403 {
					r.wantRefusal(got, 403, "not_tls", "http_request_denied")
				} else if got.StatusCode != row.status {
					t.Errorf("%s is answered %s", method, got.Status)
				}
			}
			if n := o.connections(t) - before; (n == 0) != (row.status == 403) {
				t.Errorf("%d connections at the origin", n)
			}
			if row.status == 403 && r.lookups.Load() != 0 {
				t.Errorf("%d lookups for what is refused", r.lookups.Load())
			}
			if row.report == future && r.of("opened")[0]["reason"] != "not_tls" {
				t.Errorf("the record says %v", r.of("opened")[0])
			}
		})
	}
}

// Port 80 is plain HTTP's own: the rule that has it means it, whatever it says of TLS.
func TestPlainRequestToPort80NeedsNoRuleForTLS(t *testing.T) {
	r := newRig(t, rigOptions{functions: []function{{name: "billing", rules: []rule{
		{host: "good.test", ports: []uint16{80}, addresses: loopback}}}}})
	r.resolves("good.test", "127.0.0.77") // where nobody listens
	got := r.ask("GET http://good.test/ HTTP/1.1\r\nHost: good.test\r\n" + auth("billing") + "\r\n")
	if got.reason() != "dial_failed" {
		t.Errorf("answered %s with %q", got.Status, got.reason())
	}
}
