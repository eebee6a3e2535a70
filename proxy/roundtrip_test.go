package proxy_test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

func TestErrorOfADialIsNotForTheClient(t *testing.T) {
	port := closedPort(t)
	r := newRig(t, rigOptions{functions: []function{{name: "billing", rules: []rule{
		{host: "allowed.test", ports: []uint16{port}, any: true, addresses: loopback}}}}})
	r.resolves("allowed.test", "127.0.0.1", "127.0.0.3")
	target := fmt.Sprintf("allowed.test:%d", port)
	for _, raw := range []string{connectAs("billing", target), absoluteAs("billing", target)} {
		_, br := r.send(raw)
		got, err := io.ReadAll(br)
		if err != nil {
			t.Fatal(err)
		}
		if want := "HTTP/1.1 502 Egress refused: dial_failed allowed.test for billing\r\n"; !strings.HasPrefix(string(got), want) {
			t.Errorf("answered %q", got)
		}
		for _, leak := range []string{"127.0.0", "dial ", "dialing", "tcp", "connection refused", "error read", "Internal Server Error"} {
			if strings.Contains(string(got), leak) {
				t.Errorf("the reply tells %q: %s", leak, got)
			}
		}
	}
}

func TestSecondAddressIsUsedWhereTheFirstRefuses(t *testing.T) {
	for _, body := range []struct{ fields, body string }{{"", ""}, {"Content-Length: 5\r\n", "hello"}, {"Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"}} {
		r := newPlainRig(t, bodies)
		r.resolves("allowed.test", "127.0.0.9", "127.0.0.1") // the origin listens on 127.0.0.1 alone
		_, br := r.send(r.request("POST", "/", "Connection: close\r\n"+body.fields, body.body))
		got := readReply(t, br)
		if got.StatusCode != 200 {
			t.Fatalf("answered %s", got.Status)
		}
		eventually(t, "a closed record", func() bool { return len(r.of("closed")) == 1 })
		closed := r.of("closed")[0]
		if closed["dialed"] != fmt.Sprintf("127.0.0.1:%d", r.origin.port) {
			t.Errorf("dialed %v", closed["dialed"])
		}
		if addresses := fmt.Sprint(closed["addresses"]); addresses != "[127.0.0.9 127.0.0.1]" {
			t.Errorf("addresses %s", addresses)
		}
	}
}

// A name moves to another address: the connection to the old one stays in the
// pool, and no request uses it any more.
func TestPooledConnectionIsNotUsedForAnotherAddress(t *testing.T) {
	o := newOrigin(t, serveOK)
	for !free("127.0.0.2", o.port) {
		o = newOrigin(t, serveOK)
	}
	moved := newOriginAt(t, fmt.Sprintf("127.0.0.2:%d", o.port), serveOK)
	r := newPlainRigFor(t, o, proxy.Limits{})
	get := func() {
		t.Helper()
		_, br := r.send(r.request("GET", "/", "", ""))
		if resp, _ := readOne(t, br); resp.StatusCode != 200 {
			t.Fatalf("answered %s", resp.Status)
		}
	}
	get()
	eventually(t, "a connection used again", func() bool {
		before := r.origin.accepted.Load()
		get()
		return r.origin.accepted.Load() == before
	})
	before := r.origin.requests()
	r.resolves("allowed.test", "127.0.0.2")
	get()
	if n := r.origin.requests() - before; n != 0 {
		t.Errorf("the old address got %d requests", n)
	}
	if n := moved.requests(); n != 1 {
		t.Errorf("the new address got %d requests", n)
	}
}

func TestPooledConnectionIsNotUsedByWhoMayNotReachItsAddress(t *testing.T) {
	o := newOrigin(t, serveOK)
	ports := []uint16{o.port}
	r := newRig(t, rigOptions{functions: []function{
		{name: "inside", rules: []rule{{host: "allowed.test", ports: ports, any: true, addresses: loopback}}},
		{name: "outside", rules: []rule{{host: "other.test", ports: ports, any: true}}},
	}})
	r.resolves("allowed.test", "127.0.0.1")
	r.resolves("other.test", "127.0.0.1")
	_, br := r.send(absoluteAs("inside", fmt.Sprintf("allowed.test:%d", o.port)))
	if resp, _ := readOne(t, br); resp.StatusCode != 200 {
		t.Fatalf("answered %s", resp.Status)
	}
	eventually(t, "a closed record", func() bool { return len(r.of("closed")) == 1 })
	r.refusedOnce(t, absoluteAs("outside", fmt.Sprintf("other.test:%d", o.port)), 403, "address_not_allowed")
	if n := o.requests(); n != 1 {
		t.Errorf("the origin got %d requests", n)
	}
}

func TestAddressIsCheckedAgainAtConnect(t *testing.T) {
	var asked sync.Map // how often each address was considered
	o := newOrigin(t, serveOK)
	r := newRig(t, rigOptions{
		functions: []function{{name: "billing", rules: []rule{{host: "allowed.test", ports: []uint16{o.port}, any: true, addresses: loopback}}}},
		options: func(opt *proxy.Options) {
			opt.Self = func(a netip.AddrPort) bool {
				_, again := asked.LoadOrStore(a, true)
				return again // the second time it is one of our own
			}
		},
	})
	r.resolves("allowed.test", "127.0.0.1")
	got := r.ask(absoluteAs("billing", fmt.Sprintf("allowed.test:%d", o.port)))
	if got.StatusCode != 403 || got.reason() != "address_not_allowed" {
		t.Errorf("answered %s %s", got.Status, got.reason())
	}
	if n := o.accepted.Load(); n != 0 {
		t.Errorf("the origin saw %d connections", n)
	}
}

// free reports whether another address has the port of a listener too: a connection of
// another test may have it.
func free(address string, port uint16) bool {
	l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", address, port))
	if err == nil {
		l.Close()
	}
	return err == nil
}

func TestAttemptsToDialShareTheTimeOfOne(t *testing.T) {
	port, _ := deafListener(t)
	for !free("127.0.0.2", port) {
		port, _ = deafListener(t)
	}
	open := newOriginAt(t, fmt.Sprintf("127.0.0.2:%d", port), serveOK)
	functions := []function{{name: "billing", rules: []rule{{host: "allowed.test", ports: []uint16{port}, any: true, addresses: loopback}}}}
	var got reply
	// Where the machine takes all of the time, there is more of it the next time.
	for timeout := 300 * time.Millisecond; open.requests() == 0 && timeout < patience/2; timeout *= 2 {
		r := newRig(t, rigOptions{functions: functions, limits: proxy.Limits{DialTimeout: timeout}})
		r.resolves("allowed.test", "127.0.0.1")
		if got := r.ask(absoluteAs("billing", fmt.Sprintf("allowed.test:%d", port))); got.StatusCode != 504 || got.reason() != "dial_timeout" {
			t.Errorf("with no address that answers: %s %s", got.Status, got.reason())
		}
		r.resolves("allowed.test", "127.0.0.1", "127.0.0.2")
		got = r.ask(strings.Replace(absoluteAs("billing", fmt.Sprintf("allowed.test:%d", port)), "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1))
	}
	if got.StatusCode != 200 || open.requests() != 1 {
		t.Errorf("with one: %s; it got %d requests", got.Status, open.requests())
	}
}

func TestOriginThatFallsSilentIsGivenUp(t *testing.T) {
	r := newPlainRigFor(t, newOrigin(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }), proxy.Limits{IdleTimeout: 100 * time.Millisecond})
	got := r.ask(r.request("GET", "/", "", ""))
	if got.StatusCode != 502 || got.reason() != "origin_failed" {
		t.Errorf("answered %s %s", got.Status, got.reason())
	}
}

func TestOriginThatDripsItsHeadIsGivenUp(t *testing.T) {
	o := newOrigin(t, func(c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nX: ")
		for {
			if _, err := c.Write([]byte("x")); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
	r := newPlainRigFor(t, o, proxy.Limits{IdleTimeout: 200 * time.Millisecond})
	if got := r.ask(r.request("GET", "/", "", "")); got.StatusCode != 502 || got.reason() != "origin_failed" {
		t.Errorf("answered %s %s", got.Status, got.reason())
	}
}
