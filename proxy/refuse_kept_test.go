package proxy_test

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// evil is a plain GET of billing for a host that is not on its list, with further field lines.
func evil(fields string) string {
	return "GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n" + auth("billing") + fields + "\r\n"
}

// A client that keeps connections would else open one for each request that is refused.
func TestConnectionIsKeptBehindARefusedPlainRequest(t *testing.T) {
	r := newPlainRig(t, serveOK)
	c, br := r.send(evil(""))
	for i, raw := range []string{evil(""), r.request("GET", "/", "", ""), evil("Connection: close\r\n")} {
		if resp, _ := readOne(t, br); resp.StatusCode == 200 != (i == 2) || resp.Close {
			t.Fatalf("request %d is answered %s, closing %t", i, resp.Status, resp.Close)
		}
		if _, err := io.WriteString(c, raw); err != nil {
			t.Fatal(err)
		}
	}
	if got := readReply(t, br); got.StatusCode != 403 || !got.Close || got.rest != "" {
		t.Errorf("the last one is answered %s, then %q", got.Status, got.rest)
	}
	if n := len(r.of("refused")); n != 3 {
		t.Errorf("%d records of refusals", n)
	}
}

// Where it is not clear where the next request begins, or who asks, there is none.
func TestConnectionEndsBehindARefusalThatLeavesAnythingOpen(t *testing.T) {
	r := newPlainRig(t, serveOK)
	for name, raw := range map[string]string{
		"content":               strings.Replace(evil("Content-Length: 2\r\n"), "GET", "POST", 1) + "ok",
		"content to come":       strings.Replace(evil("Content-Length: 2\r\nExpect: 100-continue\r\n"), "GET", "POST", 1),
		"chunked content":       strings.Replace(evil("Transfer-Encoding: chunked\r\n"), "GET", "POST", 1) + "0\r\n\r\n",
		"a request behind it":   evil("") + evil(""),
		"half a request behind": evil("") + "GET",
		"HTTP/1.0":              strings.Replace(evil(""), "HTTP/1.1", "HTTP/1.0", 1),
		"HTTP/1.0, kept":        strings.Replace(evil("Connection: keep-alive\r\n"), "HTTP/1.1", "HTTP/1.0", 1),
		"close":                 evil("Connection: close\r\n"),
		"no credential":         "GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n",
		"a wrong credential":    strings.Replace(evil(""), auth("billing"), credential("billing:wrong"), 1),
		"malformed":             evil("A : b\r\n"),
		"CONNECT":               connectAs("billing", "evil.test:443"),
	} {
		t.Run(name, func(t *testing.T) {
			if got := r.ask(raw); got.StatusCode < 400 || !got.Close || got.rest != "" {
				t.Errorf("answered %s, closing %t, then %q", got.Status, got.Close, got.rest)
			}
		})
	}
	if text := r.origin.text(); text != "" {
		t.Errorf("the origin got %q", text)
	}
}

// What waits for its next request counts to its function, refused or not, and holds as
// little as any other.
func TestKeptConnectionsOfRefusedRequestsHaveTheirShare(t *testing.T) {
	r := newRig(t, rigOptions{functions: []function{{name: "billing"}}, options: func(o *proxy.Options) { o.Files = 1024 }})
	raw := strings.TrimSuffix(evil(""), "\r\n") + "X-Padding: " + strings.Repeat("x", 15<<10) + "\r\n\r\n"
	const n = 12
	before := heap()
	conns := r.refuseAll(raw, n)
	if each := (int64(heap()) - int64(before)) / n; each > 12<<10 { // its head alone has 15 KiB
		t.Errorf("each holds %d bytes of the heap, with what the test has of it", each)
	}
	if kept, lingering := r.server.Kept(), r.server.Lingering("billing", netip.MustParseAddr("127.0.0.1")); kept != n || lingering != 0 {
		t.Errorf("%d are kept, %d linger", kept, lingering)
	}
	closing := 0
	for range 1024 {
		c, br := r.send(evil(""))
		conns = append(conns, c)
		if resp, _ := readOne(t, br); resp.Close {
			closing++
			break
		}
	}
	if closing == 0 || r.value("egress_over_share_total") == 0 {
		t.Error("the function keeps as many as it likes")
	}
	closes(t, conns)
	eventually(t, "none is kept", func() bool { return r.server.Kept() == 0 })
}

// A server that drains takes no next request.
func TestRefusalEndsTheConnectionOfAServerThatDrains(t *testing.T) {
	r := newPlainRig(t, serveOK)
	c, br := r.send(evil(""))
	if resp, _ := readOne(t, br); resp.Close {
		t.Fatal("the connection is not kept")
	}
	_ = r.server.Drain(t.Context())
	_, _ = fmt.Fprint(c, evil(""))
	if got := readReply(t, br); got.reason() != "draining" || !got.Close {
		t.Errorf("answered %s, closing %t", got.Status, got.Close)
	}
}
