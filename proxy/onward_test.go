package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// What the origin gets of a request is what came, but for the fields of one hop and Via.
func TestRequestGoesOnByteForByte(t *testing.T) {
	r := newPlainRig(t, serveOK)
	host := "Host: " + r.host + "\r\n"
	for _, row := range []struct{ why, sent, want string }{
		{
			"order, spelling, values and white space",
			"GET http://HOST/ HTTP/1.1\r\nx-B:  two  \r\nHOST: HOST\r\nX-a:one\r\nX-B:\r\nCookie: a=b; c=d\r\nAccept: \t*/*\r\ncookie: e=\xe9\r\nAUTH\r\n",
			"GET / HTTP/1.1\r\nx-B:  two  \r\nHOST: HOST\r\nX-a:one\r\nX-B:\r\nCookie: a=b; c=d\r\nAccept: \t*/*\r\ncookie: e=\xe9\r\nVia: 1.1 egress\r\n\r\n",
		},
		{"nothing is added", "GET http://HOST/ HTTP/1.1\r\nAUTHHost: HOST\r\n\r\n", "GET / HTTP/1.1\r\n" + host + "Via: 1.1 egress\r\n\r\n"},
		{"another Host, in its place", "GET http://HOST/ HTTP/1.1\r\nA: 1\r\nhost:evil.test\r\nB: 2\r\nAUTH\r\n", "GET / HTTP/1.1\r\nA: 1\r\nhost: HOST\r\nB: 2\r\nVia: 1.1 egress\r\n\r\n"},
		{"no Host in HTTP/1.0", "GET http://HOST/ HTTP/1.0\r\nA: 1\r\nAUTH\r\n", "GET / HTTP/1.1\r\n" + host + "A: 1\r\nVia: 1.0 egress\r\n\r\n"},
		{"a Host in capitals", "GET http://HOST/ HTTP/1.1\r\nHost: ALLOWED.test:PORT\r\nAUTH\r\n", "GET / HTTP/1.1\r\nHost: ALLOWED.test:PORT\r\nVia: 1.1 egress\r\n\r\n"},
		{"a target in capitals", "GET HTTP://ALLOWED.TEST:PORT/A HTTP/1.1\r\nHost: x\r\nAUTH\r\n", "GET /A HTTP/1.1\r\n" + host + "Via: 1.1 egress\r\n\r\n"},
		{
			"a length, and what Connection names", "POST http://HOST/ HTTP/1.1\r\nHost: HOST\r\nX-Hop: 1\r\ncontent-length: 5\r\nConnection: x-hop, close\r\nAUTH\r\nhello",
			"POST / HTTP/1.1\r\n" + host + "content-length: 5\r\nVia: 1.1 egress\r\n\r\nhello",
		},
		{
			"chunks, without their extensions", "PUT http://HOST/ HTTP/1.1\r\nHost: HOST\r\nAUTHtransfer-encoding:CHUNKED\r\nB: 1\r\n\r\n3;a=b\r\nhel\r\n02\r\nlo\r\n0;c\r\nX-T: 1\r\n\r\n",
			"PUT / HTTP/1.1\r\n" + host + "transfer-encoding: chunked\r\nB: 1\r\nVia: 1.1 egress\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
		},
		{"an empty length", "POST http://HOST/ HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0\r\nAUTH\r\n", "POST / HTTP/1.1\r\n" + host + "Content-Length: 0\r\nVia: 1.1 egress\r\n\r\n"},
		{"an expectation", "PUT http://HOST/ HTTP/1.1\r\nHost: HOST\r\nEXPECT:100-Continue\r\nContent-Length: 1\r\nAUTH\r\nx", "PUT / HTTP/1.1\r\n" + host + "EXPECT:100-Continue\r\nContent-Length: 1\r\nVia: 1.1 egress\r\n\r\nx"},
	} {
		t.Run(row.why, func(t *testing.T) {
			put := strings.NewReplacer("HOST:", "HOST:", "HOST", r.host, "AUTH", auth("billing"), "PORT", fmt.Sprint(r.origin.port))
			before := len(r.origin.text())
			_, br := r.send(put.Replace(row.sent))
			if resp, _ := readOne(t, br); resp.StatusCode != 200 {
				t.Fatalf("answered %s", resp.Status)
			}
			if got := r.origin.text()[before:]; got != put.Replace(row.want) {
				t.Errorf("the origin got\n%q, want\n%q", got, put.Replace(row.want))
			}
		})
	}
}

// headsAlone is an origin that answers each head, whatever is in it, and knows no content.
func headsAlone(c net.Conn) {
	br := bufio.NewReader(c)
	for {
		for line := ""; line != "\r\n"; {
			var err error
			if line, err = br.ReadString('\n'); err != nil {
				return
			}
		}
		if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"); err != nil {
			return
		}
	}
}

// Of a target no byte is another one at the origin: an escaped slash is none.
func TestPathGoesOnByteForByte(t *testing.T) {
	r := newPlainRig(t, headsAlone)
	for _, path := range []string{
		"/a%2Fb|c", "/%2e%2e%2fx/{id}", "/a%2fb/%7Euser/%20", "//x//y", "/a;b=c,d", "/?q=%2F|x", "/q?a=b?c", "/q?", "/a/../b/./c", "/a%3Fb^c",
		`/a%2Fb/"x"`, "/a%25b|c", "/100%", "/m%yA", "/q?x=%zz", "/%", "/%00", "/a`b<c>d", "/http://evil.test/", "/@evil.test:80", "/:80", "/a|b?{c}|%d",
	} {
		before := len(r.origin.text())
		_, br := r.send(r.request("GET", path, "", ""))
		if resp, _ := readOne(t, br); resp.StatusCode != 200 {
			t.Errorf("%s is answered %s", path, resp.Status)
		}
		if got := r.origin.text()[before:]; !strings.HasPrefix(got, "GET "+path+" HTTP/1.1\r\n") {
			t.Errorf("%s arrived as %q", path, got)
		}
	}
}

// A byte that a URL does not have is refused for what it is; the host is none of it.
func TestPathThatIsRefusedIsSaidToBeThePath(t *testing.T) {
	r := newTargetRig(t)
	for _, path := range []string{"/ä", "/docs/\u65e5\u672c.md", "/q?x=\xfc", "/a\\b", "/#f"} {
		got := r.refusedOnce(t, "GET http://"+r.allowed+path+" HTTP/1.1\r\nHost: x\r\n"+auth("billing")+"\r\n", 400, "bad_target")
		if !strings.Contains(got.body, "The path or query has a byte") || strings.Contains(got.body, "Write the host") {
			t.Errorf("%q: the body says %q", path, got.body)
		}
	}
	got := r.refusedOnce(t, "GET http://a_b:x/ä HTTP/1.1\r\nHost: x\r\n"+auth("billing")+"\r\n", 400, "bad_target")
	if strings.Contains(got.body, "path") {
		t.Errorf("of a host that is none the body says %q", got.body)
	}
	r.untouched()
}

// What the client gets of an answer is what came, but for the fields of one hop and Via.
func TestAnswerGoesOnByteForByte(t *testing.T) {
	for _, row := range []struct{ why, sent, want string }{
		{
			"order, spelling, values and white space",
			"HTTP/1.1 299 As you  like it\r\nx-B:  two  \r\nset-cookie: b\r\nX-a:one\r\nX-B:\r\ncontent-length:2\r\nSet-Cookie: a=\xe9\r\n\r\nok",
			"HTTP/1.1 299 As you  like it\r\nx-B:  two  \r\nset-cookie: b\r\nX-a:one\r\nX-B:\r\ncontent-length: 2\r\nSet-Cookie: a=\xe9\r\nVia: 1.1 egress\r\n\r\nok",
		},
		{
			"interim answers and trailers",
			"HTTP/1.1 103 Early\r\nlink: a\r\nLink: b\r\nConnection: X-A\r\nX-A: 1\r\n\r\nHTTP/1.1 102 \r\n\r\nHTTP/1.1 200 OK\r\nTrailer: x-t, Set-Cookie\r\ntransfer-encoding:chunked\r\nA: 1\r\n\r\n" +
				"2;x\r\nok\r\n000A\r\n0123456789\r\n0\r\nx-t:  1\r\nSet-Cookie: a\r\nContent-Length: 3\r\nX-Egress-Reason: x\r\nConnection: x\r\nX-T: 2\r\n\r\n",
			"HTTP/1.1 103 Early\r\nlink: a\r\nLink: b\r\nVia: 1.1 egress\r\n\r\nHTTP/1.1 102 \r\nVia: 1.1 egress\r\n\r\nHTTP/1.1 200 OK\r\nTrailer: x-t, Set-Cookie\r\ntransfer-encoding: chunked\r\nA: 1\r\nVia: 1.1 egress\r\n\r\n" +
				"2\r\nok\r\na\r\n0123456789\r\n0\r\nx-t:  1\r\nX-T: 2\r\n\r\n",
		},
		{"no phrase", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 \r\nContent-Length: 0\r\nVia: 1.1 egress\r\n\r\n"},
		{"HTTP/1.0", "HTTP/1.0 404 No\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nno", "HTTP/1.1 404 No\r\nContent-Length: 2\r\nVia: 1.0 egress\r\n\r\nno"},
		{"content that is encoded", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x00", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\nVia: 1.1 egress\r\n\r\n\x1f\x8b\x00"},
		{"two equal lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\ncontent-length: 2\r\n\r\nok", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nVia: 1.1 egress\r\n\r\nok"},
		{"an end by the connection", "HTTP/1.1 200 OK\r\nA: 1\r\n\r\nok", "HTTP/1.1 200 OK\r\nA: 1\r\nVia: 1.1 egress\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"},
	} {
		t.Run(row.why, func(t *testing.T) {
			r := newPlainRig(t, once(row.sent))
			c, br := r.send(r.request("GET", "/", "", ""))
			got := make([]byte, len(row.want))
			if _, err := io.ReadFull(br, got); err != nil || string(got) != row.want {
				t.Fatalf("the client got\n%q, %v, want\n%q", got, err, row.want)
			}
			_ = c.CloseWrite()
			if rest, _ := io.ReadAll(br); len(rest) > 0 {
				t.Errorf("behind it came %q", rest)
			}
		})
	}
}

// One address that drops what is sent to it costs a plain request no more than a CONNECT,
// and who comes after tries it last.
func TestDeadAddressIsRacedAndRemembered(t *testing.T) {
	port, _ := deafListener(t)
	for !free("127.0.0.2", port) {
		port, _ = deafListener(t)
	}
	good := newOriginAt(t, fmt.Sprintf("127.0.0.2:%d", port), serveOK)
	var deafAsked atomic.Int64 // how often the deaf address was considered
	r := newRig(t, rigOptions{
		functions: []function{{name: "billing", rules: []rule{{host: "allowed.test", ports: []uint16{port}, any: true, addresses: loopback}}}},
		// Had each its share of the time, the first would have more than the test.
		limits: proxy.Limits{DialTimeout: 4 * patience},
		options: func(opt *proxy.Options) {
			opt.Self = func(a netip.AddrPort) bool {
				if a.Addr() == netip.MustParseAddr("127.0.0.1") {
					deafAsked.Add(1)
				}
				return false
			}
		},
	})
	r.resolves("allowed.test", "127.0.0.1", "127.0.0.2")
	// A POST has a new connection each time.
	post := fmt.Sprintf("POST http://allowed.test:%d/ HTTP/1.1\r\nHost: x\r\n%sContent-Length: 0\r\n\r\n", port, auth("billing"))
	// An address is asked about once with all of them, and once at its dial. Which one a
	// request begins with is chance.
	sent, dials := int64(0), int64(0)
	ask := func() {
		_, br := r.send(post)
		if resp, _ := readOne(t, br); resp.StatusCode != 200 {
			t.Fatalf("answered %s", resp.Status)
		}
		sent++
		dials = deafAsked.Load() - sent
	}
	for dials == 0 && sent < 64 {
		ask()
	}
	for range 8 {
		ask()
	}
	if dials != 1 {
		t.Errorf("the dead address was dialed %d times for %d requests, want once", dials, sent)
	}
	if n := good.requests(); int64(n) != sent {
		t.Errorf("the good one got %d of %d requests", n, sent)
	}
}

// What an origin sends without having been asked belongs to nobody's request.
func TestAnswerThatComesUnaskedIsNotTheNextRequests(t *testing.T) {
	sent := make(chan struct{}, 9)
	r := newPlainRig(t, func(c net.Conn) {
		br := bufio.NewReader(c)
		for {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(req.URL.Path), req.URL.Path)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen")
			sent <- struct{}{}
		}
	})
	for _, path := range []string{"/one", "/two", "/three"} {
		if got := r.ask(r.request("GET", path, "Connection: close\r\n", "")); got.StatusCode != 200 || got.body != path || got.rest != "" {
			t.Errorf("%s is answered %q, then %q", path, got.body, got.rest)
		}
		<-sent
	}
}
