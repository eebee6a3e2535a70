package proxy_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
)

// A response that ends at any of its bytes is never a whole one to the client,
// unless it ends at its last.
func TestResponseThatIsCutAtAnyByteDoesNotLookWhole(t *testing.T) {
	for _, whole := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nhel\r\n2\r\nlo\r\n0\r\nX-T: y\r\n\r\n",
		"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
	} {
		var size atomic.Int64
		r := newPlainRig(t, func(c net.Conn) { once(whole[:size.Load()])(c) })
		for n := range len(whole) + 1 {
			size.Store(int64(n))
			_, br := r.send(r.request("GET", "/", "Connection: close\r\n", ""))
			resp, _, err := readFinal(br, http.MethodGet)
			if err != nil {
				if n == len(whole) {
					t.Errorf("%q came as none: %v", whole, err)
				}
				continue
			}
			body, err := io.ReadAll(resp.Body)
			switch looks := resp.StatusCode == http.StatusOK && err == nil; {
			case looks && n < len(whole):
				t.Errorf("%q came as a whole response with %q", whole[:n], body)
			case n == len(whole) && (!looks || string(body) != "hello"):
				t.Errorf("%q came as %s %q, %v", whole, resp.Status, body, err)
			}
		}
	}
}

// endless sends a beginning and then the same again until nobody takes it, and
// keeps how much that was.
func endless(begin, again string, sent *atomic.Int64) func(net.Conn) {
	return func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
			return
		}
		_, _ = io.WriteString(c, begin)
		for piece := []byte(strings.Repeat(again, 64<<10/len(again))); ; {
			n, err := c.Write(piece)
			if sent.Add(int64(n)); err != nil {
				return
			}
		}
	}
}

func TestResponseHeadWithoutEndCostsBoundedMemory(t *testing.T) {
	for _, row := range []struct{ why, begin, again string }{
		{"fields", "HTTP/1.1 200 OK\r\n", "X: y\r\n"},
		{"one field", "HTTP/1.1 200 OK\r\nX: ", "y"},
		{"a folded field", "HTTP/1.1 200 OK\r\nX: y\r\n", " y\r\n"},
		{"interim responses", "", "HTTP/1.1 103 Early Hints\r\n\r\n"},
		{"a status line", "HTTP/1.1 200 ", "O"},
	} {
		t.Run(row.why, func(t *testing.T) {
			var sent atomic.Int64
			r := newPlainRig(t, endless(row.begin, row.again, &sent))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			got := r.ask(r.request("GET", "/", "", ""))
			runtime.ReadMemStats(&after)
			if got.StatusCode != 502 || got.reason() != "origin_failed" {
				t.Errorf("answered %s %s", got.Status, got.reason())
			}
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 4<<20 {
				t.Errorf("%d bytes were allocated", grown)
			}
		})
	}
}

func TestTrailersWithoutEndDoNotPassForTheEndOfAResponse(t *testing.T) {
	var sent atomic.Int64
	r := newPlainRig(t, endless("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", "X: y\r\n", &sent))
	_, br := r.send(r.request("GET", "/", "", ""))
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("%q came as a whole response", body)
	}
}

// Extensions carry nothing: a client that sends them without end is given up
// soon, and what it sends is not read to an end that does not come.
func TestChunkExtensionsWithoutEndAreGivenUpSoon(t *testing.T) {
	for _, row := range []struct{ why, begin, again string }{
		{"one extension", "1;", "x"},
		{"an extension of 4 KiB for each byte", "", "1;" + strings.Repeat("x", 4<<10) + "\r\nh\r\n"},
		{"trailers", "1\r\nh\r\n0\r\n", "X: y\r\n"},
		{"one trailer", "1\r\nh\r\n0\r\nX: ", "y"},
	} {
		t.Run(row.why, func(t *testing.T) {
			r := newPlainRig(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
			c, br := r.send(r.request("POST", "/", "Transfer-Encoding: chunked\r\n", row.begin))
			taken := make(chan int)
			go func() {
				total := 0
				piece := []byte(strings.Repeat(row.again, 1+64<<10/len(row.again)))
				for {
					n, err := c.Write(piece)
					if total += n; err != nil {
						taken <- total
						return
					}
				}
			}()
			if resp, _ := readOne(t, br); resp.StatusCode != 400 {
				t.Errorf("answered %s", resp.Status)
			}
			// What is on its way fits into the buffers of two sockets.
			if n := <-taken; n > 32<<20 {
				t.Errorf("%d bytes were taken", n)
			}
			if text := r.origin.text(); strings.HasSuffix(text, "0\r\n\r\n") {
				t.Errorf("the origin got a whole request: %q", text)
			}
		})
	}
}

// The origin agrees to an upgrade that nobody passed on to it, and the client
// has sent on as if it were a tunnel.
func TestUpgradeThatTheOriginMakesByItselfIsNoTunnel(t *testing.T) {
	r := newPlainRig(t, once("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nraw bytes"))
	evil := strings.Replace(r.request("GET", "/smuggled", "", ""), "http://allowed.test", "http://evil.test", 1)
	for _, behind := range []string{evil, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET /smuggled HTTP/1.1\r\nHost: evil.test\r\n\r\n"} {
		got := r.ask(r.request("GET", "/", "Connection: Upgrade\r\nUpgrade: h2c\r\n", "") + behind)
		if got.StatusCode != 502 || got.rest != "" || strings.Contains(got.body, "raw bytes") {
			t.Errorf("answered %s %q, then %q", got.Status, got.body, got.rest)
		}
	}
	if text := r.origin.text(); strings.Contains(text, "smuggled") || strings.Contains(text, "PRI") || strings.Contains(text, "Upgrade") {
		t.Errorf("the origin got %q", text)
	}
}

// A denied request between two allowed ones ends the connection, and each that
// was read has its records.
func TestPipelinedRequestsHaveOneAnswerEachUpToTheRefusal(t *testing.T) {
	r := newPlainRig(t, bodies)
	post := r.request("POST", "/", "Content-Length: 5\r\n", "hello")
	denied := strings.Replace(post, "http://allowed.test", "http://evil.test", 1)
	_, br := r.send(post + post + denied + post)
	for range 2 {
		if resp, body := readOne(t, br); resp.StatusCode != 200 || !strings.HasPrefix(body, "5 ") {
			t.Errorf("answered %s %q", resp.Status, body)
		}
	}
	if got := readReply(t, br); got.StatusCode != 403 || got.rest != "" {
		t.Errorf("answered %s, then %q", got.Status, got.rest)
	}
	var events bytes.Buffer
	for _, m := range r.records.all(t) {
		events.WriteString(m["event"].(string) + " ")
	}
	if got := events.String(); got != "opened closed opened closed refused " || r.origin.requests() != 2 {
		t.Errorf("records %q, %d requests at the origin", got, r.origin.requests())
	}
}
