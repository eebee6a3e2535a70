package proxy_test

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// forwarded sends the request, which must be answered 200, and returns what
// the origin got of it.
func (r *plainRig) forwarded(raw string) *http.Request {
	r.t.Helper()
	before := len(r.origin.text())
	_, br := r.send(raw)
	if resp, body := readOne(r.t, br); resp.StatusCode != 200 {
		r.t.Fatalf("%q is answered %s %q", raw, resp.Status, body)
	}
	sent := r.origin.text()[before:]
	got, err := http.ReadRequest(bufio.NewReader(strings.NewReader(sent)))
	if err != nil {
		r.t.Fatalf("the origin got %q: %v", sent, err)
	}
	return got
}

func TestHostOfTheForwardedRequestIsTheTargets(t *testing.T) {
	r := newPlainRig(t, serveOK)
	for _, host := range []string{"evil.test", "evil.test:80", r.host, "allowed.test", "127.0.0.1", "[::1]:80"} {
		raw := "GET http://" + r.host + "/ HTTP/1.1\r\nHost: " + host + "\r\n" + auth("billing") + "\r\n"
		if got := r.forwarded(raw); got.Host != r.host || got.RequestURI != "/" {
			t.Errorf("with Host: %s the origin got %s for %s", host, got.RequestURI, got.Host)
		}
	}
	if got := r.forwarded("GET http://" + r.host + "/ HTTP/1.0\r\n" + auth("billing") + "\r\n"); got.Host != r.host {
		t.Errorf("without Host in HTTP/1.0 the origin got %q", got.Host)
	}
	if n := r.origin.accepted.Load(); n >= 7 {
		t.Errorf("%d connections to the origin for 7 requests", n)
	}
}

func TestHostFieldMustBeOneAuthority(t *testing.T) {
	r := newPlainRig(t, serveOK)
	for _, row := range []struct{ why, fields string }{
		{"none in HTTP/1.1", ""},
		{"two", "Host: HOST\r\nHost: HOST\r\n"},
		{"two of different spelling", "Host: HOST\r\nhost: evil.test\r\n"},
		{"a list", "Host: HOST,evil.test\r\n"},
		{"empty", "Host:\r\n"},
		{"a space", "Host: \r\n"},
		{"userinfo", "Host: user@HOST\r\n"},
		{"a path", "Host: HOST/path\r\n"},
		{"a space within", "Host: allowed.test evil.test\r\n"},
		{"a no-break space behind", "Host: HOST\xa0\r\n"},
		{"a URL", "Host: http://HOST/\r\n"},
		{"a port out of range", "Host: allowed.test:65536\r\n"},
		{"no name", "Host: :80\r\n"},
		{"a byte that is not ASCII", "Host: allow\xe9d.test\r\n"},
	} {
		t.Run(row.why, func(t *testing.T) {
			raw := "GET http://HOST/ HTTP/1.1\r\n" + row.fields + auth("billing") + "\r\n"
			r.refusedOnce(t, strings.ReplaceAll(raw, "HOST", r.host), 400, "bad_request")
		})
	}
	r.refusedOnce(t, "GET http://"+r.host+"/ HTTP/1.0\r\nHost: a\r\nHost: b\r\n"+auth("billing")+"\r\n", 400, "bad_request")
	if n := r.origin.accepted.Load() + r.lookups.Load(); n != 0 {
		t.Errorf("%d lookups and connections", n)
	}
}

func TestFieldsOfOneHopEndAtTheProxy(t *testing.T) {
	r := newPlainRig(t, serveOK)
	got := r.forwarded(r.request("GET", "/", "Connection: X-A, keep-alive ,close\r\nconnection: x-b\r\nX-A: 1\r\nX-B: 2\r\nX-C: 3\r\n"+
		"Keep-Alive: timeout=5\r\nTE: trailers\r\nTrailer: X-T\r\nProxy-Foo: 1\r\nPROXY-CONNECTION: keep-alive\r\nproxy-authenticate: x\r\n"+
		"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nAccept-Encoding: br\r\nUser-Agent: probe/1\r\n", ""))
	for _, gone := range []string{"Connection", "X-A", "X-B", "Keep-Alive", "Te", "Trailer", "Proxy-Foo", "Proxy-Connection",
		"Proxy-Authenticate", "Proxy-Authorization", "Upgrade", "Http2-Settings"} {
		if v, ok := got.Header[gone]; ok {
			t.Errorf("%s reached the origin: %q", gone, v)
		}
	}
	for name, want := range map[string]string{"X-C": "3", "Accept-Encoding": "br", "User-Agent": "probe/1", "Via": "1.1 egress"} {
		if v := got.Header[name]; len(v) != 1 || v[0] != want {
			t.Errorf("%s is %q, want %q", name, v, want)
		}
	}
}

func TestNothingIsAddedToTheRequestButVia(t *testing.T) {
	r := newPlainRig(t, serveOK)
	got := r.forwarded(r.request("GET", "/", "", ""))
	if len(got.Header) != 1 || got.Header.Get("Via") != "1.1 egress" {
		t.Errorf("the origin got %v", got.Header)
	}
	got = r.forwarded("GET http://" + r.host + "/ HTTP/1.0\r\nVia: 1.0 other, 1.1 another\r\n" + auth("billing") + "\r\n")
	if via := got.Header["Via"]; fmt.Sprint(via) != "[1.0 other, 1.1 another 1.0 egress]" {
		t.Errorf("Via is %q", via)
	}
}

// A client could make the message mean something else behind the proxy.
func TestConnectionCannotNameWhatTheMessageStandsOn(t *testing.T) {
	r := newPlainRig(t, serveOK)
	got := r.forwarded(r.request("POST", "/", "Connection: Connection, Host, Content-Length, Authorization, Content-Type, Cookie, Via, ,,\"\r\n"+
		"Content-Length: 5\r\nAuthorization: Bearer x\r\nContent-Type: text/plain\r\nCookie: a=b\r\n", "hello"))
	if got.Host != r.host || got.ContentLength != 5 {
		t.Errorf("Host %q, Content-Length %d", got.Host, got.ContentLength)
	}
	for _, name := range []string{"Authorization", "Content-Type", "Cookie", "Via"} {
		if got.Header.Get(name) == "" {
			t.Errorf("%s is gone", name)
		}
	}
	got = r.forwarded(r.request("POST", "/", "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"))
	if fmt.Sprint(got.TransferEncoding) != "[chunked]" {
		t.Errorf("Transfer-Encoding %q", got.TransferEncoding)
	}
}

func TestRequestThatHasPassedTheProxyIsALoop(t *testing.T) {
	r := newPlainRig(t, serveOK)
	for _, via := range []string{"Via: 1.1 egress\r\n", "via: 1.0 a, 1.1 EGRESS (comment)\r\n", "Via: HTTP/1.1 egress\r\n", "Via: 1.1 a\r\nVIA: 1.1\tegress\r\n"} {
		got := r.refusedOnce(t, r.request("GET", "/", via, ""), 502, "loop")
		if status := got.Header.Get("Proxy-Status"); !strings.Contains(status, "error=proxy_loop_detected") {
			t.Errorf("Proxy-Status: %s", status)
		}
		r.refusedOnce(t, "CONNECT "+r.host+" HTTP/1.1\r\n"+auth("billing")+via+"\r\n", 502, "loop")
	}
	if n := r.origin.accepted.Load() + r.lookups.Load(); n != 0 {
		t.Errorf("%d lookups and connections", n)
	}
	r.forwarded(r.request("GET", "/", "Via: 1.1 egress-of-another, 1.1 regress\r\n", ""))
}

func TestCredentialForTheProxyStaysHere(t *testing.T) {
	r := newPlainRig(t, serveOK)
	secret := base64.StdEncoding.EncodeToString([]byte("billing:billing"))
	for _, row := range []struct {
		why, fields string
		status      int
	}{
		{"as everyone writes it", "Proxy-Authorization: Basic " + secret + "\r\n", 200},
		{"in odd case", "pRoXy-AuThOrIzAtIoN: bAsIc " + secret + "\r\n", 200},
		{"named in Connection", "Connection: Proxy-Authorization\r\nProxy-Authorization: Basic " + secret + "\r\n", 200},
		{"with two spaces", "Proxy-Authorization: Basic  " + secret + "\r\n", 200},
		{"with white space around", "Proxy-Authorization:\t  Basic " + secret + " \t\r\n", 200},
		{"twice", "Proxy-Authorization: Basic " + secret + "\r\nProxy-Authorization: Basic " + secret + "\r\n", 407},
		{"twice, the second empty", "Proxy-Authorization: Basic " + secret + "\r\nproxy-authorization:\r\n", 407},
		{"with a tab", "Proxy-Authorization: Basic\t" + secret + "\r\n", 407},
		{"with another scheme", "Proxy-Authorization: Bearer " + secret + "\r\n", 407},
		{"empty", "Proxy-Authorization:\r\n", 407},
		{"as the origin's", "Authorization: Basic " + secret + "x\r\n", 407},
	} {
		t.Run(row.why, func(t *testing.T) {
			raw := "GET http://" + r.host + "/ HTTP/1.1\r\nHost: a\r\n" + row.fields + "\r\n"
			if row.status == 200 {
				r.forwarded(raw)
				return
			}
			got := r.ask(raw)
			if got.StatusCode != row.status {
				t.Errorf("answered %s", got.Status)
			}
			if strings.Contains(fmt.Sprint(got.Header, got.body), secret) {
				t.Error("the reply shows the credential")
			}
		})
	}
	for where, text := range map[string]string{"the origin": r.origin.text(), "a record or metric": r.everything()} {
		if strings.Contains(text, secret) || strings.Contains(strings.ToLower(text), "proxy-auth") {
			t.Errorf("%s shows the credential: %s", where, text)
		}
	}
}

// Where the rule does not let bytes pass unread an upgrade is not passed on, nor where it
// would be one to requests that nobody judges. What follows it is judged as requests.
func TestUpgradeIsNotForwardedAndTheNextRequestIsJudged(t *testing.T) {
	for _, protocol := range []string{"websocket", "h2c", "H2C, websocket"} {
		r := newPlainRig(t, serveOK)
		if protocol == "websocket" {
			r.setPolicy([]function{{name: "billing", report: future, rules: []rule{
				{host: "allowed.test", ports: []uint16{r.origin.port}, addresses: loopback}}}})
		}
		upgrade := "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: " + protocol + "\r\nSec-WebSocket-Key: x\r\nHTTP2-Settings: AAMAAABk\r\n"
		_, br := r.send(r.request("GET", "/", upgrade, "") + strings.Replace(r.request("GET", "/", "", ""), "http://allowed.test", "http://evil.test", 1))
		if resp, _ := readOne(t, br); resp.StatusCode != 200 {
			t.Errorf("the upgrade is answered %s", resp.Status)
		}
		if got := readReply(t, br); got.reason() == "" || got.rest != "" {
			t.Errorf("the next request is answered %s, then %q", got.Status, got.rest)
		}
		if text := r.origin.text(); strings.Contains(text, "Upgrade") || r.origin.requests() != 1 {
			t.Errorf("the origin got %q", text)
		}
	}
}
