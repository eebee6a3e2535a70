package proxy_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// switching is an origin that changes the protocol of every request, and then sends back
// what it is sent, in capitals.
func switching(c net.Conn) {
	br := bufio.NewReader(c)
	if _, err := http.ReadRequest(br); err != nil {
		return
	}
	_, _ = io.WriteString(c, "HTTP/1.1 101 Switching\r\nX-B: 1\r\nUpgrade: WebSocket\r\nConnection: upgrade, X-A\r\nX-A: 2\r\nContent-Length: 3\r\n\r\nfirst ")
	for {
		b, err := br.ReadByte()
		if err != nil {
			return
		}
		_, _ = io.WriteString(c, strings.ToUpper(string(b)))
	}
}

const toWebSocket = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\n"

// upgraded opens a tunnel by an upgrade and reads what comes first.
func upgraded(t *testing.T, r *plainRig) (*net.TCPConn, *bufio.Reader) {
	t.Helper()
	c, br := r.send(r.request("GET", "/chat", toWebSocket, "early"))
	want := "HTTP/1.1 101 Switching\r\nX-B: 1\r\nVia: 1.1 egress\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\nfirst EARLY"
	got := make([]byte, len(want))
	if _, err := io.ReadFull(br, got); err != nil || string(got) != want {
		t.Fatalf("answered %q, %v; want %q", got, err, want)
	}
	if sent := r.origin.text(); !strings.HasPrefix(sent, "GET /chat HTTP/1.1\r\nHost: "+r.host+"\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nVia: 1.1 egress\r\nConnection: Upgrade\r\n\r\n") {
		t.Errorf("the origin got %q", sent)
	}
	return c, br
}

func TestUpgradeBecomesATunnelWhereTheRuleLetsItPass(t *testing.T) {
	r := newPlainRig(t, switching)
	c, br := upgraded(t, r)
	if _, err := io.WriteString(c, "late"); err != nil {
		t.Fatal(err)
	}
	wantExactly(t, br, "LATE")
	if n := r.server.Tunnels(); n != 1 {
		t.Errorf("%d tunnels are open", n)
	}
	_ = c.CloseWrite()
	_, _ = io.ReadAll(br)
	eventually(t, "a closed record", func() bool { return len(r.of("closed")) == 1 })
	closed := r.one("closed")
	if closed["bytes_up"] != 9.0 || closed["bytes_down"] != 15.0 || closed["ended"] != "client" || closed["protocol"] != "http" || closed["method"] != "GET" {
		t.Errorf("the record says %v", closed)
	}
}

// What an upgrade has opened has the limits of a tunnel.
func TestUpgradedConnectionIsBoundedAsATunnelIs(t *testing.T) {
	for cause, limits := range map[string]proxy.Limits{
		"idle": {IdleTimeout: 200 * time.Millisecond}, "lifetime": {Lifetime: 300 * time.Millisecond}, "revoked": {}, "shutdown": {},
	} {
		t.Run(cause, func(t *testing.T) {
			r := newPlainRigFor(t, newOrigin(t, switching), limits)
			_, br := upgraded(t, r)
			switch cause {
			case "revoked":
				r.setPolicy([]function{{name: "billing"}})
				r.server.Rejudge()
			case "shutdown":
				r.cancel()
			}
			if rest, _ := io.ReadAll(br); len(rest) > 0 {
				t.Errorf("behind it came %q", rest)
			}
			eventually(t, "a closed record", func() bool { return len(r.of("closed")) == 1 })
			if got := r.one("closed")["ended"]; got != cause {
				t.Errorf("ended as %v", got)
			}
		})
	}
}

// What the origin agrees to has to be what was asked for; else it is no answer.
func TestUpgradeToWhatWasNotAskedForIsRefused(t *testing.T) {
	for _, fields := range []string{"Upgrade: tls\r\nConnection: Upgrade\r\n", "Connection: Upgrade\r\n", ""} {
		r := newPlainRig(t, once("HTTP/1.1 101 Switching Protocols\r\n"+fields+"\r\nraw"))
		got := r.ask(r.request("GET", "/", toWebSocket, ""))
		if got.StatusCode != 502 || got.reason() != "origin_failed" || got.rest != "" {
			t.Errorf("answered %s %s, then %q", got.Status, got.reason(), got.rest)
		}
	}
}

// An origin need not change the protocol; the connection is one for requests then.
func TestUpgradeThatTheOriginDoesNotMakeIsAnAnswer(t *testing.T) {
	r := newPlainRig(t, serveOK)
	_, br := r.send(r.request("GET", "/", toWebSocket, "") + r.request("GET", "/", "", ""))
	for range 2 {
		if resp, body := readOne(t, br); resp.StatusCode != 200 || body != "ok" || resp.Close {
			t.Errorf("answered %s %q, close %v", resp.Status, body, resp.Close)
		}
	}
}

// A proxy that stops waits for what an upgrade has opened, as for any tunnel.
func TestDrainWaitsForAnUpgradedConnection(t *testing.T) {
	r := newPlainRig(t, switching)
	c, br := upgraded(t, r)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.server.Drain(over); err == nil {
		t.Error("nothing was waited for")
	}
	fmt.Fprint(c, "x")
	wantExactly(t, br, "X")
	_ = c.Close()
	if err := r.server.Drain(t.Context()); err != nil {
		t.Error(err)
	}
}
