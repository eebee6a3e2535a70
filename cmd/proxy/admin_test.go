package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// atAdmin sends a raw request to the admin listener; paths go as they are.
func (p *running) atAdmin(request string) (int, string) {
	p.t.Helper()
	c, err := net.Dial("tcp", p.admin)
	p.world.must(err)
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, err = io.WriteString(c, request)
	p.world.must(err)
	method, _, _ := strings.Cut(request, " ")
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	p.world.must(err)
	b, err := io.ReadAll(resp.Body)
	p.world.must(err)
	return resp.StatusCode, string(b)
}

func TestAdminListenerCannotBeReachedThroughTheProxy(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	const policy = head + `functions:
  billing:
    identify: {${token_billing}}
    allow:
      - {cidr: 127.0.0.0/8, ports: [${admin}, ${proxy}], tls: any}
      - {host: admin.test, ports: [${admin}, ${proxy}], tls: any, addresses: [127.0.0.0/8]}
`
	w.names.set("admin.test", "127.0.0.1")
	w.vars["admin"], w.vars["proxy"] = "1", "2"
	p := w.start(policy)
	// The policy opens everything that a policy can, with the ports that the
	// kernel has picked.
	_, w.vars["admin"], _ = net.SplitHostPort(p.admin)
	_, w.vars["proxy"], _ = net.SplitHostPort(p.proxy)
	w.write(p.config, policy)
	p.signal(syscall.SIGHUP)
	w.eventually("the ports are open", func() bool { return len(p.of("reloaded")) > 0 })

	for _, path := range []string{"/metrics", "/readyz", "/debug/pprof/", "/admin"} {
		r, err := p.ask("GET " + path + " HTTP/1.1\r\nHost: proxy\r\n" + authorization("billing") + "\r\n")
		if w.must(err); r.StatusCode != http.StatusBadRequest {
			t.Errorf("GET %s at the proxy's port: %s, want 400", path, r.Status)
		}
	}
	for _, at := range []string{p.admin, p.proxy, "admin.test:" + w.vars["admin"], "admin.test:" + w.vars["proxy"]} {
		if r := p.connect("billing", at); r.reason() != "address_not_allowed" {
			t.Errorf("CONNECT %s: %s", at, r.Status)
		}
		r, err := p.ask("GET http://" + at + "/metrics HTTP/1.1\r\nHost: " + at + "\r\n" + authorization("billing") + "\r\n")
		if w.must(err); r.StatusCode != http.StatusForbidden || strings.Contains(r.body, "egress_decisions_total") {
			t.Errorf("GET http://%s/metrics: %s", at, r.Status)
		}
	}
}

func TestAdminListenerServesItsPathsAndNothingElse(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	p := w.start(only("before.test"))
	for _, row := range []struct {
		request string
		status  int
	}{
		{"GET /healthz", 200},
		{"GET /readyz", 200},
		{"GET /metrics", 200},
		{"HEAD /readyz", 200},
		{"GET /", 404},
		{"GET /METRICS", 404},
		{"GET /metrics/", 404},
		{"GET //metrics", 307},
		{"GET /x/../metrics", 307},
		{"POST /metrics", 405},
		{"DELETE /readyz", 405},
		{"CONNECT before.test:443", 404},
		{"GET /debug/pprof/", 404},
		{"GET /debug/pprof/heap", 404},
		{"GET /debug/pprof/cmdline", 404},
		{"GET /debug%2fpprof%2f", 404},
		{"GET /%64ebug/pprof/", 404},
		{"GET /DEBUG/pprof/", 404},
		{"GET /metrics/%2e%2e/debug/pprof/", 404},
		{"GET /debug/vars", 404},
	} {
		status, body := p.atAdmin(row.request + " HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n")
		if status != row.status || strings.Contains(body, "goroutine profile") {
			t.Errorf("%s: %d, want %d", row.request, status, row.status)
		}
	}
	// A page of another site must not make a browser ask.
	for _, method := range []string{"POST", "GET"} {
		for _, path := range []string{"/metrics", "/readyz", "/debug/pprof/"} {
			status, _ := p.atAdmin(method + " " + path + " HTTP/1.1\r\nHost: admin\r\nOrigin: https://evil.test\r\nConnection: close\r\n\r\n")
			if status != http.StatusForbidden {
				t.Errorf("%s %s for another origin: %d, want 403", method, path, status)
			}
		}
	}
}

func TestProfilesAreServedOnlyWhereTheyAreAskedFor(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	dir := t.TempDir()
	w.write(dir+"/egress.yaml", only("before.test"))
	for name, p := range map[string]*running{
		"the flag":        w.startFile(dir, []string{"run", "--pprof", "--config", dir + "/egress.yaml"}),
		"the environment": w.start(only("before.test"), "EGRESS_PPROF=true"),
	} {
		if code, text := p.get("/debug/pprof/goroutine?debug=1"); code != http.StatusOK || !strings.Contains(text, "goroutine profile") {
			t.Errorf("%s: %d", name, code)
		}
	}
}

func TestHealthcheckFollowsReadiness(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	p := w.start(only("before.test"))
	tunnels := p.open(1)
	// It gives up after four seconds, which a busy machine may take.
	w.eventually("it is ready", func() bool { code, text := p.healthcheck(); return code == exitOK && text == "ready\n" })
	p.signal(syscall.SIGTERM)
	w.eventually("the program is not ready", func() bool { code, _ := p.get("/readyz"); return code != http.StatusOK })
	w.eventually("it is not ready", func() bool {
		code, text := p.healthcheck()
		return code == exitFailed && strings.Contains(text, "stopping")
	})
	// Whoever ended it now would end the tunnel that it waits for.
	w.eventually("it is alive", func() bool { code, text := p.healthcheck("--live"); return code == exitOK && text == "ok\n" })
	_ = tunnels[0].conn.Close()
}

// healthcheck asks as the health check of a container does.
func (p *running) healthcheck(args ...string) (code int, text string) {
	var out, errs strings.Builder
	code = execute(p.t.Context(), append([]string{"healthcheck", "--admin", p.admin}, args...), &out, &errs)
	return code, out.String() + errs.String()
}

func TestProxiesInTheEnvironmentChangeNothing(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	t.Cleanup(web.Close)
	w.vars["http"] = port(web.Listener)
	w.names.set("plain.test", "127.0.0.1")
	// Nobody asks a proxy for loopback, whatever the environment says; a
	// multicast address is one that TCP cannot leave the machine for.
	w.names.set("elsewhere.test", "224.0.0.1")
	const policy = `      - {host: plain.test, ports: [${http}], tls: any, addresses: [127.0.0.0/8]}
      - {host: elsewhere.test, ports: [80, 443], addresses: [224.0.0.0/4, 127.0.0.0/8]}
`
	other := w.listen(echo)
	var env []string
	for _, name := range []string{"HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"} {
		url := "http://" + other.Addr().String()
		env = append(env, name+"="+url, strings.ToLower(name)+"="+url)
	}
	for _, extra := range []string{"NO_PROXY=", "NO_PROXY=*"} {
		p := w.start(only("before.test")+policy, append(env, extra)...)
		p.open(1)
		r, err := p.ask("GET http://plain.test:" + w.vars["http"] + "/ HTTP/1.1\r\nHost: plain.test\r\nConnection: close\r\n" + authorization("billing") + "\r\n")
		if w.must(err); r.StatusCode != http.StatusOK || r.body != "hello" {
			t.Errorf("%s: GET: %s %q", extra, r.Status, r.body)
		}
		r, err = p.ask("GET http://elsewhere.test/ HTTP/1.1\r\nHost: elsewhere.test\r\n" + authorization("billing") + "\r\n")
		if w.must(err); r.reason() != "dial_failed" {
			t.Errorf("%s: GET of an address that cannot be dialed: %s", extra, r.Status)
		}
		if r := p.connect("billing", "elsewhere.test:443"); r.reason() != "dial_failed" {
			t.Errorf("%s: CONNECT to an address that cannot be dialed: %s", extra, r.Status)
		}
		if p.allows("after.test") {
			t.Errorf("%s: a name of no rule is let through", extra)
		}
	}
	if n := other.accepted.Load(); n != 0 {
		t.Errorf("%d connections to the proxy of the environment, want none", n)
	}
}

func TestReportModeIsSaidAtTheStartAndInTheMetrics(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	p := w.start(accountsReport)
	var said []string
	for _, line := range p.logs() {
		if until, ok := line["until"].(string); ok && line["level"] == "WARN" {
			said = append(said, line["function"].(string)+" until "+until)
		}
	}
	if len(said) != 1 || said[0] != "nightly until 2999-12-31" {
		t.Errorf("the log warns of %q", said)
	}
	if p.metric(`egress_report_mode_days_left{function="nightly"}`) == "" {
		t.Error("no metric says how long report mode holds")
	}
	for _, name := range []string{"billing", "lapsed"} {
		if got := p.metric(`egress_report_mode_days_left{function="` + name + `"}`); got != "" {
			t.Errorf("%s enforces, and has %s days of report mode left", name, got)
		}
	}
}

const accountsReport = head + `functions:
  billing: {identify: {${token_billing}}, allow: []}
  nightly: {mode: report, report_until: 2999-12-31, identify: {${token_nightly}}, allow: []}
  lapsed: {mode: report, report_until: 2020-01-31, identify: {${token_lapsed}}, allow: []}
`

func TestRecordsGoOnInANewFileAfterLogrotate(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	p := w.start(only("before.test") + "audit: {output: records.json}\n")
	dir := filepath.Dir(p.config)
	file, rotated := filepath.Join(dir, "records.json"), filepath.Join(dir, "records.json.1")
	p.recordFiles = []string{file}
	p.allows("after.test")
	if n := len(p.of("refused")); n != 1 {
		t.Fatalf("%d refusals in the file, want 1", n)
	}
	w.must(os.Rename(file, rotated))
	p.signal(syscall.SIGHUP)
	w.eventually("the new file is there", func() bool { _, err := os.Stat(file); return err == nil })
	p.recordFiles = []string{rotated, file}
	w.eventually("the reload is recorded", func() bool { return len(p.of("reloaded")) > 0 })
	p.allows("after.test")
	if n := len(p.of("refused")); n != 2 {
		t.Errorf("%d refusals in both files, want 2", n)
	}
	if strings.Count(p.read(rotated), `"refused"`) != 1 || strings.Count(p.read(file), `"refused"`) != 1 {
		t.Error("the refusals are not one in each file")
	}
	// The signal itself reopens the file, ahead of the reload: nothing waits for
	// the program to notice that the file is gone.
	if strings.Contains(p.read(rotated), `"reloaded"`) {
		t.Error("the record of the reload went to the old file")
	}
	if out := p.read(p.stdout); out != "" {
		t.Errorf("standard output has %q", out)
	}
}

func TestNoSecretIsInAnyOutput(t *testing.T) {
	t.Parallel()
	w := newEchoWorld(t)
	p := w.start(only("before.test"))
	const secret = secretPrefix + "nobody"
	w.functions["nobody"] = true
	wrong := authorization("nobody")
	for _, request := range []string{
		"CONNECT before.test:${echo} HTTP/1.1\r\n" + wrong + "\r\n",
		"CONNECT before.test:${echo} HTTP/1.1\r\n" + wrong + authorization("billing") + "\r\n",
		"CONNECT before.test:${echo} HTTP/1.1\r\nProxy-Authorization: Bearer " + secret + "\r\n\r\n",
		"CONNECT before.test:${echo} HTTP/1.1\r\nProxy-Authorization: " + secret + "\r\n\r\n",
		"CONNECT before.test:${echo} HTTP/1.1\r\nProxy-Authorization : Basic " + credential("nobody") + "\r\n\r\n",
		"CONNECT nobody:" + secret + "@before.test:${echo} HTTP/1.1\r\n\r\n",
		"CONNECT evil.test:443 HTTP/1.1\r\nCookie: " + secret + "\r\n" + authorization("billing") + "\r\n",
		"CONNECT evil.test:443 HTTP/9.9\r\n" + authorization("billing") + "\r\n",
		"GET http://nobody:" + secret + "@before.test/ HTTP/1.1\r\nHost: before.test\r\n\r\n",
		"GET http://before.test/" + secret + "?key=" + secret + " HTTP/1.1\r\nHost: before.test\r\n" + authorization("billing") + "\r\n",
		"GET https://before.test/" + secret + " HTTP/1.1\r\nHost: before.test\r\nAuthorization: " + secret + "\r\n" + authorization("billing") + "\r\n",
		"GET http://evil.test/" + secret + " HTTP/1.1\r\nHost: " + secret + "\r\n" + authorization("billing") + "\r\n",
		"GET /" + secret + " HTTP/1.1\r\nHost: before.test\r\n\r\n",
		"POST http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\nContent-Length: 20\r\nTransfer-Encoding: chunked\r\n" + wrong + "\r\n" + secret,
		"GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n" + authorization("billing") + "X: " + strings.Repeat(secret, 2000) + "\r\n\r\n",
	} {
		r, err := p.ask(w.fill(request))
		if err != nil {
			t.Errorf("%.60q: %v", request, err)
			continue
		}
		if r.StatusCode < 400 {
			t.Errorf("%.60q: %s, want a refusal", request, r.Status)
		}
		var raw strings.Builder
		_ = r.Header.Write(&raw)
		p.noSecretIn("the answer", r.Status+raw.String()+r.body)
	}
	for _, path := range []string{"/metrics", "/readyz", "/healthz"} {
		_, text := p.get(path)
		p.noSecretIn(path, text)
	}
	// Records and log are looked at when the program has ended; see finish.
	if n := len(p.of("refused")); n == 0 {
		t.Error("nothing was refused")
	}
}
