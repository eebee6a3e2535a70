package proxy_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// openRig is a rig where the function billing may reach the origin as
// any.test, where any bytes may flow, and as tls.test, where a ClientHello has
// to come first.
func openRig(t testing.TB, o *origin, ro rigOptions) *rig {
	t.Helper()
	ro.functions = append([]function{{name: "billing", rules: []rule{
		{host: "any.test", ports: []uint16{o.port}, any: true, addresses: loopback},
		{host: "tls.test", ports: []uint16{o.port}, addresses: loopback},
	}}}, ro.functions...)
	r := newRig(t, ro)
	r.resolves("any.test", "127.0.0.1")
	r.resolves("tls.test", "127.0.0.1")
	return r
}

// at returns host:port of the origin.
func (o *origin) at(host string) string { return fmt.Sprintf("%s:%d", host, o.port) }

// wantEstablished reads the answer to a CONNECT that passes, and not a byte more.
func wantEstablished(t testing.TB, br *bufio.Reader) {
	t.Helper()
	const want = "HTTP/1.1 200 Connection established\r\n\r\n"
	got := make([]byte, len(want))
	if _, err := io.ReadFull(br, got); err != nil || string(got) != want {
		t.Fatalf("got %q, %v; want the 200 without fields", got, err)
	}
}

// wantExactly reads len(want) bytes.
func wantExactly(t testing.TB, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("got %q, %v; want %q", got, err, want)
	}
}

// wantEnd waits for the end of the connection and fails if it does not come, or
// as soon as something else does. A reset is an end.
func wantEnd(t testing.TB, r io.Reader) {
	t.Helper()
	rest := make([]byte, 4<<10)
	n, err := r.Read(rest)
	var timeout interface{ Timeout() bool }
	switch {
	case n > 0 || err == nil:
		t.Fatalf("%q came before the end", rest[:n])
	case errors.As(err, &timeout) && timeout.Timeout():
		t.Fatalf("the connection does not end: %v", err)
	}
}

// one waits for the first record of an event and returns it.
func (r *rig) one(event string) map[string]any {
	r.t.Helper()
	eventually(r.t, "a record "+event, func() bool { return len(r.of(event)) > 0 })
	all := r.of(event)
	if len(all) != 1 {
		r.t.Fatalf("%d records %s: %v", len(all), event, all)
	}
	return all[0]
}

// wantRefusal asserts status, reason and Proxy-Status of a reply, that it ends
// the connection, and that it has exactly one record.
func (r *rig) wantRefusal(got reply, status int, reason, token string) {
	r.t.Helper()
	if got.StatusCode != status || got.reason() != reason {
		r.t.Errorf("got %s with reason %q, want %d with %q", got.Status, got.reason(), status, reason)
	}
	if want := fmt.Sprintf("egress; error=%s; details=%q", token, reason); got.Header.Get("Proxy-Status") != want {
		r.t.Errorf("Proxy-Status %q, want %q", got.Header.Get("Proxy-Status"), want)
	}
	if got.rest != "" {
		r.t.Errorf("%q behind the reply", got.rest)
	}
	id, found := got.Header.Get("X-Egress-Request-Id"), 0
	for _, m := range r.records.all(r.t) {
		if m["id"] == id && m["reason"] == reason && (m["verdict"] == "deny") {
			found++
		}
	}
	if found != 1 {
		r.t.Errorf("%d records of request %s when the client had the reply", found, id)
	}
}

func TestAllowedConnectReachesTheOrigin(t *testing.T) {
	_, port := tlsOrigin(t)
	r := newRig(t, rigOptions{functions: []function{{name: "billing", rules: []rule{
		{host: "allowed.test", ports: []uint16{port}, addresses: loopback},
	}}}})
	r.resolves("allowed.test", "127.0.0.1")
	client := &http.Client{Transport: &http.Transport{
		Proxy:           http.ProxyURL(&url.URL{Scheme: "http", Host: r.addr, User: url.UserPassword("billing", "billing")}),
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
	defer client.CloseIdleConnections()
	resp, err := client.Get(fmt.Sprintf("https://allowed.test:%d/", port))
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if want := fmt.Sprintf("hello from allowed.test:%d", port); string(body) != want {
		t.Errorf("body = %q, want %q", body, want)
	}
	client.CloseIdleConnections()
	r.one("closed")
	if opened := r.one("opened"); opened["function"] != "billing" || opened["verdict"] != "allow" {
		t.Errorf("opened record: %v", opened)
	}
}

func TestRefusedNameCausesNoLookup(t *testing.T) {
	r := newRig(t, rigOptions{functions: []function{{name: "billing"}}})
	got := r.ask(connectAs("billing", "evil.test:443"))
	r.wantRefusal(got, 403, "host_not_allowed", "http_request_denied")
	if want := "403 Egress refused: host_not_allowed evil.test for billing"; got.Status != want {
		t.Errorf("status line %q, want %q", got.Status, want)
	}
	if !strings.Contains(got.body, "Ask the owner") {
		t.Errorf("the body says not what to do: %q", got.body)
	}
	if n := r.lookups.Load(); n != 0 {
		t.Errorf("%d lookups", n)
	}
}

func TestAHostOfAnotherFunctionIsRefused(t *testing.T) {
	o := newOrigin(t, echo)
	r := openRig(t, o, rigOptions{functions: []function{{name: "reports"}}})
	r.wantRefusal(r.ask(connectAs("reports", o.at("any.test"))), 403, "host_not_allowed", "http_request_denied")
	if m := r.one("refused"); m["function"] != "reports" || m["owner"] != "owner of reports" || m["via"] != "token" {
		t.Errorf("record: %v", m)
	}
	if o.accepted.Load() != 0 || r.lookups.Load() != 0 {
		t.Errorf("%d connections, %d lookups", o.accepted.Load(), r.lookups.Load())
	}
}

func TestTheDenyListAndTheReportModeDecide(t *testing.T) {
	o := newOrigin(t, echo)
	r := openRig(t, o, rigOptions{deny: []string{"denied.test"}, functions: []function{
		{name: "expired", rules: []rule{{host: "any.test", ports: []uint16{o.port}, expires: time.Unix(1, 0)}}},
		{name: "reports", report: future, rules: []rule{{host: "denied.test", ports: []uint16{o.port}}}},
	}})
	r.resolves("unlisted.test", "127.0.0.1")
	r.wantRefusal(r.ask(connectAs("reports", o.at("denied.test"))), 403, "host_denied", "http_request_denied")
	r.wantRefusal(r.ask(connectAs("billing", "any.test:1")), 403, "port_not_allowed", "http_request_denied")
	r.wantRefusal(r.ask(connectAs("expired", o.at("any.test"))), 403, "rule_expired", "http_request_denied")
	// Report mode lets an unlisted name through, but not to a private address.
	r.wantRefusal(r.ask(connectAs("reports", o.at("unlisted.test"))), 403, "address_not_allowed", "destination_ip_prohibited")
	if n := o.accepted.Load(); n != 0 {
		t.Errorf("%d connections", n)
	}
}

// Each of these is sent by a client that people use.
func TestRealClientsAreUnderstood(t *testing.T) {
	o := newOrigin(t, echo)
	r := openRig(t, o, rigOptions{})
	credential := strings.TrimPrefix(auth("billing"), "Proxy-Authorization: Basic ")
	at := o.at("any.test")
	for name, head := range map[string]string{
		"HTTP/1.0 without Host (CPython 3.9)":    "CONNECT " + at + " HTTP/1.0\r\n" + auth("billing"),
		"Connection: close (undici, axios)":      "CONNECT " + at + " HTTP/1.1\r\nHost: any.test\r\nConnection: close\r\n" + auth("billing"),
		"Proxy-Connection: keep-alive (curl)":    "CONNECT " + at + " HTTP/1.1\r\nHost: " + at + "\r\nProxy-Connection: Keep-Alive\r\n" + auth("billing"),
		"a Host that differs":                    "CONNECT " + at + " HTTP/1.1\r\nHost: evil.test\r\n" + auth("billing"),
		"upper case and a trailing dot":          "CONNECT " + strings.Replace(at, "any.test", "ANY.Test.", 1) + " HTTP/1.1\r\nHost: x\r\n" + auth("billing"),
		"Content-Length: 0":                      "CONNECT " + at + " HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n" + auth("billing"),
		"Expect: 100-continue gets no stray 100": "CONNECT " + at + " HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n" + auth("billing"),
		"the scheme in lower case":               "CONNECT " + at + " HTTP/1.1\r\nHost: x\r\nProxy-Authorization: basic " + credential,
		"the scheme in upper case":               "CONNECT " + at + " HTTP/1.1\r\nHost: x\r\nproxy-authorization: BASIC " + credential,
	} {
		t.Run(name, func(t *testing.T) {
			c, br := r.send(head + "\r\n")
			wantEstablished(t, br)
			for range 3 { // it stays open
				_, _ = io.WriteString(c, "ping")
				wantExactly(t, br, "ping")
			}
			c.Close()
		})
	}
}

// Java and .NET ask without a credential first, and then on a new connection.
func TestAClientThatWaitsToBeAskedIsChallengedAndThenServed(t *testing.T) {
	o := newOrigin(t, echo)
	r := openRig(t, o, rigOptions{})
	got := r.ask("CONNECT " + o.at("any.test") + " HTTP/1.1\r\nHost: x\r\n\r\n")
	r.wantRefusal(got, 407, "identity_required", "http_request_denied")
	if got.Header.Get("Proxy-Authenticate") != `Basic realm="egress"` || got.Header.Get("Content-Length") != "0" || got.body != "" {
		t.Errorf("challenge: %v %q", got.Header, got.body)
	}
	if len(r.of("challenged")) != 1 || len(r.of("refused")) != 0 {
		t.Errorf("records: %v", r.records.all(t))
	}
	c, br := r.send(connectAs("billing", o.at("any.test")))
	wantEstablished(t, br)
	c.Close()
}

func TestNothingBehindARefusalIsReadAsARequest(t *testing.T) {
	o := newOrigin(t, echo)
	r := openRig(t, o, rigOptions{})
	good := connectAs("billing", o.at("any.test"))
	at := o.at("any.test")
	for _, row := range []struct {
		name, raw string
		status    int
		reason    string
	}{
		{"a GET behind a denied CONNECT", connectAs("billing", "evil.test:443") + "GET http://any.test/ HTTP/1.1\r\nHost: any.test\r\n" + auth("billing") + "\r\n", 403, "host_not_allowed"},
		{"64 KiB behind a denied CONNECT", connectAs("billing", "evil.test:443") + strings.Repeat("x", 64<<10), 403, "host_not_allowed"},
		{"a good CONNECT behind one without credentials", "CONNECT " + at + " HTTP/1.1\r\nHost: x\r\n\r\n" + good, 407, "identity_required"},
		{"a good CONNECT behind one with bad credentials", strings.Replace(good, auth("billing"), auth("nobody"), 1) + good, 407, "identity_rejected"},
		{"CONNECT with a Content-Length", "CONNECT " + at + " HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n" + auth("billing") + "\r\n0123456789", 400, "bad_request"},
		{"CONNECT with chunks", "CONNECT " + at + " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n" + auth("billing") + "\r\n5\r\nhello\r\n0\r\n\r\n", 400, "bad_request"},
	} {
		t.Run(row.name, func(t *testing.T) {
			before := len(r.records.all(t))
			got := r.ask(row.raw)
			if got.StatusCode != row.status || got.reason() != row.reason || got.rest != "" {
				t.Errorf("got %s, %q, rest %q", got.Status, got.reason(), got.rest)
			}
			if n := len(r.records.all(t)) - before; n != 1 {
				t.Errorf("%d records", n)
			}
		})
	}
	if n := o.accepted.Load(); n != 0 {
		t.Errorf("%d connections to the origin", n)
	}
}

// The kernel answers a close with unread input by a reset, which overtakes the
// reply where the network is slower than this one. So the proxy takes what a
// refused client still sends: none of these writes meets a reset.
func TestARefusedClientMaySendOnAndIsNotReset(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{functions: []function{{name: "billing"}}})
	for range 10 {
		unlessCut(t, func() error {
			c, br := r.send(connectAs("billing", "evil.test:443") + strings.Repeat("x", 16<<10))
			defer c.Close()
			got := readReply(t, br)
			if got.StatusCode != 403 || !strings.Contains(got.body, "Ask the owner") {
				t.Fatalf("got %s %q", got.Status, got.body)
			}
			for i := range 8 {
				if _, err := c.Write(make([]byte, 32<<10)); err != nil {
					return fmt.Errorf("write %d behind the reply: %w", i, err)
				}
			}
			return nil
		})
	}
}

// unlessCut makes an exchange again that failed when it had lasted for longer
// than the proxy takes what a refused client sends.
func unlessCut(t testing.TB, exchange func() error) {
	t.Helper()
	const lingers = 2 * time.Second
	for deadline := time.Now().Add(patience); ; {
		began := time.Now()
		err := exchange()
		switch now := time.Now(); {
		case err == nil:
			return
		case now.Sub(began) < lingers || now.After(deadline):
			t.Fatal(err)
		}
	}
}

func TestHostsThatClientsMakeUpMakeNoMetricSeries(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{functions: []function{{name: "billing"}}, limits: proxy.Limits{}})
	count := func() (n int) {
		r.eachSeries("", func(map[string]string, float64) { n++ })
		return n
	}
	ask := func(i int) {
		c, br := r.send(connectAs("billing", fmt.Sprintf("host%d.test:443", i)))
		if _, err := br.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	ask(0)
	before := count()
	for i := range 1000 {
		ask(i + 1)
	}
	if after := count(); after != before {
		t.Errorf("%d series after 1,000 hosts, %d before", after, before)
	}
}
