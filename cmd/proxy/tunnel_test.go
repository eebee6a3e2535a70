package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"
)

// discardLog keeps net/http's remarks on clients that go away out of the tests.
var discardLog = log.New(io.Discard, "", 0)

// onePolicy lets "billing" reach the TLS origin under one name.
const onePolicy = head + `functions:
  billing:
    owner: payments-team
    identify: {${token_billing}}
    allow:
      - {host: allowed.test, ports: [${port}], addresses: [127.0.0.0/8]}
      - {host: private.test, ports: [${port}]}
`

// overTunnel returns a client that speaks TLS to the host through a tunnel.
func (w *world) overTunnel(tunnel net.Conn, host string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
			return tls.Client(tunnel, &tls.Config{RootCAs: w.roots, ServerName: host}), nil
		},
	}}
}

func TestAllowedTunnelCarriesEveryByteToTheOriginAndBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.start(onePolicy)
	target := "allowed.test:" + w.vars["port"]

	r := p.connect("billing", target)
	if r.StatusCode != http.StatusOK {
		t.Fatalf("status %s", r.Status)
	}
	want := payload(3 << 20)
	resp, err := w.overTunnel(r.conn, "allowed.test").Post("https://"+target+"/", "application/octet-stream", bytes.NewReader(want))
	w.must(err)
	got, err := io.ReadAll(resp.Body)
	w.must(err)
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes came back of %d, or others", len(got), len(want))
	}
	_ = r.conn.Close()

	w.eventually("the end is recorded", func() bool { return len(p.of("closed")) == 1 })
	opened, closed := p.one("opened"), p.one("closed")
	if opened.Function != "billing" || opened.Owner != "payments-team" || opened.Via != "token" ||
		opened.Host != "allowed.test" || opened.Verdict != "allow" || opened.Rule != "functions.billing.allow[0]" ||
		opened.Line != 9 || opened.Client != r.from || opened.Dialed != w.tls.Listener.Addr().String() {
		t.Errorf("the record of the opening: %+v", opened)
	}
	if closed.ID != opened.ID || closed.SNI != "allowed.test" || closed.BytesUp < int64(len(want)) || closed.BytesDown < int64(len(want)) {
		t.Errorf("the record of the end: %+v", closed)
	}
}

func TestRecordOfARefusalIsWrittenBeforeTheClientSeesIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.start(onePolicy)
	for i := range 50 {
		r := p.connect("billing", "evil.test:443")
		// The answer is here, so the record must be: no waiting.
		refused := p.of("refused")
		if len(refused) != i+1 {
			t.Fatalf("%d records after %d refusals", len(refused), i+1)
		}
		last := refused[i]
		if last.Client != r.from || last.Reason != "host_not_allowed" || last.Host != "evil.test" || last.Verdict != "deny" ||
			last.ID != r.Header.Get("X-Egress-Request-Id") {
			t.Fatalf("the record of request %s from %s: %+v", r.Header.Get("X-Egress-Request-Id"), r.from, last)
		}
		if want := "403 Egress refused: host_not_allowed evil.test for billing"; r.Status != want {
			t.Fatalf("status line %q, want %q", r.Status, want)
		}
		if got := r.Header.Get("Proxy-Status"); got != `egress; error=http_request_denied; details="host_not_allowed"` || r.reason() != "host_not_allowed" {
			t.Fatalf("Proxy-Status %q, X-Egress-Reason %q", got, r.reason())
		}
	}
}

func TestRefusedNameCausesNoDNSPacket(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.start(onePolicy)
	for target, reason := range map[string]string{
		"secretdata.evil.test:443":                "host_not_allowed",
		"x.allowed.test:" + w.vars["port"]:        "host_not_allowed",
		"allowed.test.evil.test:443":              "host_not_allowed",
		"allowed.test:22":                         "port_not_allowed",
		"allowed.test:0" + w.vars["port"]:         "bad_target",
		"user@allowed.test:" + w.vars["port"]:     "bad_target",
		"allowed.test..:" + w.vars["port"]:        "bad_target",
		"allowed%2etest:" + w.vars["port"]:        "bad_target",
		"0x7f000001:" + w.vars["port"]:            "bad_target",
		"127.0.0.1:" + w.vars["port"]:             "host_not_allowed",
		"[::ffff:127.0.0.1]:" + w.vars["port"]:    "host_not_allowed",
		strings.Repeat("a.", 130) + "evil.test:1": "bad_target",
	} {
		if r := p.connect("billing", target); r.reason() != reason {
			t.Errorf("CONNECT %s: %s, want %s", target, r.reason(), reason)
		}
	}
	r, err := p.ask("GET http://secretdata.evil.test/ HTTP/1.1\r\nHost: secretdata.evil.test\r\n" + authorization("billing") + "\r\n")
	if w.must(err); r.reason() != "host_not_allowed" {
		t.Errorf("GET: %s, want host_not_allowed", r.reason())
	}

	// The name server does record, in the order of arrival: what asks for an
	// allowed name is the first that came, and all.
	p.connect("billing", "allowed.test:"+w.vars["port"])
	if !w.names.onlyAsked("allowed.test") {
		t.Errorf("%d packets at the name server, %d of them for the allowed name", w.names.total(), w.names.queries("allowed.test"))
	}
}

func TestRefusedAddressCausesNoSYN(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	canary := w.listen(echo)
	w.vars["canary"] = port(canary)
	p := w.start(head + `functions:
  billing:
    identify: {${token_billing}}
    allow:
      - {host: open.test, ports: [${canary}], tls: any, addresses: [127.0.0.1/32]}
      - {host: private.test, ports: [${canary}], tls: any}
      - {host: mixed.test, ports: [${canary}], tls: any, addresses: [127.0.0.1/32]}
      - {host: literal.test, ports: [${canary}], tls: any}
`)
	w.names.set("private.test", "127.0.0.1")
	w.names.set("mixed.test", "127.0.0.1", "10.0.0.1")
	w.names.set("open.test", "127.0.0.1")
	for _, host := range []string{"private.test", "mixed.test"} {
		r := p.connect("billing", host+":"+w.vars["canary"])
		if r.StatusCode != http.StatusForbidden || r.reason() != "address_not_allowed" {
			t.Errorf("%s: %s", host, r.Status)
		}
	}
	if r := p.connect("billing", "127.0.0.1:"+w.vars["canary"]); r.reason() != "host_not_allowed" {
		t.Errorf("the literal address: %s", r.Status)
	}
	for _, r := range p.of("refused") {
		if r.Host == "mixed.test" && strings.Join(r.Addresses, " ") != "127.0.0.1 10.0.0.1" {
			t.Errorf("the record lists %v", r.Addresses)
		}
	}

	// The canary does count, in the order of arrival: where the address is
	// open it is reached, by the first and only connection.
	r := p.connect("billing", "open.test:"+w.vars["canary"])
	if r.StatusCode != http.StatusOK {
		t.Fatalf("the open name: %s", r.Status)
	}
	r.carries(t)
	if n := canary.accepted.Load(); n != 1 {
		t.Errorf("%d connections at the canary, want 1", n)
	}
}
