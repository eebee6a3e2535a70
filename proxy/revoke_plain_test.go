package proxy_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// streams is an origin that answers every request with a stream that does not end: it
// repeats each byte that the request has behind its head.
func streams(c net.Conn) {
	br := bufio.NewReader(c)
	for line := ""; line != "\r\n"; {
		var err error
		if line, err = br.ReadString('\n'); err != nil {
			return
		}
	}
	_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nbegun")
	_, _ = io.Copy(c, br)
}

// wantCut reads the rest of an answer, which must not look whole.
func wantCut(t *testing.T, br *bufio.Reader) {
	t.Helper()
	rest, err := io.ReadAll(br)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the answer goes on: %v", err)
	}
	if strings.HasSuffix(string(rest), "0\r\n\r\n") {
		t.Errorf("the answer looks whole: %q", rest)
	}
}

// What is under way is judged again as tunnels are: a stream of events may go on for hours.
func TestPlainRequestThatTheNewPolicyRefusesEndsAsRevoked(t *testing.T) {
	o := newOrigin(t, streams)
	ports := []uint16{o.port}
	open := rule{host: "any.test", ports: ports, any: true, addresses: loopback}
	billing := []function{{name: "billing", rules: []rule{open}}}
	with := func(r rule) []function { return []function{{name: "billing", rules: []rule{r}}} }
	for _, row := range []struct {
		name    string
		after   []function
		deny    []string
		revoked bool
	}{
		{name: "nothing changed", after: billing},
		{name: "another function changed", after: append([]function{{name: "new"}}, billing...)},
		{name: "report mode, the port removed", after: []function{{name: "billing", report: future, rules: []rule{{host: "any.test", ports: []uint16{1}, any: true, addresses: loopback}}}}},
		{name: "the rule removed", after: []function{{name: "billing"}}, revoked: true},
		{name: "the port removed", after: with(rule{host: "any.test", ports: []uint16{1}, any: true, addresses: loopback}), revoked: true},
		{name: "the rule expired", after: with(rule{host: "any.test", ports: ports, any: true, addresses: loopback, expires: time.Unix(1, 0)}), revoked: true},
		{name: "the host denied", after: billing, deny: []string{"any.test"}, revoked: true},
		{name: "a name denied that the host is an alias of", after: billing, deny: []string{"*.alias.test"}, revoked: true},
		{name: "the function removed", after: []function{{name: "other"}}, revoked: true},
		{name: "the token replaced", after: []function{{name: "billing", token: "another", rules: []rule{open}}}, revoked: true},
		{name: "the source no longer the function's", after: []function{{name: "billing", sources: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, rules: []rule{open}}}, revoked: true},
		{name: "the address no longer permitted", after: with(rule{host: "any.test", ports: ports, any: true}), revoked: true},
		{name: "TLS asked for", after: with(rule{host: "any.test", ports: ports, addresses: loopback}), revoked: true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, rigOptions{functions: billing})
			r.leads("any.test", "127.0.0.1", "cdn.alias.test")
			c, br := r.send("POST http://" + o.at("any.test") + "/ HTTP/1.1\r\nHost: x\r\n" + auth("billing") + "Content-Length: 1000\r\n\r\n")
			readUntil(t, br, "begun")
			_, _ = io.WriteString(c, "first")
			readUntil(t, br, "first")
			r.setPolicy(row.after, row.deny...)
			r.server.Rejudge()
			if !row.revoked {
				_, _ = io.WriteString(c, "second")
				readUntil(t, br, "second")
				return
			}
			wantCut(t, br)
			if m := r.one("closed"); m["ended"] != "revoked" || m["bytes_up"] != 5.0 || m["bytes_down"] != 10.0 {
				t.Errorf("record: %v", m)
			}
			if n := len(r.of("refused")); n != 0 {
				t.Errorf("refused: %v", r.of("refused"))
			}
		})
	}
}

// readUntil reads up to and with text.
func readUntil(t *testing.T, br *bufio.Reader, text string) {
	t.Helper()
	for got := ""; !strings.HasSuffix(got, text); {
		b, err := br.ReadByte()
		if err != nil {
			t.Fatalf("%q came, then %v; want %q", got, err, text)
		}
		got += string(b)
	}
}

// Before its answer, in its content, and while its client reads nothing: whatever a
// request waits for, it ends, and with it its connections.
func TestPlainRequestEndsAsRevokedWhateverItWaitsFor(t *testing.T) {
	silent := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
	var flooded atomic.Int64
	flood := func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
			return
		}
		if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n"); err != nil {
			return
		}
		for {
			if _, err := c.Write(make([]byte, 64<<10)); err != nil {
				return
			}
			flooded.Add(1)
		}
	}
	for _, row := range []struct {
		name, fields, body string
		serve              func(net.Conn)
	}{
		{"the answer", "", "", silent},
		{"the content", "Content-Length: 100\r\n", "begun", silent},
		{"chunks of the content", "Transfer-Encoding: chunked\r\n", "5\r\nbegun\r\n", silent},
		{"the client", "", "", flood},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r := newPlainRig(t, row.serve)
			c, br := r.send(r.request("POST", "/", row.fields, row.body))
			eventually(t, "the origin has the request", func() bool {
				return strings.Contains(r.origin.text(), "\r\n\r\n") && strings.Contains(r.origin.text(), strings.TrimSuffix(row.body, "\r\n"))
			})
			if row.name == "the client" {
				eventually(t, "no buffer takes more", func() bool {
					before := flooded.Load()
					time.Sleep(200 * time.Millisecond)
					return before > 0 && flooded.Load() == before
				})
			}
			r.setPolicy(nil)
			r.server.Rejudge()
			if m := r.one("closed"); m["ended"] != "revoked" {
				t.Errorf("record: %v", m)
			}
			if row.name != "the client" {
				wantEnd(t, br)
			}
			_ = c.Close()
			eventually(t, "no place taken", func() bool { return r.server.Open() == 0 && r.server.Seats() == 0 })
		})
	}
}

// The reload comes between the decision and the request: Rejudge has not seen it.
func TestAReloadBeforeAPlainRequestIsSentIsNotMissed(t *testing.T) {
	o := newOrigin(t, streams)
	looking, changed := make(chan struct{}), make(chan struct{})
	r := openRig(t, o, rigOptions{options: func(opt *proxy.Options) {
		opt.Lookup = func(ctx context.Context, _ hostname.Name) (proxy.Resolved, error) {
			if ctx.Err() != nil {
				return proxy.Resolved{}, ctx.Err()
			}
			looking <- struct{}{}
			<-changed
			return resolvedTo("127.0.0.1"), nil
		}
	}})
	_, br := r.send("GET http://" + o.at("any.test") + "/ HTTP/1.1\r\nHost: x\r\n" + auth("billing") + "\r\n")
	<-looking
	r.setPolicy([]function{{name: "billing"}})
	r.server.Rejudge()
	close(changed)
	wantCut(t, br)
	if m := r.one("closed"); m["ended"] != "revoked" {
		t.Errorf("record: %v", m)
	}
}
