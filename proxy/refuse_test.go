package proxy_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// lateResolver is a resolver's answer that came too late.
type lateResolver struct{}

func (lateResolver) Error() string { return "lookup allowed.test on 10.0.0.2:53: i/o timeout" }
func (lateResolver) Timeout() bool { return true }

// refusedRequests are a request for every reason that plain HTTP and CONNECT
// share, as the function billing sends it.
var refusedRequests = []struct {
	reason  string
	status  int
	token   string // error of Proxy-Status
	target  string
	prepare func(*rig)
}{
	{reason: "host_denied", status: 403, token: "http_request_denied", target: "denied.test:PORT"},
	{reason: "host_not_allowed", status: 403, token: "http_request_denied", target: "evil.test:443"},
	{reason: "port_not_allowed", status: 403, token: "http_request_denied", target: "allowed.test:22"},
	{reason: "rule_expired", status: 403, token: "http_request_denied", target: "expired.test:PORT"},
	{reason: "dns_failed", status: 502, token: "dns_error", target: "unknown.test:PORT"},
	{reason: "dns_timeout", status: 504, token: "dns_timeout", target: "slow.test:PORT"},
	{reason: "address_not_allowed", status: 403, token: "destination_ip_prohibited", target: "inside.test:PORT"},
	{reason: "dial_failed", status: 502, token: "destination_unavailable", target: "closed.test:PORT"},
	{reason: "draining", status: 503, token: "proxy_internal_response", target: "allowed.test:PORT",
		prepare: func(r *rig) { _ = r.server.Drain(r.t.Context()) }},
}

// newRefusingRig returns a rig that refuses everything, and the port that its
// rules have, where nobody listens.
func newRefusingRig(t *testing.T, options func(*proxy.Options)) (*rig, uint16) {
	t.Helper()
	port := closedPort(t)
	allow := func(host string) rule {
		return rule{host: host, ports: []uint16{port}, any: true, addresses: loopback}
	}
	expired := allow("expired.test")
	expired.expires = time.Now().Add(-48 * time.Hour)
	inside := rule{host: "inside.test", ports: []uint16{port}, any: true}
	r := newRig(t, rigOptions{
		functions: []function{{name: "billing", token: "hold-this-secret", rules: []rule{
			allow("allowed.test"), allow("denied.test"), allow("unknown.test"), allow("slow.test"), allow("closed.test"), inside, expired,
		}}},
		deny:    []string{"denied.test"},
		options: options,
	})
	r.names.Store("slow.test", error(lateResolver{}))
	r.resolves("inside.test", "127.0.0.1")
	r.resolves("closed.test", "127.0.0.1")
	r.resolves("allowed.test", "127.0.0.1")
	return r, port
}

// basic returns a Proxy-Authorization field line.
func basic(user, secret string) string {
	return "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+secret)) + "\r\n"
}

func TestRefusalSaysWhyToPeopleAndPrograms(t *testing.T) {
	r, port := newRefusingRig(t, nil)
	for _, row := range refusedRequests {
		t.Run(row.reason, func(t *testing.T) {
			if row.prepare != nil {
				row.prepare(r)
			}
			target := strings.Replace(row.target, "PORT", fmt.Sprint(port), 1)
			host, _, _ := strings.Cut(target, ":")
			fields := "\r\nHost: " + host + "\r\n" + basic("billing", "hold-this-secret") + "\r\n"
			for _, line := range []string{"CONNECT " + target + " HTTP/1.1", "GET http://" + target + "/path?q HTTP/1.1", "HEAD http://" + target + "/ HTTP/1.1"} {
				before := len(r.records.all(t))
				connection := "Connection: close"
				if !strings.HasPrefix(line, "CONNECT") {
					line += "\r\n" + connection
				}
				_, br := r.send(line + fields)
				raw, err := io.ReadAll(br)
				if err != nil {
					t.Fatal(err)
				}
				head, body, _ := strings.Cut(string(raw), "\r\n\r\n")
				status, rest, _ := strings.Cut(head, "\r\n")
				if want := fmt.Sprintf("HTTP/1.1 %d Egress refused: %s %s for billing", row.status, row.reason, host); status != want {
					t.Errorf("the status line is %q, want %q", status, want)
				}
				records := r.records.all(t)[before:]
				id := records[len(records)-1]["id"]
				for _, want := range []string{
					fmt.Sprintf(`Proxy-Status: egress; error=%s; details="%s"`, row.token, row.reason),
					"X-Egress-Reason: " + row.reason, fmt.Sprintf("X-Egress-Request-Id: %s", id), connection,
				} {
					if !strings.Contains(rest+"\r\n", want+"\r\n") {
						t.Errorf("no field %q in %q", want, rest)
					}
				}
				if got := strings.Contains(rest, "Retry-After: "); got != (row.status == 503) {
					t.Errorf("Retry-After: %v with status %d", got, row.status)
				}
				if strings.HasPrefix(line, "HEAD") != (body == "") {
					t.Errorf("%s is answered with the body %q", line, body)
				}
				if body != "" && !strings.Contains(body, fmt.Sprint(id)) {
					t.Errorf("the body does not name the request: %q", body)
				}
			}
		})
	}
}

func TestReasonPhraseHasAtMostAHundredPrintableBytes(t *testing.T) {
	name := strings.Repeat("f", 64)
	r := newRig(t, rigOptions{functions: []function{{name: name}}})
	host := strings.Repeat("a", 63) + "." + strings.Repeat("b", 63) + ".test"
	got := r.refusedOnce(t, connectAs(name, host+":443"), 403, "host_not_allowed")
	phrase := strings.TrimPrefix(got.Status, "403 ")
	if len(phrase) != 100 || !strings.HasPrefix(phrase, "Egress refused: host_not_allowed aaaa") || !strings.HasSuffix(phrase, "...") {
		t.Errorf("the phrase of %d bytes is %q", len(phrase), phrase)
	}
}

// Nobody can find out by asking which functions there are.
func TestUnknownFunctionAndWrongTokenGetTheSameBytes(t *testing.T) {
	r, _ := newRefusingRig(t, nil)
	ask := func(credential string) string {
		_, br := r.send("CONNECT allowed.test:443 HTTP/1.1\r\n" + credential + "\r\n")
		raw, err := io.ReadAll(br)
		if err != nil {
			t.Fatal(err)
		}
		all := r.records.all(t)
		record := all[len(all)-1]
		if record["reason"] != "identity_rejected" || record["event"] != "refused" {
			t.Errorf("the record is %v", record)
		}
		return strings.Replace(string(raw), record["id"].(string), "ID", 1)
	}
	wrong, unknown := ask(basic("billing", "guess")), ask(basic("nobody", "guess"))
	if wrong != unknown {
		t.Errorf("a wrong token gets\n%s\nan unknown function\n%s", wrong, unknown)
	}
	for _, want := range []string{"HTTP/1.1 407 ", "\r\nProxy-Authenticate: Basic realm=\"egress\"\r\n", "\r\nContent-Length: 0\r\n"} {
		if !strings.Contains(wrong, want) {
			t.Errorf("no %q in %q", want, wrong)
		}
	}
	if !strings.HasSuffix(wrong, "\r\n\r\n") {
		t.Errorf("the reply has a body: %q", wrong)
	}
}

func TestCallerWithoutCredentialIsChallengedAndNotRefused(t *testing.T) {
	r, _ := newRefusingRig(t, nil)
	for _, raw := range []string{"CONNECT allowed.test:443 HTTP/1.1\r\n\r\n", "GET http://allowed.test/ HTTP/1.1\r\nHost: allowed.test\r\n\r\n"} {
		got := r.refusedOnce(t, raw, 407, "identity_required")
		if got.Header.Get("Proxy-Authenticate") != `Basic realm="egress"` || got.ContentLength != 0 {
			t.Errorf("Proxy-Authenticate %q, Content-Length %d", got.Header.Get("Proxy-Authenticate"), got.ContentLength)
		}
	}
	if challenged, refused := r.of("challenged"), r.of("refused"); len(challenged) != 2 || len(refused) != 0 {
		t.Errorf("%d challenged, %d refused", len(challenged), len(refused))
	}
}

func TestHTTPSInTheClearIsToldToUseConnect(t *testing.T) {
	r, _ := newRefusingRig(t, nil)
	got := r.refusedOnce(t, "GET https://user.allowed.test/path-canary?query-canary HTTP/1.1\r\nHost: allowed.test\r\nCookie: cookie-canary\r\n\r\n", 501, "https_not_tunneled")
	if !strings.Contains(got.body, "CONNECT") || !strings.Contains(got.body, "axios") {
		t.Errorf("the body does not say what to do: %q", got.body)
	}
	if record := r.of("refused")[0]; record["host"] != "user.allowed.test" || record["port"] != float64(443) {
		t.Errorf("the record is %v", record)
	}
	if out := r.everything(); strings.Contains(out, "canary") {
		t.Errorf("path or fields are recorded: %s", out)
	}
}

// everything returns all records and all metrics.
func (r *rig) everything() string {
	r.t.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	var b strings.Builder
	r.records.mu.Lock()
	b.WriteString(r.records.buf.String())
	r.records.mu.Unlock()
	for _, f := range families {
		b.WriteString(f.String())
	}
	return b.String()
}

func TestNoSecretLeavesTheProxy(t *testing.T) {
	var logged bytes.Buffer
	origin := newOrigin(t, serveOK)
	r, port := newRefusingRig(t, func(o *proxy.Options) {
		o.Logger = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	holds, wrong := basic("billing", "hold-this-secret"), basic("billing", "wrong-secret-canary")
	encoded := func(s string) string { return strings.TrimSpace(strings.TrimPrefix(s, "Proxy-Authorization: Basic ")) }
	secrets := []string{"hold-this-secret", encoded(holds), "canary", encoded(wrong)}
	var replies strings.Builder
	ask := func(raw string) {
		_, br := r.send(raw)
		got, _ := io.ReadAll(br)
		replies.Write(got)
	}
	private := "Authorization: Bearer origin-canary\r\nCookie: s=cookie-canary\r\nX-Private: field-canary\r\n"
	for _, credential := range []string{holds, wrong, holds + wrong, "proxy-AUTHORIZATION: Basic not-base64-canary\r\n", "Proxy-Authorization: Bearer bearer-canary\r\n"} {
		for _, row := range refusedRequests[:8] {
			target := strings.Replace(row.target, "PORT", fmt.Sprint(port), 1)
			ask("CONNECT " + target + " HTTP/1.1\r\n" + credential + private + "\r\n")
			ask("GET http://" + target + "/path-canary?query-canary HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + credential + private + "\r\n")
		}
		ask("GET /path-canary HTTP/1.1\r\nHost: a\r\n" + credential + "\r\n")
		ask("GET http://user:url-canary@allowed.test/ HTTP/1.1\r\nHost: a\r\n" + credential + "\r\n")
		ask("GET https://allowed.test/path-canary HTTP/1.1\r\nHost: a\r\n" + credential + "\r\n")
		ask("GET ftp://user:url-canary@allowed.test/ HTTP/1.1\r\nHost: a\r\n" + credential + "\r\n")
		ask("CONNECT user:url-canary@allowed.test:443 HTTP/1.1\r\n" + credential + "\r\n")
		ask("GET http://allowed.test/ HTTP/1.1\r\nfield-canary\r\n" + credential + "\r\n")
		ask("GET http://allowed.test/ HTTP/1.1\r\nX-canary\x00: field-canary\r\n" + credential + "\r\n")
		ask("POST http://allowed.test/ HTTP/1.1\r\nTransfer-Encoding: coding-canary\r\n" + credential + "\r\n")
		ask("POST http://allowed.test/ HTTP/1.1\r\nContent-Length: length-canary\r\n" + credential + "\r\n")
	}
	allowed := fmt.Sprintf("closed.test:%d", origin.port)
	r.setPolicy([]function{{name: "billing", token: "hold-this-secret", rules: []rule{
		{host: "closed.test", ports: []uint16{origin.port}, any: true, addresses: loopback}}}})
	ask("GET http://" + allowed + "/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + holds + "\r\n")
	if !strings.Contains(replies.String(), "200 OK") {
		t.Error("the credential that holds was never let through")
	}
	for where, text := range map[string]string{
		"replies": replies.String(), "records and metrics": r.everything(), "log": logged.String(), "origin": origin.text(),
	} {
		for _, s := range secrets {
			if strings.Contains(text, s) {
				t.Errorf("%s show %q", where, s)
			}
		}
	}
}

func TestRecordThatCannotBeWrittenIsAnswered503(t *testing.T) {
	origin := newOrigin(t, serveOK)
	r := newRig(t, rigOptions{
		functions: []function{{name: "billing", rules: []rule{{host: "allowed.test", ports: []uint16{origin.port}, any: true, addresses: loopback}}}},
		sink:      fullDisk{}, audit: audit.Options{OnFailure: audit.Refuse},
	})
	r.resolves("allowed.test", "127.0.0.1")
	for _, raw := range []string{absoluteAs("billing", fmt.Sprintf("allowed.test:%d", origin.port)), absoluteAs("billing", "evil.test"), "GET / HTTP/1.1\r\n\r\n"} {
		got := r.ask(raw)
		if got.StatusCode != 503 || got.reason() != "audit_unavailable" || got.Header.Get("Retry-After") == "" {
			t.Errorf("answered %s, reason %q", got.Status, got.reason())
		}
	}
	if n := origin.accepted.Load(); n != 0 {
		t.Errorf("the origin saw %d connections that no record shows", n)
	}
}

// fullDisk takes no record.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, fmt.Errorf("no space left on device") }

func TestProxyPortServesNothingOfItsOwn(t *testing.T) {
	admin := newOrigin(t, serveOK)
	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), admin.port)
	r := newRig(t, rigOptions{
		functions: []function{{name: "billing"}, {name: "wide", rules: []rule{
			{cidr: "127.0.0.0/8", ports: []uint16{admin.port}, any: true},
			{host: "allowed.test", ports: []uint16{admin.port}, any: true, addresses: loopback},
		}}},
		options: func(o *proxy.Options) { o.Self = func(a netip.AddrPort) bool { return a == at } },
	})
	r.resolves("allowed.test", "127.0.0.1")
	for _, path := range []string{"/metrics", "/debug/pprof", "/admin", "/healthz", "//metrics", "/%2e/metrics"} {
		for _, method := range []string{"GET", "POST"} {
			want := "bad_request"
			if strings.HasPrefix(path, "//") {
				want = "bad_target"
			}
			r.refusedOnce(t, method+" "+path+" HTTP/1.1\r\nHost: "+r.addr+"\r\n"+auth("billing")+"\r\n", 400, want)
		}
		r.refusedOnce(t, "GET http://"+at.String()+path+" HTTP/1.1\r\nHost: a\r\n"+auth("billing")+"\r\n", 403, "host_not_allowed")
		r.refusedOnce(t, "GET http://"+at.String()+path+" HTTP/1.1\r\nHost: a\r\n"+auth("wide")+"\r\n", 403, "address_not_allowed")
		r.refusedOnce(t, fmt.Sprintf("GET http://allowed.test:%d%s HTTP/1.1\r\nHost: a\r\n%s\r\n", admin.port, path, auth("wide")), 403, "address_not_allowed")
		r.refusedOnce(t, "GET http://"+r.addr+path+" HTTP/1.1\r\nHost: a\r\n"+auth("wide")+"\r\n", 403, "port_not_allowed")
	}
	if n := admin.accepted.Load(); n != 0 {
		t.Errorf("the proxy's own listener saw %d connections", n)
	}
}
