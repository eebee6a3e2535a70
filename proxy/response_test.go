package proxy_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
)

// once makes an origin that sends the bytes for the first request and closes.
func once(raw string) func(net.Conn) {
	return func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			_, _ = io.WriteString(c, raw)
		}
	}
}

func TestUnusableResponseIsRefused(t *testing.T) {
	for _, row := range []struct{ why, raw string }{
		{"nothing", ""},
		{"another protocol", "SSH-2.0-OpenSSH\r\n"},
		{"half a status line", "HTTP/1.1 20"},
		{"half a head", "HTTP/1.1 200 OK\r\nContent-Le"},
		{"a status of two digits", "HTTP/1.1 99 No\r\nContent-Length: 0\r\n\r\n"},
		{"a status below 100", "HTTP/1.1 099 No\r\nContent-Length: 5\r\n\r\nhello"},
		{"a length and chunks", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"},
		{"chunks and a length", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 15\r\n\r\n5\r\nhello\r\n0\r\n\r\n"},
		{"chunks of HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"},
		{"a coding of HTTP/1.0 that says nothing", "HTTP/1.0 200 OK\r\nTransfer-Encoding: identity\r\n\r\nhello"},
		{"a list of equal lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello"},
		{"an octal length", "HTTP/1.1 200 OK\r\nContent-Length: 05\r\n\r\nhello"},
		{"an empty length", "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nhello"},
		{"a length over 64 bits", "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551621\r\n\r\nhello"},
		{"no length beside a HEAD's", "HTTP/1.1 304 Not Modified\r\nContent-Length: x\r\n\r\n"},
		{"chunked and identity", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n5\r\nhello\r\n0\r\n\r\n"},
		{"a space before a colon", "HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"},
		{"a folded field", "HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"},
		{"bare line feeds", "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello"},
		{"a NUL in a field", "HTTP/1.1 200 OK\r\nX: \x00\r\nContent-Length: 5\r\n\r\nhello"},
		{"a name that is none", "HTTP/1.1 200 OK\r\nX Y: z\r\nContent-Length: 5\r\n\r\nhello"},
		{"HTTP/2", "HTTP/2 200 OK\r\nContent-Length: 5\r\n\r\nhello"},
		{"HTTP/1.2", "HTTP/1.2 200 OK\r\nContent-Length: 5\r\n\r\nhello"},
		{"no head for 64 KiB", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 64<<10)},
		{"no head for 64 KiB and no line either", strings.Repeat("x", 64<<10)},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"},
		{"a negative length", "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello"},
		{"a signed length", "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello"},
		{"an unknown coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"},
		{"two codings", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		{"a bare CR in a field", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: a\rSet-Cookie: b\r\n\r\n"},
		{"a folded status line", "HTTP/1.1 200\rOK\r\nContent-Length: 0\r\n\r\n"},
		{"a header line of 1 MB", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1000000) + "\r\n\r\n"},
		{"100,000 header lines", "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 100000) + "\r\n"},
		{"interim responses without end", strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 10000)},
		{"large interim responses", strings.Repeat("HTTP/1.1 103 Early Hints\r\nX: "+strings.Repeat("x", 20000)+"\r\n\r\n", 5)},
		{"an upgrade", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nraw"},
		{"a challenge that would pass for ours", "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"egress\"\r\nContent-Length: 0\r\n\r\n"},
	} {
		t.Run(row.why, func(t *testing.T) {
			r := newPlainRig(t, once(row.raw))
			for _, method := range []string{"GET", "HEAD", "POST"} {
				body := ""
				if method == "POST" {
					body = "Content-Length: 0\r\n"
				}
				_, br := r.send(r.request(method, "/", body, ""))
				got, _, err := readFinal(br, method)
				if err != nil {
					t.Fatal(err)
				}
				if got.StatusCode != 502 || got.Header.Get("X-Egress-Reason") != "origin_failed" || !got.Close {
					t.Errorf("%s is answered %s %v", method, got.Status, got.Header)
				}
				if got.Header.Get("Proxy-Authenticate") != "" || got.Header.Get("Upgrade") != "" {
					t.Errorf("the origin's fields came through: %v", got.Header)
				}
			}
			if opened, refused := r.of("opened"), r.of("refused"); len(opened) != 3 || len(refused) != 3 || refused[0]["id"] != opened[0]["id"] {
				t.Errorf("%d opened, %d refused", len(opened), len(refused))
			}
		})
	}
}

func TestResponseArrivesWithOneFraming(t *testing.T) {
	for _, row := range []struct {
		why, method, raw, body string
		length                 int64
		coding                 string
	}{
		{"Content-Length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello", 5, "[]"},
		{"equal Content-Lengths", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "hello", 5, "[]"},
		{"chunks", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nX-T: trailing\r\n\r\n", "hello", -1, "[chunked]"},
		{"a coding that says nothing", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello", "hello", 5, "[]"},
		{"a coding that says nothing, alone", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nhello", "hello", -1, "[chunked]"},
		{"chunks in capitals", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "hello", -1, "[chunked]"},
		{"no phrase", "GET", "HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello", "hello", 5, "[]"},
		{"bytes behind the length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n\r\n", "hello", 5, "[]"},
		{"bytes behind the last chunk", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "hello", -1, "[chunked]"},
		{"bytes behind a head", "GET", "HTTP/1.1 304 Not Modified\r\n\r\nhello", "", 0, "[]"},
		{"chunks behind a 204", "GET", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "", 0, "[]"},
		{"the end of the connection", "GET", "HTTP/1.0 200 OK\r\n\r\nhello", "hello", -1, "[chunked]"},
		{"no body by status", "GET", "HTTP/1.1 204 No Content\r\n\r\n", "", 0, "[]"},
		{"no body by status, with a length", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", "", 0, "[]"},
		{"not modified", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "", 0, "[]"},
		{"HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "", 5, "[]"},
		{"HEAD of chunks", "HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "", -1, "[chunked]"},
		{"interim responses first", "GET", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok", 2, "[]"},
		{"an error", "GET", "HTTP/1.1 599 Strange\r\nContent-Length: 2\r\n\r\nno", "no", 2, "[]"},
	} {
		t.Run(row.why, func(t *testing.T) {
			// The next request shows that both sides agree on the end.
			r := newPlainRig(t, once(row.raw))
			_, br := r.send(r.request(row.method, "/", "", "") + strings.Replace(r.request("GET", "/", "", ""), "http://allowed.test", "http://evil.test", 1))
			resp, interim, err := readFinal(br, row.method)
			if err != nil {
				t.Fatal(err)
			}
			if want := strings.Count(row.raw, "HTTP/1.1 10"); interim != want {
				t.Errorf("%d interim responses came, want %d", interim, want)
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil || string(body) != row.body {
				t.Errorf("the body is %q, %v", body, err)
			}
			if resp.ContentLength != row.length || fmt.Sprint(resp.TransferEncoding) != row.coding {
				t.Errorf("Content-Length %d, Transfer-Encoding %q", resp.ContentLength, resp.TransferEncoding)
			}
			if resp.StatusCode == 204 && resp.Header.Get("Content-Length") != "" {
				t.Error("a 204 has a Content-Length")
			}
			if sent := strings.Contains(row.raw, "X-T: trailing"); (len(resp.Trailer) != 0) != sent || resp.Header.Get("X-T") != "" {
				t.Errorf("trailers: %v", resp.Trailer)
			}
			if got := readReply(t, br); got.StatusCode != 403 || got.rest != "" {
				t.Errorf("the next request is answered %s, then %q", got.Status, got.rest)
			}
		})
	}
}

func TestResponseThatBreaksOffDoesNotLookWhole(t *testing.T) {
	big := strings.Repeat("x", 100000)
	for _, row := range []struct{ why, raw string }{
		{"Content-Length", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"},
		{"Content-Length, later", "HTTP/1.1 200 OK\r\nContent-Length: 100001\r\n\r\n" + big},
		{"no last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"},
		{"half a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nhello"},
		{"half a chunk, later", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n186a0\r\n" + big + "\r\n10\r\nhello"},
		{"no end behind the last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"},
		{"a chunk with a bad size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nxyz\r\n\r\n0\r\n\r\n"},
		{"a chunk with a bad end", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n"},
	} {
		for _, version := range []string{"HTTP/1.1", "HTTP/1.0"} {
			t.Run(row.why+"/"+version, func(t *testing.T) {
				r := newPlainRig(t, once(row.raw))
				raw := strings.Replace(r.request("GET", "/", "", ""), "HTTP/1.1", version, 1)
				_, br := r.send(raw + r.request("GET", "/second", "", ""))
				resp, err := http.ReadResponse(br, nil)
				if errors.Is(err, syscall.ECONNRESET) {
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if got, err := io.ReadAll(resp.Body); err == nil {
					t.Errorf("%d bytes came as a whole response", len(got))
				}
				eventually(t, "a closed record", func() bool { return len(r.of("closed")) == 1 })
				if closed := r.of("closed")[0]; closed["ended"] != "error" {
					t.Errorf("the record says %v", closed["ended"])
				}
				if n := r.origin.requests(); n != 1 {
					t.Errorf("the origin got %d requests", n)
				}
			})
		}
	}
}

// Over TLS an orderly end would be the close_notify.
func TestResponseThatBreaksOffDoesNotLookWholeOverTLS(t *testing.T) {
	listener := httptest.NewUnstartedServer(nil)
	listener.StartTLS()
	config := &tls.Config{Certificates: listener.TLS.Certificates, NextProtos: []string{"http/1.1"}}
	listener.Close()
	for _, row := range []struct {
		raw   string
		whole bool
	}{
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", true},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", false},
	} {
		o := newOrigin(t, once(row.raw))
		r := newRig(t, rigOptions{tls: config, functions: []function{{name: "billing", rules: []rule{
			{host: "allowed.test", ports: []uint16{o.port}, any: true, addresses: loopback}}}}})
		r.resolves("allowed.test", "127.0.0.1")
		c := tls.Client(r.dial(), &tls.Config{InsecureSkipVerify: true})
		fmt.Fprintf(c, "GET http://allowed.test:%d/ HTTP/1.0\r\n%s\r\n", o.port, auth("billing"))
		got, err := io.ReadAll(c)
		if row.whole && (err != nil || !strings.HasSuffix(string(got), "\r\n\r\nhello")) {
			t.Errorf("a whole response came as %q, %v", got, err)
		}
		if !row.whole && err == nil {
			t.Errorf("a response that broke off came as a whole one: %q", got)
		}
		c.Close()
	}
}

func TestClientOfHTTP10GetsItsBodyByTheEndOfTheConnection(t *testing.T) {
	r := newPlainRig(t, answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"))
	_, br := r.send("GET http://" + r.host + "/ HTTP/1.0\r\nConnection: keep-alive\r\n" + auth("billing") + "\r\n")
	raw, err := io.ReadAll(br)
	if err != nil {
		t.Fatal(err)
	}
	head, body, _ := strings.Cut(string(raw), "\r\n\r\n")
	if body != "hello" || strings.Contains(head, "Transfer-Encoding") || !strings.Contains(head, "Connection: close") {
		t.Errorf("got %q", raw)
	}
}

func TestConnectionOfAnHTTP10ClientIsKeptOnRequest(t *testing.T) {
	r := newPlainRig(t, serveOK)
	raw := "GET http://" + r.host + "/ HTTP/1.0\r\n" + auth("billing")
	_, br := r.send(raw + "Connection: Keep-Alive\r\n\r\n" + raw + "\r\n" + raw + "\r\n")
	if resp, body := readOne(t, br); body != "ok" || resp.Header.Get("Connection") != "keep-alive" {
		t.Errorf("the first is answered %q, %v", body, resp.Header)
	}
	if got := readReply(t, br); got.body != "ok" || !got.Close || got.rest != "" {
		t.Errorf("the second is answered %q, close %v, then %q", got.body, got.Close, got.rest)
	}
}

// Where Connection has the option close net/http drops the field before anyone
// sees what else it names, so that is not tried here.
func TestFieldsOfTheResponseThatAreNotTheOriginsToSetAreGone(t *testing.T) {
	r := newPlainRig(t, answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-A, Content-Length, Set-Cookie\r\nX-A: 1\r\n"+
		"Keep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nProxy-Status: egress; error=x\r\nProxy-Authentication-Info: x\r\nUpgrade: h2c\r\nTrailer: X\r\n"+
		"x-egress-reason: host_not_allowed\r\nX-Egress-Request-Id: 1\r\nX-B: 2\r\nWWW-Authenticate: Basic\r\nVia: 1.1 cdn\r\nSet-Cookie: a=b\r\n\r\nok"))
	_, br := r.send(r.request("GET", "/", "", ""))
	resp, body := readOne(t, br)
	if body != "ok" || resp.Close {
		t.Errorf("got %q, close %v", body, resp.Close)
	}
	for _, gone := range []string{"Connection", "X-A", "Keep-Alive", "Proxy-Authenticate", "Proxy-Status", "Proxy-Authentication-Info",
		"Upgrade", "Trailer", "X-Egress-Reason", "X-Egress-Request-Id", "Set-Cookie"} {
		if v, ok := resp.Header[gone]; ok {
			t.Errorf("%s came through: %q", gone, v)
		}
	}
	for name, want := range map[string]string{"X-B": "[2]", "Www-Authenticate": "[Basic]", "Via": "[1.1 cdn 1.1 egress]"} {
		if got := fmt.Sprint(resp.Header[name]); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}

func TestContentIsNotDecoded(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write(make([]byte, 1<<20))
	z.Close()
	r := newPlainRig(t, answer(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", packed.Len(), packed.String())))
	got := r.ask(r.request("GET", "/", "Connection: close\r\n", ""))
	if got.body != packed.String() || got.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("%d bytes came, encoded as %q; %d were sent", len(got.body), got.Header.Get("Content-Encoding"), packed.Len())
	}
	if strings.Contains(r.origin.text(), "Accept-Encoding") {
		t.Error("the proxy asked for an encoding")
	}
}

// A client that reads an event must not have to wait for the next one.
func TestResponseIsNotHeldBack(t *testing.T) {
	for _, row := range []struct{ head, first, last string }{
		{"Content-Length: 10\r\n", "first", "last!"},
		{"Transfer-Encoding: chunked\r\n", "5\r\nfirst\r\n", "5\r\nlast!\r\n0\r\n\r\n"},
		{"Content-Type: text/event-stream\r\nConnection: close\r\n", "first", "last!"},
	} {
		step := make(chan struct{})
		r := newPlainRig(t, func(c net.Conn) {
			if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n"+row.head+"\r\n")
			if !strings.Contains(row.head, "Length") {
				<-step // until the client has the head
			}
			_, _ = io.WriteString(c, row.first)
			<-step // until it has the first part
			_, _ = io.WriteString(c, row.last)
		})
		_, br := r.send(r.request("GET", "/", "", ""))
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp.ContentLength < 0 {
			step <- struct{}{}
		}
		var part [5]byte
		if _, err := io.ReadFull(resp.Body, part[:]); err != nil || string(part[:]) != "first" {
			t.Fatalf("first came %q, %v", part, err)
		}
		step <- struct{}{}
		if _, err := io.ReadFull(resp.Body, part[:]); err != nil || string(part[:]) != "last!" {
			t.Fatalf("then came %q, %v", part, err)
		}
	}
}
