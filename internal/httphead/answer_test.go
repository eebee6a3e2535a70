package httphead_test

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/httphead"
)

func TestAnswerHasOneLengthForAllReaders(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		head    string // its lines, without the end
		ok      bool
		length  int64
		chunked bool
	}{
		{"HTTP/1.1 200 OK", true, -1, false},
		{"HTTP/1.1 200", true, -1, false},
		{"HTTP/1.0 999 \xe9\t", true, -1, false},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5", true, 5, false},
		{"HTTP/1.1 200 OK\r\ncontent-length:\t0 ", true, 0, false},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5", true, 5, false},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked", true, -1, true},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 5", true, 5, false},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6", false, 0, false},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5, 5", false, 0, false},
		{"HTTP/1.1 200 OK\r\nContent-Length: +5", false, 0, false},
		{"HTTP/1.1 200 OK\r\nContent-Length: 05", false, 0, false},
		{"HTTP/1.1 200 OK\r\nContent-Length:", false, 0, false},
		{"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551621", false, 0, false},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5", false, 0, false},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked", false, 0, false},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked", false, 0, false},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked", false, 0, false},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked", false, 0, false},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding:", false, 0, false},
		{"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked", false, 0, false},
		{"HTTP/1.0 200 OK\r\nTransfer-Encoding: identity", false, 0, false},
		{"HTTP/1.1  200 OK", false, 0, false}, {"HTTP/1.1 20 OK", false, 0, false}, {"HTTP/1.1 2000 OK", false, 0, false}, {"HTTP/1.1 099 OK", false, 0, false},
		{"HTTP/1.1 20x OK", false, 0, false}, {"HTTP/1.1 200 O\x00K", false, 0, false}, {"HTTP/1.2 200 OK", false, 0, false}, {"HTTP/2 200 OK", false, 0, false},
		{"http/1.1 200 OK", false, 0, false}, {" HTTP/1.1 200 OK", false, 0, false}, {"ICY 200 OK", false, 0, false}, {"HTTP/1.1", false, 0, false},
		{"HTTP/1.1 200 OK\r\nX", false, 0, false}, {"HTTP/1.1 200 OK\r\n: y", false, 0, false}, {"HTTP/1.1 200 OK\r\nX : y", false, 0, false},
		{"HTTP/1.1 200 OK\r\nX: y\r\n z", false, 0, false}, {"HTTP/1.1 200 OK\r\nX: \x7f", false, 0, false}, {"HTTP/1.1 200 OK\r\nX: a\nY: b", false, 0, false},
		{"HTTP/1.1 200 OK\r\nX: a\rY: b", false, 0, false}, {"HTTP/1.1 200 OK" + strings.Repeat("\r\nA: b", httphead.MaxFields+1), false, 0, false},
	} {
		a, err := httphead.ParseAnswer(row.head + "\r\n\r\n")
		if (err == nil) != row.ok {
			t.Errorf("%.60q: %v", row.head, err)
		}
		if row.ok && (a.Length != row.length || a.Chunked != row.chunked) {
			t.Errorf("%q: length %d, chunked %v", row.head, a.Length, a.Chunked)
		}
	}
}

func TestWhatCannotBecomeAnAnswerIsKnownEarly(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		b    string
		want bool
	}{
		{"", false}, {"HTT", false}, {"HTTP/1.1 200 OK\r\nA: b", false}, {"HTTP/1.1 200 OK\r\nA: b\r", false},
		{"S", true}, {"HTTQ", true}, {"\n", true}, {"HTTP/1.1 200 OK\n", true}, {"HTTP/1.1 200 OK\r\nA: b\n", true}, {"HTTP/2", true},
		{"HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 4), false}, {"HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 5), true},
	} {
		for split := range len(row.b) + 1 {
			lines := 0
			got := httphead.CannotBeAnswer([]byte(row.b[:split]), 0, &lines, 4) || httphead.CannotBeAnswer([]byte(row.b), split, &lines, 4)
			if got != row.want {
				t.Fatalf("%q, split at %d: %v", row.b, split, got)
			}
		}
	}
}

// FuzzAnswer holds that net/http finds the same status, length and content in an answer
// that is taken.
func FuzzAnswer(f *testing.F) {
	f.Add("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n", false)
	f.Add("HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\nUpgrade: a\r\n\r\n", true)
	f.Add("HTTP/1.0 304\r\nA:\t b \r\n\r\n", false)
	f.Fuzz(func(t *testing.T, raw string, head bool) {
		n := httphead.End([]byte(raw), 0)
		if n == 0 || n != len(raw) {
			return
		}
		a, err := httphead.ParseAnswer(raw)
		if err != nil {
			return
		}
		lines := 0
		if httphead.CannotBeAnswer([]byte(raw), 0, &lines, httphead.MaxFields+1) {
			t.Errorf("%q is an answer, and cannot be one before its end", raw)
		}
		method := http.MethodGet
		if head {
			method = http.MethodHead
		}
		r, err := http.ReadResponse(bufio.NewReader(strings.NewReader(raw)), &http.Request{Method: method})
		if err != nil {
			if strings.Contains(raw, "dentity") || strings.Contains(err.Error(), "trailer") || strings.Contains(strings.ToLower(raw), "identity") {
				return // a coding that net/http no longer knows
			}
			t.Fatalf("%q: taken, but net/http says %v", raw, err)
		}
		if r.StatusCode != a.Status || r.ProtoMinor != a.Minor {
			t.Errorf("%q: net/http has %s of HTTP/1.%d", raw, r.Status, r.ProtoMinor)
		}
		if a.HasContent(method) && a.Length != r.ContentLength {
			t.Errorf("%q: length %d, net/http has %d", raw, a.Length, r.ContentLength)
		}
		if !a.HasContent(method) && a.Status >= 200 {
			if body, _ := io.ReadAll(r.Body); len(body) > 0 {
				t.Errorf("%q: no content, net/http has %q", raw, body)
			}
		}
	})
}
