package gate_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/gate"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hello"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/httphead"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// A plain request goes on in origin-form, with the Host field of the target that was
// judged, whatever the client wrote in its own.
func TestPlainRequestGoesOnInOriginForm(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ function, request, path, authority string }{
		{"billing", "GET http://tls.test/a?b=c", "/a?b=c", "tls.test"},
		{"billing", "GET http://tls.test:80/", "/", "tls.test"},
		{"billing", "GET http://TLS.test./", "/", "tls.test"},
		{"billing", "GET http://tls.test", "/", "tls.test"},
		{"billing", "GET http://tls.test?b=c", "/?b=c", "tls.test"},
		{"billing", "OPTIONS http://tls.test", "*", "tls.test"},
		{"billing", "OPTIONS http://tls.test/", "/", "tls.test"},
		{"billing", "OPTIONS http://tls.test?b=c", "/?b=c", "tls.test"},
		{"billing", "GET http://any.test:443/", "/", "any.test:443"},
		{"nightly", "GET http://any.test:8080/", "/", "any.test:8080"},
	} {
		d := ask(t, row.function, row.request)
		if needs := walk(d, nil, nil, gate.Refused); needs[len(needs)-1] != "forward" {
			t.Errorf("%s: %v", row.request, needs)
		}
		if d.Path != row.path || d.Authority != row.authority {
			t.Errorf("%s: path %q, Host %q; want %q, %q", row.request, d.Path, d.Authority, row.path, row.authority)
		}
	}
}

// What is wrong with the head of a plain request is kept for a more exact status, and
// explain prints it where the target's path is to blame.
func TestWhatIsWrongWithAPlainHeadIsTheCause(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		request, field string
		reason         verdict.Reason
		cause          error
		trace          string
	}{
		{request: `GET http://tls.test/a\b`, reason: verdict.ReasonBadTarget, cause: httphead.ErrPath, trace: "target: " + httphead.ErrPath.Error()},
		{request: "GET http://tls..test/", reason: verdict.ReasonBadTarget},
		{request: "GET ftp://tls.test/", reason: verdict.ReasonSchemeNotSupported},
		{request: "GET http://tls.test/", field: "Expect: tea\r\n", reason: verdict.ReasonBadRequest, cause: httphead.ErrExpectation},
		{request: "GET http://tls.test/", field: "Via: 1.1 egress\r\n", reason: verdict.ReasonLoop},
	} {
		d := ask(t, "billing", row.request, row.field)
		var trace []string
		d.Trace = func(line string) { trace = append(trace, line) }
		if need := d.Next(); need != gate.Refused || d.Reason != row.reason || !errors.Is(d.Cause, row.cause) {
			t.Errorf("%s %s: need %s, reason %q, cause %v", row.request, row.field, names[need], d.Reason, d.Cause)
		}
		if got := strings.Join(trace, "\n"); got != row.trace {
			t.Errorf("%s %s: the trace says %q", row.request, row.field, got)
		}
	}
}

// A request becomes a tunnel for other bytes where a rule allows any, and not where one
// only reports, or where nothing allows it.
func TestUpgradeNeedsARuleThatAllowsAnyBytes(t *testing.T) {
	t.Parallel()
	for request, want := range map[string]bool{
		"billing GET http://any.test:443/": true, "billing GET http://tls.test/": false, "billing GET http://other.test/": false,
		"nightly GET http://a.wild.test:443/": true, "nightly GET http://a.wild.test/": false,
	} {
		function, line, _ := strings.Cut(request, " ")
		d := ask(t, function, line)
		walk(d, nil, nil, gate.Refused)
		if got := d.PassesUpgrade(); got != want {
			t.Errorf("%s: an upgrade passes: %t", request, got)
		}
	}
	if (&gate.Decision{}).PassesUpgrade() {
		t.Error("an upgrade passes the zero Decision")
	}
}

// The tunnel of a rule that wants TLS opens by a ClientHello for the host alone; one for
// another passes in report mode, is no proof of the host, and is recorded.
func TestTunnelIsVerifiedByAHelloForTheHost(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		function, sni string
		need          gate.Need
		verified      bool
		reason        verdict.Reason
	}{
		{function: "billing", sni: "tls.test", need: gate.Tunnel, verified: true},
		{function: "billing", sni: "other.test", need: gate.Refused, reason: verdict.ReasonSNIMismatch},
		{function: "billing", sni: "", need: gate.Refused, reason: verdict.ReasonSNIMissing},
		{function: "nightly", sni: "tls.test", need: gate.Tunnel, verified: true},
		{function: "nightly", sni: "other.test", need: gate.Open, reason: verdict.ReasonSNIMismatch},
	} {
		d := ask(t, row.function, "CONNECT tls.test:443")
		for need := d.Next(); need != gate.Hello; need = d.Next() {
			if need == gate.Lookup {
				d.GiveAddresses(public, nil)
				continue
			}
			d.Give(verdict.ReasonNone)
		}
		if e := d.Event; e.Verdict != verdict.Allow || e.Reason != verdict.ReasonNone {
			t.Fatalf("%s: opened as %v, %q", row.function, e.Verdict, e.Reason)
		}
		d.GiveHello(helloFor(t, row.sni), nil)
		if need := d.Next(); need != row.need || d.Verified != row.verified {
			t.Errorf("%s with %q: need %s, verified %t", row.function, row.sni, names[need], d.Verified)
		}
		if row.need != gate.Open && d.Reason != row.reason || row.need == gate.Open && (d.Event.Verdict != verdict.Report || d.Event.Reason != row.reason) {
			t.Errorf("%s with %q: reason %q; recorded as %v, %q", row.function, row.sni, d.Reason, d.Event.Verdict, d.Event.Reason)
		}
		if d.Event.SNI != row.sni || d.Event.HasSNI != (row.sni != "") {
			t.Errorf("%s with %q: recorded %q, %t", row.function, row.sni, d.Event.SNI, d.Event.HasSNI)
		}
	}
}

// helloFor returns a ClientHello with that server name; without one, if it is "".
func helloFor(t *testing.T, name string) hello.Hello {
	t.Helper()
	number := func(n, size int) (b string) {
		for ; size > 0; size-- {
			b += string([]byte{byte(n >> (8 * (size - 1)))})
		}
		return b
	}
	extensions := ""
	if name != "" {
		entry := "\x00" + number(len(name), 2) + name
		extensions = "\x00\x00" + number(len(entry)+2, 2) + number(len(entry), 2) + entry
	}
	body := "\x03\x03" + strings.Repeat("r", 32) + "\x00" + "\x00\x02\x13\x01" + "\x01\x00" + number(len(extensions), 2) + extensions
	message := "\x01" + number(len(body), 3) + body
	var p hello.Parser
	h, err := p.Parse([]byte("\x16\x03\x01" + number(len(message), 2) + message))
	if err != nil {
		t.Fatal(err)
	}
	return h
}
