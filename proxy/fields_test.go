package proxy_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// manyFields returns n fields of a few letters.
func manyFields(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%c%c:\r\n", 'a'+i/26%26, 'a'+i%26)
	}
	return b.String()
}

// most is how many fields a head may have.
const most = 128

func TestRequestHeadOfManyFieldsIsRefused(t *testing.T) {
	r := newPlainRig(t, serveOK)
	const own = 2 // Host and Proxy-Authorization
	for _, row := range []struct {
		name, raw string
		status    int
	}{
		{"plain, as many as may be", r.request("GET", "/", manyFields(most-own), ""), 200},
		{"plain", r.request("GET", "/", manyFields(most-own+1), ""), 431},
		{"plain, thousands", r.request("GET", "/", manyFields(2600), ""), 431},
		{"plain, without a token", "GET http://" + r.host + "/ HTTP/1.1\r\nHost: a\r\n" + manyFields(2600) + "\r\n", 431},
		{"CONNECT", "CONNECT " + r.host + " HTTP/1.1\r\n" + auth("billing") + manyFields(most) + "\r\n", 431},
		{"CONNECT, as many as may be", "CONNECT " + r.host + " HTTP/1.1\r\n" + auth("billing") + manyFields(most-1) + "\r\n", 200},
	} {
		_, br := r.send(row.raw)
		method, _, _ := strings.Cut(row.raw, " ")
		resp, err := http.ReadResponse(br, &http.Request{Method: method})
		if err != nil || resp.StatusCode != row.status {
			t.Fatalf("%s: answered %v, %v, want %d", row.name, resp, err, row.status)
		}
		if got := resp.Header.Get("X-Egress-Reason"); row.status == 431 && got != "bad_request" {
			t.Errorf("%s: reason %q", row.name, got)
		}
	}
}

// The second request of a connection shows another token; its head is bounded too.
func TestSecondHeadOfManyFieldsOfAConnectionIsRefused(t *testing.T) {
	r := twoFunctions(t, serveOK)
	_, br := r.send(r.by("billing", "GET", "/", "", "") + r.by("other", "GET", "/", manyFields(2600), ""))
	if resp, _ := readOne(t, br); resp.StatusCode != 200 {
		t.Errorf("the first is answered %s", resp.Status)
	}
	if resp, _ := readOne(t, br); resp.StatusCode != 431 {
		t.Errorf("the second is answered %s", resp.Status)
	}
}

func TestAnswerHeadOfManyFieldsIsRefused(t *testing.T) {
	const ok, end = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", "\r\nok"
	lines := strings.Repeat("x\n", 2000)
	for _, row := range []struct {
		name, answer string
		status       int
	}{
		{"as many as may be", ok + manyFields(most-1) + end, 200},
		{"one more", ok + manyFields(most) + end, 502},
		{"thousands", ok + manyFields(3000) + end, 502},
		{"thousands, and then silence", ok + manyFields(3000), 502},
		{"bare line feeds", strings.ReplaceAll(ok+manyFields(most)+end, "\r\n", "\n"), 502},
		{"folded lines", ok + "A: b\r\n" + strings.Repeat(" c\r\n", most) + end, 502},
		{"in interim answers", "HTTP/1.1 103 Early Hints\r\n" + manyFields(most) + "\r\n" + ok + manyFields(most) + end, 502},
		{"an interim answer", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + ok + end, 200},
		{"many lines of content", fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(lines), lines), 200},
		{"many lines of content, chunked", fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(lines), lines), 200},
		{"as many bytes as may be", ok + "A: " + strings.Repeat("a", 15<<10) + "\r\n" + end, 200},
		{"more bytes than a request's may have", ok + strings.Repeat("A: "+strings.Repeat("a", 1<<10)+"\r\n", 17) + end, 502},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r := newPlainRig(t, answer(row.answer))
			for range 2 { // the second is on the connection of the first, where that is kept
				got := r.ask(r.request("GET", "/", "Connection: close\r\n", ""))
				if got.StatusCode != row.status {
					t.Errorf("answered %s, want %d", got.Status, row.status)
				}
				if row.status == 502 && got.reason() != "origin_failed" {
					t.Errorf("reason %q", got.reason())
				}
			}
		})
	}
}

// A head can come one byte at a time, and an origin that stops in the middle of
// one holds no more than its bound.
func TestAnswerHeadOfManyFieldsIsRefusedHoweverItIsSplit(t *testing.T) {
	r := newPlainRig(t, func(c net.Conn) {
		_, _ = io.ReadAtLeast(c, make([]byte, 4096), 1)
		for _, b := range []byte("HTTP/1.1 200 OK\r\n" + manyFields(most+1)) {
			if _, err := c.Write([]byte{b}); err != nil {
				return
			}
		}
		_, _ = io.Copy(io.Discard, c)
	})
	if got := r.ask(r.request("GET", "/", "", "")); got.StatusCode != 502 {
		t.Errorf("answered %s", got.Status)
	}
}

// An answer that comes before the request has been sent whole: what goes up then
// is no new request, and the lines of the content that comes down are no fields.
func TestLinesOfAnAnswerThatComesEarlyAreNoFields(t *testing.T) {
	lines := strings.Repeat("x\n", 2000)
	r := newPlainRig(t, func(c net.Conn) {
		_, _ = io.ReadAtLeast(c, make([]byte, 64), 1)
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(lines), lines[:len(lines)/2])
		_, _ = io.ReadAtLeast(c, make([]byte, 4096), 1)
		_, _ = io.WriteString(c, lines[len(lines)/2:])
		_, _ = io.Copy(io.Discard, c)
	})
	c, br := r.send(r.request("POST", "/", "Content-Length: 200000\r\n", "begin"))
	go func() {
		for range 10 {
			if _, err := io.WriteString(c, strings.Repeat("y\n", 1000)); err != nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	resp, body := readOne(t, br)
	if resp.StatusCode != 200 || len(body) != len(lines) {
		t.Errorf("answered %s with %d bytes of %d", resp.Status, len(body), len(lines))
	}
}
