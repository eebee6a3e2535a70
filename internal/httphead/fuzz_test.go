package httphead_test

import (
	"bufio"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/httphead"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// FuzzHead holds that what our grammar accepts, net/http accepts and
// understands in the same way: the head that is judged is the one that is
// forwarded.
func FuzzHead(f *testing.F) {
	for _, seed := range []string{
		"GET http://allowed.test/ HTTP/1.1\r\nHost: allowed.test\r\n\r\n",
		"POST http://allowed.test/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
		"POST http://allowed.test:80?q HTTP/1.1\r\nHost: a\r\nhost: b\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n",
		"CONNECT allowed.test:443 HTTP/1.0\r\nConnection: close, keep-alive\r\n\r\n",
		"GET http://[::1]:8080/%2f HTTP/1.0\r\nPragma: no-cache\r\nExpect: 100-continue\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nX:\r\nProxy-Authorization: Basic eDp5\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\n", "\r\n\r\n", "A B HTTP/1.1\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		n := httphead.End(raw, 0)
		for seen := range min(len(raw), 64) {
			_ = httphead.CannotBeHTTP(raw, seen)
		}
		if n == 0 {
			return
		}
		h, err := httphead.Parse(string(raw[:n]))
		if err != nil {
			return
		}
		if httphead.CannotBeHTTP(raw[:n], 0) {
			t.Errorf("%q is a head, and cannot be one before its end", raw[:n])
		}
		compareFraming(t, h)
		if _, rest, reason, _ := httphead.ParseAbsolute(h.Target); reason == verdict.ReasonNone && h.Method != http.MethodConnect {
			if _, err := url.ParseRequestURI("/" + rest); err == nil {
				r := readRequest(t, h, h.Raw)
				if r != nil && r.RequestURI != h.Target {
					t.Errorf("target %q, net/http has %q", h.Target, r.RequestURI)
				}
			}
		}
	})
}

// compareFraming compares how net/http understands the fields, with a target
// that it accepts whatever the method.
func compareFraming(t *testing.T, h *httphead.Head) {
	t.Helper()
	line, fields, _ := strings.Cut(h.Raw, "\r\n")
	target := "http://x/"
	if h.Method == http.MethodConnect {
		target = "x:80"
	}
	r := readRequest(t, h, h.Method+" "+target+line[len(line)-len(" HTTP/1.1"):]+"\r\n"+fields)
	if r == nil {
		return
	}
	if r.Method != h.Method || r.ProtoMinor != h.Minor {
		t.Errorf("%q: %s HTTP/1.%d, net/http has %s HTTP/1.%d", h.Raw, h.Method, h.Minor, r.Method, r.ProtoMinor)
	}
	length := int64(0)
	switch {
	case len(h.Codings) > 0:
		length = -1
	case len(h.Lengths) > 0:
		length, _ = strconv.ParseInt(h.Lengths[0], 10, 64)
	}
	if r.ContentLength != length || (len(r.TransferEncoding) > 0) != (length < 0) {
		t.Errorf("%q: length %d, net/http has %d, %q", h.Raw, length, r.ContentLength, r.TransferEncoding)
	}
	if (r.Body != http.NoBody) != h.HasContent() {
		t.Errorf("%q: a body %v, net/http has another opinion", h.Raw, h.HasContent())
	}
	all, err := textproto.NewReader(bufio.NewReader(strings.NewReader(fields))).ReadMIMEHeader()
	if err != nil {
		t.Fatalf("%q: %v", h.Raw, err)
	}
	for name, values := range map[string][]string{
		"Host": h.Hosts, "Proxy-Authorization": h.Authorization, "Expect": h.Expect, "Via": h.Via,
		"Content-Length": h.Lengths, "Transfer-Encoding": h.Codings,
	} {
		if len(all[name]) != len(values) {
			t.Errorf("%q: %d of %s, net/http has %d", h.Raw, len(values), name, len(all[name]))
		}
	}
}

// readRequest reads a head with net/http, which must take all of it and no
// more. Where net/http refuses a list of trailers or a second Host, it is nil:
// our grammar leaves the first to net/http and the second to checkFields.
func readRequest(t *testing.T, h *httphead.Head, raw string) *http.Request {
	t.Helper()
	const behind = "behind the head"
	br := bufio.NewReader(strings.NewReader(raw + behind))
	r, err := http.ReadRequest(br)
	if err != nil {
		if len(h.Codings) > 0 && strings.Contains(err.Error(), "bad trailer key") || len(h.Hosts) > 1 {
			return nil
		}
		t.Errorf("%q: accepted, but net/http says %v", raw, err)
		return nil
	}
	if rest, _ := io.ReadAll(br); string(rest) != behind {
		t.Errorf("%q: net/http stopped before %q", raw, rest)
	}
	return r
}

// FuzzAbsolute holds that a target that we accept names the same host and port
// to net/url, which is what the libraries of the origin's side resemble.
func FuzzAbsolute(f *testing.F) {
	for _, seed := range []string{
		"http://allowed.test/", "HTTP://ALLOWED.test.:8080?q", "http://[::1]:80/%2f", "http://a@b/", `http://a\@b/`,
		"http://a/b@c:80", "http://a?b@c", "https://a/", "http:///", "//a/", "/", "*", "http://127.0.0.1:1/x;y", "http://a//b", "http://a#b",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if s == "" {
			return // a head has a target
		}
		target, rest, reason, _ := httphead.ParseAbsolute(s)
		if reason != verdict.ReasonNone {
			return
		}
		u, err := url.ParseRequestURI(s)
		if err != nil {
			if _, again := url.ParseRequestURI("/" + rest); again == nil {
				t.Errorf("%q: accepted, but net/url says %v", s, err)
			}
			return // a bare percent sign, which is passed on
		}
		if !strings.EqualFold(u.Scheme, "http") || u.User != nil || u.Opaque != "" || u.Fragment != "" {
			t.Errorf("%q: net/url finds more in it: %#v", s, u)
		}
		theirs, err := hostname.ParseAuthority(u.Host, 80)
		if err != nil || theirs != target {
			t.Errorf("%q: %v, net/url has %q", s, target, u.Host)
		}
	})
}
