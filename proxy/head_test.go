package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/httphead"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// refusedOnce sends raw bytes and fails unless they are answered by one
// refusal of that status and reason, with one record of the same id, behind
// which the connection ends, or waits where that was a plain request.
func (r *rig) refusedOnce(t *testing.T, raw string, status int, reason string) reply {
	t.Helper()
	before := r.records.size()
	_, br := r.send(raw)
	resp, body := readOne(t, br)
	got := reply{Response: resp, body: body}
	if got.StatusCode != status || got.reason() != reason {
		t.Errorf("answered %q with reason %q, want %d %s", got.Status, got.reason(), status, reason)
	}
	switch plain := !strings.HasPrefix(raw, http.MethodConnect); {
	case got.Close:
		if rest, err := io.ReadAll(br); len(rest) != 0 || err != nil {
			t.Errorf("behind the refusal came %q, %v", rest, err)
		}
	case !plain:
		t.Fatal("the refusal does not say that the connection ends")
	case br.Buffered() > 0:
		t.Errorf("behind the refusal came %d bytes", br.Buffered())
	}
	records := r.records.after(t, before)
	if len(records) != 1 {
		t.Fatalf("%d records, want one: %v", len(records), records)
	}
	record := records[0]
	if record["reason"] != reason || record["verdict"] != "deny" {
		t.Errorf("the record says %v, %v", record["verdict"], record["reason"])
	}
	if id := got.Header.Get("X-Egress-Request-Id"); id == "" || record["id"] != id {
		t.Errorf("the reply has the id %q, the record %v", id, record["id"])
	}
	return got
}

// readOne reads one response of a connection that goes on.
func readOne(t testing.TB, br *bufio.Reader) (*http.Response, string) {
	t.Helper()
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatalf("reading the response: %v", err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("reading the response's body: %v", err)
	}
	return resp, string(body)
}

// readFinal reads the head of the final response to a request of the method, and how many
// interim ones came before it.
func readFinal(br *bufio.Reader, method string) (resp *http.Response, interim int, err error) {
	for {
		resp, err = http.ReadResponse(br, &http.Request{Method: method})
		if err != nil || resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, interim, err
		}
		interim++
	}
}

// malformedHeads are heads of which HOST stands for an allowed authority and
// AUTH for the field line of a credential that holds. Behind each stands a
// whole request that would be allowed.
var malformedHeads = []struct {
	why, raw string
	status   int
}{
	{"two spaces before the target", "GET  http://HOST/ HTTP/1.1\r\nHost: HOST\r\nAUTH\r\n", 400},
	{"two spaces before the version", "GET http://HOST/  HTTP/1.1\r\nHost: HOST\r\nAUTH\r\n", 400},
	{"a tab before the target", "GET\thttp://HOST/ HTTP/1.1\r\nHost: HOST\r\nAUTH\r\n", 400},
	{"a tab before the version", "GET http://HOST/\tHTTP/1.1\r\nHost: HOST\r\nAUTH\r\n", 400},
	{"a space before the method", " GET http://HOST/ HTTP/1.1\r\nHost: HOST\r\nAUTH\r\n", 400},
	{"a space behind the version", "GET http://HOST/ HTTP/1.1 \r\nHost: HOST\r\nAUTH\r\n", 400},
	{"a space in the target", "CONNECT HOST HOST HTTP/1.1\r\nHost: HOST\r\nAUTH\r\n", 400},
	{"no version", "GET http://HOST/\r\nHost: HOST\r\nAUTH\r\n", 400},
	{"no version and no field", "GET http://HOST/\r\n\r\n", 400},
	{"no target", "GET HTTP/1.1\r\nHost: HOST\r\nAUTH\r\n", 400},
	{"two empty lines first", "\r\n\r\nGET http://HOST/ HTTP/1.1\r\nHost: HOST\r\nAUTH\r\n", 400},
	{"an empty line of a bare LF first", "\nGET http://HOST/ HTTP/1.1\r\nHost: HOST\r\nAUTH\r\n", 400},
	{"a bare CR first", "\rGET http://HOST/ HTTP/1.1\r\nHost: HOST\r\nAUTH\r\n", 400},
	{"two CRs and an LF first", "\r\r\nGET http://HOST/ HTTP/1.1\r\nHost: HOST\r\nAUTH\r\n", 400},
	{"a line of a space first", " \r\nGET http://HOST/ HTTP/1.1\r\nHost: HOST\r\nAUTH\r\n", 400},
	{"an empty line and a space first", "\r\n GET http://HOST/ HTTP/1.1\r\nHost: HOST\r\nAUTH\r\n", 400},
	{"an empty line and a bare LF first", "\r\n\nGET http://HOST/ HTTP/1.1\r\nHost: HOST\r\nAUTH\r\n", 400},
	{"a method that is no token", "G(T http://HOST/ HTTP/1.1\r\nHost: HOST\r\nAUTH\r\n", 400},
	{"a version in small letters", "GET http://HOST/ http/1.1\r\nHost: HOST\r\nAUTH\r\n", 400},
	{"a version with a leading zero", "GET http://HOST/ HTTP/01.1\r\nHost: HOST\r\nAUTH\r\n", 400},
	{"a version without a minor", "GET http://HOST/ HTTP/1\r\nHost: HOST\r\nAUTH\r\n", 400},
	{"version 1.2", "GET http://HOST/ HTTP/1.2\r\nHost: HOST\r\nAUTH\r\n", 505},
	{"version 2.0", "GET http://HOST/ HTTP/2.0\r\nHost: HOST\r\nAUTH\r\n", 505},
	{"version 0.9", "GET http://HOST/ HTTP/0.9\r\nHost: HOST\r\nAUTH\r\n", 505},
	{"the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
	{"a bare LF behind the request line", "GET http://HOST/ HTTP/1.1\nHost: HOST\r\nAUTH\r\n", 400},
	{"a bare LF behind a field", "GET http://HOST/ HTTP/1.1\r\nHost: HOST\nX: y\r\nAUTH\r\n", 400},
	{"a bare CR in the request line", "GET http://HOST/\r HTTP/1.1\r\nHost: HOST\r\nAUTH\r\n", 400},
	{"a bare CR in a field", "GET http://HOST/ HTTP/1.1\r\nHost: HOST\r\nX: a\rb\r\nAUTH\r\n", 400},
	{"bare LFs alone", "GET http://HOST/ HTTP/1.1\nHost: HOST\n\n", 400},
	{"a folded Host", "GET http://HOST/ HTTP/1.1\r\nHost:\r\n HOST\r\nAUTH\r\n", 400},
	{"a folded Content-Length", "POST http://HOST/ HTTP/1.1\r\nHost: HOST\r\nContent-Length:\r\n 5\r\nAUTH\r\nhello", 400},
	{"a folded Transfer-Encoding", "POST http://HOST/ HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding:\r\n chunked\r\nAUTH\r\n0\r\n\r\n", 400},
	{"a NUL in a name", "GET http://HOST/ HTTP/1.1\r\nHost: HOST\r\nX\x00: y\r\nAUTH\r\n", 400},
	{"a NUL in a value", "GET http://HOST/ HTTP/1.1\r\nHost: HOST\r\nX: \x00\r\nAUTH\r\n", 400},
	{"an escape character in a value", "GET http://HOST/ HTTP/1.1\r\nHost: HOST\r\nX: \x1b[2J\r\nAUTH\r\n", 400},
	{"a DEL in a value", "GET http://HOST/ HTTP/1.1\r\nHost: HOST\r\nX: \x7f\r\nAUTH\r\n", 400},
	{"an empty name", "GET http://HOST/ HTTP/1.1\r\nHost: HOST\r\n: y\r\nAUTH\r\n", 400},
	{"no colon", "GET http://HOST/ HTTP/1.1\r\nHost: HOST\r\nX y\r\nAUTH\r\n", 400},
	{"a space before the first field", "GET http://HOST/ HTTP/1.1\r\n Host: HOST\r\nAUTH\r\n", 400},
	{"a space before the colon of Transfer-Encoding", "POST http://HOST/ HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding : chunked\r\nAUTH\r\n0\r\n\r\n", 400},
	{"a space before the colon of Content-Length", "POST http://HOST/ HTTP/1.1\r\nHost: HOST\r\nContent-Length : 5\r\nAUTH\r\nhello", 400},
	{"a tab before a colon", "GET http://HOST/ HTTP/1.1\r\nHost\t: HOST\r\nAUTH\r\n", 400},
	{"both lengths", "POST http://HOST/ HTTP/1.1\r\nHost: HOST\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nAUTH\r\n0\r\n\r\n", 400},
	{"both lengths, the other way", "POST http://HOST/ HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\nAUTH\r\n0\r\n\r\n", 400},
	{"both lengths on a CONNECT", "CONNECT HOST HTTP/1.1\r\nHost: HOST\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nAUTH\r\n0\r\n\r\n", 400},
	{"chunked in HTTP/1.0", "POST http://HOST/ HTTP/1.0\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\nAUTH\r\n0\r\n\r\n", 400},
	{"chunked in HTTP/1.0 that is to be kept", "POST http://HOST/ HTTP/1.0\r\nHost: HOST\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\nAUTH\r\n0\r\n\r\n", 400},
	{"two Transfer-Encodings", "POST http://HOST/ HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\nAUTH\r\n0\r\n\r\n", 400},
	{"two equal Content-Lengths", "POST http://HOST/ HTTP/1.1\r\nHost: HOST\r\nContent-Length: 5\r\nContent-Length: 5\r\nAUTH\r\nhello", 400},
	{"a field that net/http refuses", "POST http://HOST/ HTTP/1.1\r\nHost: HOST\r\nTrailer: Content-Length\r\nTransfer-Encoding: chunked\r\nAUTH\r\n0\r\n\r\n", 400},
}

// badCodings are values of Transfer-Encoding other than chunked.
var badCodings = []string{
	" xchunked", " identity", " chunked, identity", " identity, chunked", " chunked, chunked", ` "chunked"`,
	" chunked;q=1", "", " ", " chunked,", " , chunked", " chunked ", " chunked\t", "\tchunked", "  chunked", " gzip, chunked",
}

// badLengths are values of Content-Length that parsers read differently.
var badLengths = []string{
	"", " ", " +5", " -1", " 0x5", " 5,5", " 5, 5", " 5,6", " 5 5", " 5\v", " 5\xa0", " 05", " 1_0", " 5.0", " five",
	" 18446744073709551616", " 9223372036854775808",
}

func TestMalformedHeadIsRefusedWithWhatFollowsIt(t *testing.T) {
	r := newTargetRig(t)
	try := func(why, raw string, status int) {
		t.Run(why, func(t *testing.T) {
			raw += "GET http://HOST/smuggled HTTP/1.1\r\nHost: HOST\r\nAUTH\r\n"
			got := r.refusedOnce(t, strings.NewReplacer("HOST", r.allowed, "AUTH", auth("billing")).Replace(raw), status, "bad_request")
			for _, echo := range []string{"allowed.test", "chunked", "Content-Length", "billing", "token", "field"} {
				if strings.Contains(got.body, echo) {
					t.Errorf("the body tells %q of the head: %q", echo, got.body)
				}
			}
		})
	}
	for _, row := range malformedHeads {
		try(row.why, row.raw, row.status)
	}
	for _, v := range badCodings {
		try(fmt.Sprintf("Transfer-Encoding:%q", v), "POST http://HOST/ HTTP/1.1\r\nHost: HOST\r\nAUTHTransfer-Encoding:"+v+"\r\n\r\n0\r\n\r\n", 501)
	}
	try("Transfer-Encoding: chunked and a vertical tab", "POST http://HOST/ HTTP/1.1\r\nHost: HOST\r\nAUTHTransfer-Encoding: chunked\v\r\n\r\n0\r\n\r\n", 400)
	for _, v := range badLengths {
		try(fmt.Sprintf("Content-Length:%q", v), "POST http://HOST/ HTTP/1.1\r\nHost: HOST\r\nAUTHContent-Length:"+v+"\r\n\r\nhello", 400)
	}
	r.untouched()
}

func TestMethodThatIsNotForwardedIsRefused(t *testing.T) {
	r := newTargetRig(t)
	for _, method := range []string{"TRACE", "FOO", "connect", "Connect", "get", "PROPFIND", "CONNECT-UDP"} {
		for _, target := range []string{r.allowed, "http://" + r.allowed + "/"} {
			got := r.refusedOnce(t, method+" "+target+" HTTP/1.1\r\nHost: allowed.test\r\n"+auth("billing")+"\r\n", 405, "method_not_allowed")
			if allow := got.Header.Get("Allow"); !strings.Contains(allow, "CONNECT") || !strings.Contains(allow, "GET") || strings.Contains(allow, "TRACE") {
				t.Errorf("Allow: %q", allow)
			}
		}
	}
	r.untouched()
}

func TestOversizedHeadIsRefused(t *testing.T) {
	r := newTargetRig(t)
	begin := "GET http://" + r.allowed + "/ HTTP/1.1\r\nHost: allowed.test\r\n" + auth("billing")
	for _, row := range []struct{ why, raw string }{
		{"a target of 64 KiB", "GET http://" + strings.Repeat("a", 64<<10) + "/ HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"a CONNECT of 64 KiB", connectAs("billing", strings.Repeat("a", 64<<10)+":443")},
		{"a field line of 1 MB", begin + "X: " + strings.Repeat("x", 1000000) + "\r\n\r\n"},
		{"a list of 1 MB", begin + "X-Forwarded-For: " + strings.Repeat("10.0.0.1, ", 100000) + "\r\n\r\n"},
		{"10,000 fields", begin + strings.Repeat("A: b\r\n", 10000) + "\r\n"},
		{"5,000 tiny fields", begin + strings.Repeat("a:\r\n", 5000) + "\r\n"},
		{"100 cookies of 4 KiB", begin + strings.Repeat("Cookie: c="+strings.Repeat("x", 4<<10)+"\r\n", 100) + "\r\n"},
		{"a secret of 1 MB", "CONNECT " + r.allowed + " HTTP/1.1\r\nProxy-Authorization: Basic " + strings.Repeat("QUFB", 250000) + "\r\n\r\n"},
		{"no end", begin + "X: " + strings.Repeat("x", 16<<10)},
	} {
		t.Run(row.why, func(t *testing.T) { r.refusedOnce(t, row.raw, 431, "bad_request") })
	}
	r.untouched()
}

func TestOversizedHeadCostsBoundedMemory(t *testing.T) {
	r := newTargetRig(t)
	raw := []byte("GET http://" + r.allowed + "/ HTTP/1.1\r\nX: " + strings.Repeat("x", 900000) + "\r\n\r\n")
	c := r.dial()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := c.Write(raw); err != nil {
		t.Fatal(err)
	}
	got := readReply(t, bufio.NewReader(c))
	runtime.ReadMemStats(&after)
	if got.StatusCode != 431 {
		t.Errorf("answered %s", got.Status)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 256<<10 {
		t.Errorf("%d bytes were allocated for a head over the limit of 16 KiB", grown)
	}
}

func TestHeadLimitIsTheConfiguredOne(t *testing.T) {
	r := newRig(t, rigOptions{functions: []function{{name: "billing"}}, limits: proxy.Limits{HeaderBytes: 1024}})
	head := func(size int) string {
		raw := "CONNECT evil.test:443 HTTP/1.1\r\n" + auth("billing") + "X: "
		return raw + strings.Repeat("x", size-len(raw)-4) + "\r\n\r\n"
	}
	r.refusedOnce(t, head(1024), 403, "host_not_allowed")
	r.refusedOnce(t, head(1025), 431, "bad_request")
}

func TestHeadThatComesByteByByteIsReadWhole(t *testing.T) {
	r := newTargetRig(t)
	c := r.dial()
	for _, b := range []byte(absoluteAs("billing", r.allowed)) {
		if _, err := c.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	if resp, body := readOne(t, bufio.NewReader(c)); resp.StatusCode != 200 || body != "ok" {
		t.Errorf("answered %s %q", resp.Status, body)
	}
}

// A client that speaks something else gets its answer without having to send
// the end of a head.
func TestWhatCannotBecomeAHeadIsRefusedAtOnce(t *testing.T) {
	r := newTargetRig(t)
	for _, raw := range []string{
		"\x16\x03\x01\x02\x00\x01\x00", "\x00", "GET http://x/\r\n", "GET / HTTP/1.1\n", "SSH-2.0-x\r\n", "EHLO x\r\n", "[1]", "\n",
	} {
		r.refusedOnce(t, raw, 400, "bad_request")
	}
	r.untouched()
}

// One empty line before a request line is ignored (RFC 9112, section 2.2): clients have
// sent it behind content. White space around a field's value belongs to nobody (RFC 9112,
// section 5.1), and a credential's scheme may have more than one space behind it (RFC
// 9110, section 11.4). The origin gets the same as without.
func TestWhatEveryParserIgnoresIsIgnored(t *testing.T) {
	const head, field = "GET http://HOST/x HTTP/1.1\r\n", "Host: HOST\r\n"
	for _, listener := range []string{"loop", "goroutines"} {
		t.Run(listener, func(t *testing.T) {
			r := newPlainRig(t, serveOK)
			if listener == "goroutines" {
				defer r.serveByGoroutines()()
			}
			basic := strings.TrimSuffix(strings.TrimPrefix(auth("billing"), "Proxy-Authorization: Basic "), "\r\n")
			for _, raw := range []string{
				"\r\n" + head + field + "AUTH\r\n",
				head + "Host:HOST\r\nAUTH\r\n", head + "Host:   HOST\r\nAUTH\r\n", head + "Host:\tHOST \t \r\nAUTH\r\n",
				head + field + "Proxy-Authorization:Basic BASIC\r\n\r\n", head + field + "Proxy-Authorization: \tBasic    BASIC\t \r\n\r\n",
			} {
				got := r.forwarded(strings.NewReplacer("HOST", r.host, "AUTH", auth("billing"), "BASIC", basic).Replace(raw))
				if got.Host != r.host || got.RequestURI != "/x" || len(got.Header) != 1 {
					t.Errorf("of %q the origin got %s for %s, %v", raw, got.RequestURI, got.Host, got.Header)
				}
			}
			_, br := r.send(fmt.Sprintf("\r\nCONNECT %s HTTP/1.1\r\nHost:  x\r\nProxy-Authorization: Basic   %s \r\n\r\n", r.host, basic))
			wantEstablished(t, br)
		})
	}
}

// Behind each request of a connection, and in pieces.
func TestEmptyLineBehindContentIsIgnored(t *testing.T) {
	r := newPlainRig(t, serveOK)
	post := r.request("POST", "/", "Content-Length: 2\r\n", "aa") + "\r\n"
	c, br := r.send(strings.Repeat(post, 3))
	for i := range 6 {
		if i > 2 {
			for _, piece := range []string{post[:len(post)-1], post[len(post)-1:]} {
				if _, err := io.WriteString(c, piece); err != nil {
					t.Fatal(err)
				}
			}
		}
		if resp, body := readOne(t, br); resp.StatusCode != 200 || body != "ok" {
			t.Fatalf("request %d is answered %s", i, resp.Status)
		}
	}
	_ = c.CloseWrite()
	wantEnd(t, br)
	if n := len(r.of("refused")); n != 0 || r.origin.requests() != 6 {
		t.Errorf("%d refused, %d at the origin", n, r.origin.requests())
	}
}

// White space around a length is no part of it either, and the origin does not get it: it
// need not be as sure of that.
func TestContentLengthGoesOnWithoutTheWhiteSpaceAroundIt(t *testing.T) {
	r := newPlainRig(t, serveOK)
	for _, value := range []string{"5", "  5", " 5 ", "\t5", " 5\t \t"} {
		before := len(r.origin.text())
		if got := r.forwarded(r.request("POST", "/", "content-LENGTH:"+value+"\r\nX: y\r\n", "hello")); got.ContentLength != 5 || got.Header.Get("X") != "y" {
			t.Errorf("%q: the origin got %v", value, got.Header)
		}
		sent := r.origin.text()[before:]
		if !strings.Contains(strings.ToLower(sent), "\r\ncontent-length: 5\r\n") {
			t.Errorf("%q: the origin got %q", value, sent)
		}
		h, err := httphead.Parse("POST http://x/ HTTP/1.1\r\nX: y\r\ncontent-LENGTH:" + value + "\r\nContent-Length-Not:  5 \r\n\r\n")
		want := "POST http://x/ HTTP/1.1\r\nX: y\r\ncontent-LENGTH: 5\r\nContent-Length-Not:  5 \r\n\r\n"
		if value == "5" {
			want = strings.Replace(want, ": 5\r", ":5\r", 1) // no white space is none too much
		}
		if err != nil || h.Raw != want {
			t.Errorf("%q: the head that goes on is %q, %v", value, h.Raw, err)
		}
	}
}
