package proxy_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// withAuth returns a CONNECT with these field lines for the credential.
func withAuth(target string, lines ...string) string {
	return "CONNECT " + target + " HTTP/1.1\r\nHost: x\r\n" + strings.Join(lines, "") + "\r\n"
}

// credential returns a Proxy-Authorization line for text before base64.
func credential(plain string) string {
	return "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(plain)) + "\r\n"
}

const secret = "s3cret-that-nobody-may-see"

func TestACredentialThatDoesNotHoldIsRefusedTheSameWayWhateverIsWrong(t *testing.T) {
	o := newOrigin(t, echo)
	here := netip.MustParsePrefix("127.0.0.0/8")
	r := openRig(t, o, rigOptions{functions: []function{
		{name: "elsewhere", sources: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}},
		{name: "bysource", noToken: true, sources: []netip.Prefix{here}},
	}})
	encoded := base64.StdEncoding.EncodeToString([]byte("billing:billing"))
	var first string
	for _, row := range []struct{ name, lines string }{
		{"an unknown function", credential("nobody:" + secret)},
		{"a wrong secret", credential("billing:" + secret)},
		{"the token of another function", credential("billing:elsewhere")},
		{"the right token from outside its sources", auth("elsewhere")},
		{"a function that has no token", credential("bysource:" + secret)},
		{"a secret of 1,000 bytes", credential("billing:" + strings.Repeat("s", 1000))},
		{"a tab", "Proxy-Authorization: Basic\t" + encoded + "\r\n"},
		{"Bearer", "Proxy-Authorization: Bearer " + secret + "\r\n"},
		{"nothing behind the scheme", "Proxy-Authorization: Basic\r\n"},
		{"an empty value", "Proxy-Authorization:\r\n"},
		{"two fields, both right", auth("billing") + auth("billing")},
		{"two fields, the second wrong", auth("billing") + auth("nobody")},
		{"bad base64", "Proxy-Authorization: Basic !!!!\r\n"},
		{"base64 without its padding", "Proxy-Authorization: Basic " + strings.TrimRight(base64.StdEncoding.EncodeToString([]byte("billing:"+secret)), "=") + "x\r\n"},
		{"url-safe base64", "Proxy-Authorization: Basic " + base64.URLEncoding.EncodeToString([]byte("billing:\xff\xfe\xfd")) + "\r\n"},
		{"no colon", credential("billing")},
		{"no function", credential(":" + secret)},
		{"no secret", credential("billing:")},
		{"a NUL", credential("billing:bill\x00ing")},
		{"UTF-8", credential("billing:s\u00e9cret")},
		{"a space within", "Proxy-Authorization: Basic " + encoded[:4] + " " + encoded[4:] + "\r\n"},
		{"a byte behind a space", "Proxy-Authorization: Basic " + encoded + " x\r\n"},
		{"a no-break space around", "Proxy-Authorization: \xa0Basic " + encoded + "\xa0\r\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := r.ask(withAuth(o.at("any.test"), row.lines))
			r.wantRefusal(got, 407, "identity_rejected", "http_request_denied")
			id := got.Header.Get("X-Egress-Request-Id")
			whole := strings.ReplaceAll(got.Status+fmt.Sprint(got.Header)+got.body, id, "ID")
			if first == "" {
				first = whole
			}
			if whole != first {
				t.Errorf("the reply tells what is wrong:\n%s\n%s", whole, first)
			}
		})
	}
	for _, m := range r.of("refused") {
		if m["function"] != nil || m["via"] != nil {
			t.Errorf("a claimed function is recorded as if it called: %v", m)
		}
	}
	if o.accepted.Load() != 0 || r.lookups.Load() != 0 {
		t.Errorf("%d dialed, %d looked up", o.accepted.Load(), r.lookups.Load())
	}
}

func TestNoSecretIsInAnyOutput(t *testing.T) {
	o := newOrigin(t, echo)
	r := openRig(t, o, rigOptions{})
	encoded := base64.StdEncoding.EncodeToString([]byte("billing:" + secret))
	line := "Proxy-Authorization: Basic " + encoded + "\r\n"
	var out strings.Builder
	for _, raw := range []string{
		withAuth(o.at("any.test"), line), withAuth("bad target", line), withAuth("", line), withAuth(o.at("any.test"), line, line),
		withAuth("billing:"+secret+"@any.test:443", line), withAuth(o.at("any.test"), line, "Bad Name: "+encoded+"\r\n"),
		withAuth(o.at("any.test"), line, "Content-Length: 5, 5\r\n"), "GET http://billing:" + secret + "@any.test/ HTTP/1.1\r\nHost: any.test\r\n" + line + "\r\n",
		"GET https://any.test/?token=" + secret + " HTTP/1.1\r\nHost: any.test\r\n" + line + "\r\n",
		"GET ftp://billing:" + secret + "@any.test/ HTTP/1.1\r\nHost: any.test\r\n" + line + "\r\n",
		"TRACE http://any.test/" + secret + " HTTP/1.1\r\nHost: any.test\r\n" + line + "\r\n",
	} {
		_, br := r.send(raw)
		_, _ = io.Copy(&out, br)
	}
	r.records.mu.Lock()
	out.Write(r.records.buf.Bytes())
	r.records.mu.Unlock()
	r.eachSeries("", func(labels map[string]string, _ float64) { fmt.Fprint(&out, labels) })
	for _, s := range []string{secret, encoded} {
		if i := strings.Index(out.String(), s); i >= 0 {
			t.Errorf("there is a secret in …%s…", out.String()[max(0, i-200):i+len(s)])
		}
	}
	if !strings.Contains(out.String(), "identity_rejected") {
		t.Error("nothing was recorded")
	}
}

func TestACredentialThatIsShownNeverFallsBackToTheSource(t *testing.T) {
	o := newOrigin(t, echo)
	here := netip.MustParsePrefix("127.0.0.0/8")
	r := openRig(t, o, rigOptions{functions: []function{{
		name: "bysource", noToken: true, sources: []netip.Prefix{here},
		rules: []rule{{host: "any.test", ports: []uint16{o.port}, any: true, addresses: loopback}},
	}}})
	c, br := r.send(withAuth(o.at("any.test")))
	wantEstablished(t, br)
	c.Close()
	if m := r.one("opened"); m["function"] != "bysource" || m["via"] != "source" {
		t.Errorf("record: %v", m)
	}
	r.wantRefusal(r.ask(withAuth(o.at("any.test"), credential("bysource:x"))), 407, "identity_rejected", "http_request_denied")
	r.wantRefusal(r.ask(withAuth(o.at("any.test"), "Proxy-Authorization: junk\r\n")), 407, "identity_rejected", "http_request_denied")
}

func TestAFunctionWithAnEmptyListReachesNothing(t *testing.T) {
	o := newOrigin(t, echo)
	r := openRig(t, o, rigOptions{functions: []function{{name: "empty"}}})
	r.wantRefusal(r.ask(connectAs("empty", o.at("any.test"))), 403, "host_not_allowed", "http_request_denied")
}

// Each answer beyond the budget waits for a record that it shares, and names it.
func TestAFloodOfBadCredentialsIsSlowedAndSharesRecords(t *testing.T) {
	t.Parallel()
	const attempts, budget = 400, 50
	o := newOrigin(t, echo)
	r := openRig(t, o, rigOptions{})
	answers := make(chan reply, attempts)
	for range attempts {
		_, br := r.send(connectAs("nobody", o.at("any.test")))
		go func() {
			resp, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Error(err)
				resp = &http.Response{}
			}
			answers <- reply{Response: resp}
		}()
	}
	c, br := r.send(connectAs("billing", o.at("any.test"))) // who has a credential that holds is not slowed
	wantEstablished(t, br)
	c.Close()
	statuses, seen := map[int]int{}, map[string]bool{}
	for range attempts {
		got := <-answers
		statuses[got.StatusCode]++
		if got.StatusCode == 429 {
			seen[got.Header.Get("X-Egress-Request-Id")] = true
			if got.Header.Get("Retry-After") == "" || got.reason() != "limit_failures" {
				t.Errorf("got %s %v", got.Status, got.Header)
			}
		}
	}
	if statuses[407] != budget || statuses[429] != attempts-budget {
		t.Errorf("answers: %v", statuses)
	}
	rejected, over, records := 0, 0.0, 0
	for _, m := range r.of("refused") {
		switch m["reason"] {
		case "identity_rejected":
			rejected++
		case "limit_failures":
			more, _ := m["suppressed"].(float64)
			over += 1 + more
			records++
			delete(seen, text(m["id"]))
		}
	}
	if rejected != budget || over != attempts-budget || records > attempts/10 {
		t.Errorf("%d records identity_rejected; %d of limit_failures that stand for %v", rejected, records, over)
	}
	if len(seen) != 0 {
		t.Errorf("answers name records that there are not: %v", seen)
	}
	r.reconcile()
}

// Many fail at the same moment around the edge of the budget: each failure is
// in exactly one record.
func TestConcurrentFailuresAreCountedExactly(t *testing.T) {
	o := newOrigin(t, echo)
	r := openRig(t, o, rigOptions{limits: proxy.Limits{}})
	bad := connectAs("nobody", o.at("any.test"))
	done := make(chan struct{})
	for range 8 {
		go func() {
			defer func() { done <- struct{}{} }()
			for range 10 {
				_, br := r.send(bad)
				_, _ = br.ReadString('\n')
			}
		}()
	}
	for range 8 {
		<-done
	}
	r.cancel()
	<-r.ran
	r.reconcile()
	if n := r.decisions()[outcome{"", "deny", "limit_failures", "connect"}]; n != 30 {
		t.Errorf("%v over the budget, want 30", n)
	}
}
