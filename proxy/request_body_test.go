package proxy_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// bodies returns an origin that answers with the length and hash of a body.
func bodies(c net.Conn) {
	br := bufio.NewReader(c)
	for {
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		h := sha256.New()
		n, err := io.Copy(h, r.Body)
		if err != nil {
			return
		}
		text := fmt.Sprintf("%d %x %v", n, h.Sum(nil), r.TransferEncoding)
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
	}
}

func TestRequestBodyArrivesWholeAndTheConnectionGoesOn(t *testing.T) {
	r := newPlainRig(t, bodies)
	body := strings.Repeat("0123456789abcde\n", 1<<16) // 1 MiB
	var chunked strings.Builder
	for i := 0; i < len(body); i += 1 << 14 {
		fmt.Fprintf(&chunked, "%x\r\n%s\r\n", 1<<14, body[i:i+1<<14])
	}
	chunked.WriteString("0\r\n\r\n")
	_, br := r.send(r.request("POST", "/", fmt.Sprintf("Content-Length: %d\r\n", len(body)), body) +
		r.request("PUT", "/", "Transfer-Encoding: Chunked\r\n", chunked.String()) + r.request("POST", "/", "transfer-encoding: CHUNKED\r\n", "0\r\n\r\n") +
		r.request("POST", "/", "Content-Length: 0\r\n", "") + r.request("GET", "/", "Content-Length: 2\r\n", "hi"))
	sum := func(s, coding string) string {
		return fmt.Sprintf("%d %x [%s]", len(s), sha256.Sum256([]byte(s)), coding)
	}
	for i, want := range []string{sum(body, ""), sum(body, "chunked"), sum("", "chunked"), sum("", ""), sum("hi", "")} {
		if resp, got := readOne(t, br); resp.StatusCode != 200 || got != want {
			t.Errorf("request %d arrived as %q, want %q", i, got, want)
		}
	}
	if text := r.origin.text(); strings.Contains(text, "Chunked") || strings.Contains(text, "CHUNKED") {
		t.Error("the coding was passed on in the client's spelling")
	}
	eventually(t, "closed records", func() bool { return len(r.of("closed")) == 5 })
	if up := r.of("closed")[0]["bytes_up"]; up != float64(len(body)) {
		t.Errorf("bytes_up %v", up)
	}
}

// badChunks are chunked bodies with their ends, as far as they have one.
var badChunks = []struct{ why, body string }{
	{"an empty size", "\r\nhello\r\n0\r\n\r\n"},
	{"a prefix of the size", "0x5\r\nhello\r\n0\r\n\r\n"},
	{"a negative size", "-1\r\nhello\r\n0\r\n\r\n"},
	{"a signed size", "+5\r\nhello\r\n0\r\n\r\n"},
	{"an underscore in the size", "5_0\r\nhello\r\n0\r\n\r\n"},
	{"a space before the size", " 5\r\nhello\r\n0\r\n\r\n"},
	{"a size over 64 bits", "FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n"},
	{"a size that is negative in 64 bits, and the end", "8000000000000000\r\nhello"},
	{"a bare LF behind the size", "5\nhello\r\n0\r\n\r\n"},
	{"a bare CR in the size line", "5;a\rb\r\nhello\r\n0\r\n\r\n"},
	{"a bare LF behind the data", "5\r\nhello\n0\r\n\r\n"},
	{"a bare LF behind the last size", "5\r\nhello\r\n0\n\r\n"},
	{"a bare LF for the end of the body", "5\r\nhello\r\n0\r\n\n"},
	{"a bare LF in the trailers", "5\r\nhello\r\n0\r\nA: b\nC: d\r\n\r\n"},
	{"a bare CR in the trailers", "5\r\nhello\r\n0\r\nA: b\rC: d\r\n\r\n"},
	{"a folded trailer", "5\r\nhello\r\n0\r\nA: b\r\n c\r\n\r\n"},
	{"a trailer without a name", "5\r\nhello\r\n0\r\n: b\r\n\r\n"},
	{"a request for a trailer", "5\r\nhello\r\n0\r\nGET http://HOST/smuggled HTTP/1.1\r\n\r\n"},
	{"trailers of 64 KiB", "5\r\nhello\r\n0\r\n" + strings.Repeat("A: b\r\n", 11000) + "\r\n"},
	{"a trailer of 64 KiB", "5\r\nhello\r\n0\r\nA: " + strings.Repeat("b", 64<<10) + "\r\n\r\n"},
	{"more data than the size", "3\r\nhello\r\n0\r\n\r\n"},
	{"less data than the size", "7\r\nhello\r\n0\r\n\r\n"},
	{"an extension of 64 KiB", "1;" + strings.Repeat("x", 64<<10) + "\r\nh\r\n0\r\n\r\n"},
	{"chunks of a byte with extensions of 3 KiB", strings.Repeat("1;"+strings.Repeat("x", 3<<10)+"\r\nh\r\n", 20) + "0\r\n\r\n"},
	{"no end behind the last size", "5\r\nhello\r\n0\r\n"},
	{"no last size", "5\r\nhello\r\n"},
}

func TestMalformedChunksEndTheConnectionAndTheRequest(t *testing.T) {
	for _, row := range badChunks {
		t.Run(row.why, func(t *testing.T) {
			var whole sync.Map // the bodies that the origin took for whole
			r := newPlainRig(t, func(c net.Conn) {
				req, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil {
					return
				}
				if body, err := io.ReadAll(req.Body); err == nil {
					whole.Store(string(body), true)
				}
			})
			c := r.dial()
			smuggled := r.request("GET", "/smuggled", "", "")
			if strings.Contains(row.why, "end") {
				smuggled = "" // the client goes away instead
			}
			body := strings.ReplaceAll(row.body, "HOST", r.host)
			if _, err := io.WriteString(c, r.request("POST", "/", "Transfer-Encoding: chunked\r\n", body)+smuggled); err != nil {
				t.Fatal(err)
			}
			if smuggled == "" {
				_ = c.CloseWrite()
			}
			got := readReply(t, bufio.NewReader(c))
			if got.StatusCode != 400 || got.reason() != "bad_request" || got.rest != "" {
				t.Errorf("answered %s %s, then %q", got.Status, got.reason(), got.rest)
			}
			whole.Range(func(body, _ any) bool {
				t.Errorf("the origin took %q for a whole request", body)
				return true
			})
			if text := r.origin.text(); strings.Contains(text, "smuggled") {
				t.Errorf("the origin got %q", text)
			}
		})
	}
}

func TestTrailersAreNotForwarded(t *testing.T) {
	r := newPlainRig(t, serveOK)
	body := "3\r\nabc\r\n0\r\nContent-Length: 5\r\nHost: evil.test\r\nTransfer-Encoding: chunked\r\nAuthorization: trailing\r\nX-T: trailing\r\n\r\n"
	_, br := r.send(r.request("POST", "/", "Transfer-Encoding: chunked\r\nTrailer: X-T\r\n", body))
	if resp, _ := readOne(t, br); resp.StatusCode != 200 {
		t.Fatalf("answered %s", resp.Status)
	}
	text := r.origin.text()
	for _, leak := range []string{"evil.test", "trailing", "Trailer", "Content-Length"} {
		if strings.Contains(text, leak) {
			t.Errorf("the origin got %q of the trailers: %q", leak, text)
		}
	}
	if !strings.HasSuffix(text, "3\r\nabc\r\n0\r\n\r\n") {
		t.Errorf("the body arrived as %q", text)
	}
}

func TestUploadThatBreaksOffIsNoWholeRequest(t *testing.T) {
	whole := make(chan string, 1)
	r := newPlainRig(t, func(c net.Conn) {
		defer close(whole)
		req, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		if body, err := io.ReadAll(req.Body); err == nil {
			whole <- string(body)
		}
	})
	c, br := r.send(r.request("POST", "/", "Content-Length: 10\r\n", "12345"))
	_ = c.CloseWrite()
	if got := readReply(t, br); got.StatusCode != 400 || got.reason() != "bad_request" {
		t.Errorf("answered %s %s", got.Status, got.reason())
	}
	if body, ok := <-whole; ok {
		t.Errorf("the origin took %q for whole", body)
	}
}

// careful is an origin that reads the content of a request where it has said that it
// wants it, and refuses what is to be kept at /refused.
func careful(c net.Conn) {
	br := bufio.NewReader(c)
	for {
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if r.URL.Path == "/refused" {
			_, _ = io.WriteString(c, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")
			_, _ = io.Copy(io.Discard, br)
			return
		}
		if r.Header.Get("Expect") != "" {
			_, _ = io.WriteString(c, "HTTP/1.1 100 Go on\r\n\r\n")
		}
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			return
		}
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n%d ", n)
	}
}

// The origin says whether it wants the content, and the proxy says nothing of its own.
func TestExpectationIsTheOriginsToMeet(t *testing.T) {
	for _, framing := range []struct{ field, body string }{
		{"Content-Length: 5\r\n", "hello"}, {"Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"},
	} {
		r := newPlainRig(t, careful)
		c, br := r.send(r.request("POST", "/", framing.field+"Expect: 100-Continue\r\n", ""))
		if line, _ := br.ReadString('\n'); line != "HTTP/1.1 100 Go on\r\n" {
			t.Fatalf("before the body came %q", line)
		}
		for line := ""; line != "\r\n"; {
			if line, _ = br.ReadString('\n'); line == "" {
				t.Fatal("the 100 has no end")
			}
		}
		if text := r.origin.text(); !strings.Contains(text, "Expect: 100-Continue\r\n") || strings.Contains(text, "hello") {
			t.Errorf("before the body the origin has %q", text)
		}
		if _, err := io.WriteString(c, framing.body+r.request("GET", "/", "", "")); err != nil {
			t.Fatal(err)
		}
		for _, size := range []string{"5 ", "0 "} {
			if resp, body := readOne(t, br); resp.StatusCode != 200 || body != size {
				t.Errorf("answered %s %q", resp.Status, body)
			}
		}
	}
}

// A client that waits to be asked sends nothing to an origin that does not want it, and
// the connection ends: nobody knows whether the content still comes.
func TestExpectationThatTheOriginDoesNotMeetSparesTheContent(t *testing.T) {
	r := newPlainRig(t, careful)
	_, br := r.send(r.request("PUT", "/refused", "Content-Length: 100000\r\nExpect: 100-continue\r\n", ""))
	if got := readReply(t, br); got.StatusCode != 401 || got.body != "no" || !got.Close || got.rest != "" {
		t.Errorf("answered %s %q, close %v, then %q", got.Status, got.body, got.Close, got.rest)
	}
}

// A client need not wait; what it sends goes on as it comes.
func TestExpectationOfAClientThatDoesNotWaitIsPassedOn(t *testing.T) {
	r := newPlainRig(t, bodies) // says no 100
	_, br := r.send(r.request("POST", "/", "Content-Length: 5\r\nExpect: 100-continue\r\n", "hello"))
	if resp, body := readOne(t, br); resp.StatusCode != 200 || !strings.HasPrefix(body, "5 ") {
		t.Errorf("answered %s %q", resp.Status, body)
	}
}

func TestExpectationOfARefusedRequestIsNotMet(t *testing.T) {
	r := newPlainRig(t, bodies)
	raw := "POST http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n" + auth("billing") + "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n"
	r.refusedOnce(t, raw, 403, "host_not_allowed")
}

func TestUnknownExpectationIsRefused(t *testing.T) {
	r := newPlainRig(t, bodies)
	for _, e := range []string{"bogus", "100-continue, bogus", "100-continue\r\nExpect: bogus", ""} {
		r.refusedOnce(t, r.request("POST", "/", "Content-Length: 5\r\nExpect: "+e+"\r\n", ""), 417, "bad_request")
	}
	if n := r.origin.accepted.Load() + r.lookups.Load(); n != 0 {
		t.Errorf("%d lookups and connections", n)
	}
}

func TestClientOfHTTP10IsSentNoInterimResponse(t *testing.T) {
	r := newPlainRig(t, func(c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
		bodies(c)
	})
	raw := "POST http://" + r.host + "/ HTTP/1.0\r\nExpect: 100-continue\r\n" + auth("billing") + "Content-Length: 5\r\n\r\nhello"
	_, br := r.send(raw)
	resp, interim, err := readFinal(br, "POST")
	if err != nil || interim != 0 || resp.StatusCode != 200 {
		t.Fatalf("answered %v, %v behind %d interim responses", resp, err, interim)
	}
	if body, _ := io.ReadAll(resp.Body); !strings.HasPrefix(string(body), "5 ") {
		t.Errorf("answered %q", body)
	}
	if strings.Contains(r.origin.text(), "Expect") {
		t.Error("an expectation of HTTP/1.0 was passed on")
	}
}

// A refusal that comes while the body is still coming is read whole, and
// nothing of the body is taken for a request.
func TestBodyOfARefusedRequestIsNoRequest(t *testing.T) {
	r := newPlainRig(t, serveOK)
	smuggled := r.request("GET", "/smuggled", "", "")
	body := strings.Repeat(smuggled, 1000000/len(smuggled))
	unlessCut(t, func() error {
		c := r.dial()
		sent := make(chan error, 1)
		go func() {
			_, err := io.WriteString(c, fmt.Sprintf("POST http://evil.test/ HTTP/1.1\r\nHost: a\r\n%sContent-Length: %d\r\n\r\n%s", auth("billing"), len(body), body))
			sent <- err
		}()
		br := bufio.NewReader(c)
		if resp, _ := readOne(t, br); resp.StatusCode != 403 {
			t.Errorf("answered %s", resp.Status)
		}
		rest, err := io.ReadAll(br)
		if len(rest) != 0 {
			t.Errorf("behind the refusal came %q", rest)
		}
		if unsent := <-sent; unsent != nil {
			return fmt.Errorf("sending the body: %w", unsent)
		}
		return err
	})
	if n := r.origin.accepted.Load(); n != 0 {
		t.Errorf("the origin saw %d connections", n)
	}
}

func TestAnswerBeforeTheEndOfTheBodyEndsTheConnection(t *testing.T) {
	for _, size := range []string{"Content-Length: 100000000\r\n", "Transfer-Encoding: chunked\r\n"} {
		r := newPlainRig(t, func(c net.Conn) {
			if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				_, _ = io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
			}
		})
		first := "5\r\nhello\r\n"
		c, br := r.send(r.request("POST", "/", size, first))
		resp, body := readOne(t, br)
		if resp.StatusCode != 413 || body != "big" || !resp.Close {
			t.Errorf("answered %s %q, close %v", resp.Status, body, resp.Close)
		}
		// What goes on is the body, whatever it looks like.
		_, _ = io.WriteString(c, r.request("GET", "/smuggled", "", ""))
		if rest, _ := io.ReadAll(br); len(rest) != 0 {
			t.Errorf("behind the answer came %q", rest)
		}
		if strings.Contains(r.origin.text(), "smuggled HTTP/1.1\r\nHost: "+r.host+"\r\nVia") {
			t.Error("a part of the body was taken for a request")
		}
	}
}

// While a body goes up the origin has nothing to say, for longer than it may
// be silent otherwise.
func TestUploadThatTakesLongerThanTheIdleTimeIsWhole(t *testing.T) {
	r := newPlainRigFor(t, newOrigin(t, bodies), proxy.Limits{IdleTimeout: 400 * time.Millisecond})
	// Where the machine stands still for that time, client and origin are silent indeed.
	eventually(t, "the answer to a whole body", func() bool {
		c, br := r.send(r.request("POST", "/", "Content-Length: 16\r\n", ""))
		defer c.Close()
		for range 16 {
			if _, err := c.Write([]byte("x")); err != nil {
				return false
			}
			time.Sleep(40 * time.Millisecond)
		}
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			return false
		}
		body, err := io.ReadAll(resp.Body)
		return err == nil && resp.StatusCode == 200 && strings.HasPrefix(string(body), "16 ")
	})
}

func TestClientThatFallsSilentInItsBodyIsGivenUp(t *testing.T) {
	r := newPlainRigFor(t, newOrigin(t, bodies), proxy.Limits{IdleTimeout: 100 * time.Millisecond, HeaderTimeout: time.Minute})
	got := r.ask(r.request("POST", "/", "Content-Length: 10\r\n", "12345"))
	if got.StatusCode != 400 || got.reason() != "bad_request" {
		t.Errorf("answered %s %s", got.Status, got.reason())
	}
}

func TestBodyPassesWhileTheResponseDoes(t *testing.T) {
	r := newPlainRig(t, func(c net.Conn) {
		req, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for {
			var b [1]byte
			if _, err := io.ReadFull(req.Body, b[:]); err != nil {
				_, _ = io.WriteString(c, "0\r\n\r\n")
				return
			}
			fmt.Fprintf(c, "1\r\n%s\r\n", bytes.ToUpper(b[:]))
		}
	})
	c, br := r.send(r.request("POST", "/", "Transfer-Encoding: chunked\r\n", ""))
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, letter := range []string{"a", "b", "c"} {
		fmt.Fprintf(c, "1\r\n%s\r\n", letter)
		var b [1]byte
		if _, err := io.ReadFull(resp.Body, b[:]); err != nil || string(b[:]) != strings.ToUpper(letter) {
			t.Fatalf("%q came back as %q, %v", letter, b, err)
		}
	}
	_, _ = io.WriteString(c, "0\r\n\r\n")
	if rest, err := io.ReadAll(resp.Body); len(rest) != 0 || err != nil {
		t.Errorf("the response ends with %q, %v", rest, err)
	}
}
