package proxy_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// canary listens on every loopback address, v4 and v6, and counts.
func canary(t testing.TB) *origin {
	t.Helper()
	o := newOrigin(t, echo)
	if ln, err := net.Listen("tcp", fmt.Sprintf("[::1]:%d", o.port)); err == nil {
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				o.accepted.Add(1)
				c.Close()
			}
		}()
		t.Cleanup(func() { ln.Close(); <-done })
	}
	return o
}

func TestAnAnswerWithAnAddressThatIsNotPublicIsRefused(t *testing.T) {
	t.Parallel()
	o := canary(t)
	r := newRig(t, rigOptions{functions: []function{{name: "billing", rules: []rule{
		{host: "*.test", ports: []uint16{o.port}, any: true},
	}}}})
	for i, answer := range []string{
		"169.254.170.2", "169.254.169.254", "169.254.169.253", // task credentials, metadata, resolver
		"10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "127.0.0.1", "127.8.8.8", "0.0.0.0", "0.1.2.3",
		"192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "240.0.0.1", "255.255.255.255", "224.0.0.1", "192.88.99.1",
		"::ffff:169.254.169.254", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
		"64:ff9b::a9fe:a9fe", "64:ff9b::808:808", "64:ff9b:1::a9fe:a9fe",
		"2002:a9fe:a9fe::1", "2001:0:a9fe:a9fe::1", "::169.254.169.254", "::5efe:a00:1", "2a00::5efe:a00:1",
		"fd00:ec2::254", "fd00:ec2::23", "fd12::1", "fe80::1", "fe80::1%lo", "fec0::1", "ff02::1", "::", "::1",
		"100::1", "2001:db8::1", "3fff::1", "5f00::1",
		"8.8.8.8 10.0.0.1", "10.0.0.1 8.8.8.8", "8.8.8.8 fd00::1", "2606:4700::1111 169.254.169.254", // mixed
	} {
		t.Run(answer, func(t *testing.T) {
			host := fmt.Sprintf("a%d.test", i)
			r.resolves(host, strings.Fields(answer)...)
			got := r.ask(connectAs("billing", o.at(host)))
			r.wantRefusal(got, 403, "address_not_allowed", "destination_ip_prohibited")
			for _, a := range strings.Fields(answer) {
				if len(a) > 4 && strings.Contains(got.Status+fmt.Sprint(got.Header)+got.body, a) {
					t.Errorf("the reply shows the address: %s %v %s", got.Status, got.Header, got.body)
				}
			}
			refused := r.of("refused")
			listed, _ := refused[len(refused)-1]["addresses"].([]any)
			if len(listed) != len(strings.Fields(answer)) {
				t.Errorf("the record lists %v", listed)
			}
		})
	}
	if n := o.accepted.Load(); n != 0 {
		t.Errorf("%d connections to the canary", n)
	}
}

// The permitted address of a mixed answer is not dialed either.
func TestAMixedAnswerIsRefusedWhole(t *testing.T) {
	o := canary(t)
	r := openRig(t, o, rigOptions{})
	for _, answer := range [][]string{{"127.0.0.1", "10.0.0.1"}, {"10.0.0.1", "127.0.0.1"}, {"127.0.0.1", "fd00::1"}, {"127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4", "169.254.169.254"}} {
		r.resolves("any.test", answer...)
		r.wantRefusal(r.ask(connectAs("billing", o.at("any.test"))), 403, "address_not_allowed", "destination_ip_prohibited")
	}
	if n := o.accepted.Load(); n != 0 {
		t.Errorf("%d connections to the canary", n)
	}
}

func TestNoRuleOpensWhatCanNeverBeOpened(t *testing.T) {
	o := canary(t)
	everything := []string{"0.0.0.0/0", "::/0"}
	r := newRig(t, rigOptions{functions: []function{{name: "billing", rules: []rule{
		{host: "*.test", ports: []uint16{o.port}, any: true, addresses: everything},
		{cidr: "0.0.0.0/0", ports: []uint16{o.port, 80, 443}, any: true},
		{cidr: "::/0", ports: []uint16{o.port, 80, 443}, any: true},
	}}}})
	for i, a := range []string{"169.254.169.254", "169.254.170.2", "fe80::1", "fd00:ec2::254", "0.0.0.0", "::", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1"} {
		host := fmt.Sprintf("a%d.test", i)
		r.resolves(host, a)
		r.wantRefusal(r.ask(connectAs("billing", o.at(host))), 403, "address_not_allowed", "destination_ip_prohibited")
		literal := netip.AddrPortFrom(netip.MustParseAddr(a).Unmap(), 80).String()
		r.wantRefusal(r.ask(connectAs("billing", literal)), 403, "address_not_allowed", "destination_ip_prohibited")
	}
	if n := o.accepted.Load(); n != 0 {
		t.Errorf("%d connections to the canary", n)
	}
}

func TestLiteralAddresses(t *testing.T) {
	o := canary(t)
	r := newRig(t, rigOptions{functions: []function{{name: "billing", rules: []rule{
		{host: "allowed.com", ports: []uint16{443}},
		{cidr: "127.0.0.1/32", ports: []uint16{o.port}, any: true},
	}}}})
	for _, row := range []struct {
		target string
		status int
		reason string
	}{
		{"169.254.169.254:80", 403, "host_not_allowed"},
		{"169.254.169.254:443", 403, "host_not_allowed"},
		{"[::ffff:a9fe:a9fe]:80", 403, "host_not_allowed"},
		{"[::1]:443", 403, "host_not_allowed"},
		{o.at("127.0.0.2"), 403, "host_not_allowed"},
		{"127.0.0.1:443", 403, "port_not_allowed"},
		{"[fe80::1%25eth0]:443", 400, "bad_target"},
		{"[fe80::1%eth0]:443", 400, "bad_target"},
		{"[::1%25.allowed.com]:443", 400, "bad_target"},
	} {
		t.Run(row.target, func(t *testing.T) {
			got := r.ask(connectAs("billing", row.target))
			if got.StatusCode != row.status || got.reason() != row.reason {
				t.Errorf("got %s, reason %q", got.Status, got.reason())
			}
		})
	}
	got := r.ask("GET http://169.254.170.2/v2/credentials/secret-path HTTP/1.1\r\nHost: 169.254.170.2\r\n" + auth("billing") + "\r\n")
	r.wantRefusal(got, 403, "host_not_allowed", "http_request_denied")
	if n := o.accepted.Load(); n != 0 {
		t.Errorf("%d connections to the canary", n)
	}
	if n := r.lookups.Load(); n != 0 {
		t.Errorf("%d lookups of literal addresses", n)
	}
	c, br := r.send(connectAs("billing", fmt.Sprintf("[::ffff:127.0.0.1]:%d", o.port)))
	wantEstablished(t, br)
	c.Close()
}

// A resolver that answers otherwise the second time finds nobody who asks.
func TestANameIsLookedUpOnceAndThatAnswerIsDialed(t *testing.T) {
	o := newOrigin(t, echo)
	var asked atomic.Int64
	r := openRig(t, o, rigOptions{options: func(opt *proxy.Options) {
		opt.Lookup = func(context.Context, hostname.Name) (proxy.Resolved, error) {
			if asked.Add(1) == 1 {
				return resolvedTo("127.0.0.1"), nil
			}
			return resolvedTo("169.254.169.254"), nil
		}
	}})
	c, br := r.send(connectAs("billing", o.at("any.test")))
	wantEstablished(t, br)
	c.Close()
	if n := asked.Load(); n != 1 {
		t.Errorf("%d lookups", n)
	}
	if m := r.one("opened"); m["dialed"] != o.at("127.0.0.1") {
		t.Errorf("dialed %v", m["dialed"])
	}
}

func TestTheNextAddressIsTriedWhereOneRefuses(t *testing.T) {
	o := newOrigin(t, echo)
	r := openRig(t, o, rigOptions{})
	r.resolves("any.test", "127.0.0.9", "127.0.0.1")
	c, br := r.send(connectAs("billing", o.at("any.test")))
	wantEstablished(t, br)
	c.Close()
	m := r.one("opened")
	if m["dialed"] != o.at("127.0.0.1") || fmt.Sprint(m["addresses"]) != "[127.0.0.9 127.0.0.1]" {
		t.Errorf("record: dialed %v of %v", m["dialed"], m["addresses"])
	}
}

// Self is asked of each address of the answer, and again at each connect(2):
// what comes on top of the answer are the attempts.
func TestFourAddressesAreTriedAtMost(t *testing.T) {
	o := newOrigin(t, echo)
	var asked atomic.Int64
	r := openRig(t, o, rigOptions{options: func(opt *proxy.Options) {
		opt.Self = func(netip.AddrPort) bool { asked.Add(1); return false }
	}})
	var answer []string
	for i := range 100 {
		answer = append(answer, fmt.Sprintf("127.1.0.%d", i+1)) // nobody listens there
	}
	r.resolves("any.test", answer...)
	r.wantRefusal(r.ask(connectAs("billing", o.at("any.test"))), 502, "dial_failed", "destination_unavailable")
	if n := asked.Load() - 100; n != 4 {
		t.Errorf("%d attempts, want 4", n)
	}
}

func TestTheProxyDialsNoListenerOfItsOwn(t *testing.T) {
	o := canary(t)
	r := openRig(t, o, rigOptions{options: func(opt *proxy.Options) {
		opt.Self = func(a netip.AddrPort) bool { return a.Port() == o.port && a.Addr().String() == "127.0.0.5" }
	}})
	own := netip.MustParseAddrPort(r.addr)
	r.setPolicy([]function{{name: "billing", rules: []rule{
		{host: "*.test", ports: []uint16{own.Port(), o.port}, any: true, addresses: loopback},
		{cidr: "127.0.0.0/8", ports: []uint16{own.Port()}, any: true},
	}}})
	r.resolves("self.test", "127.0.0.1")
	r.resolves("mapped.test", "::ffff:127.0.0.1")
	r.resolves("told.test", "127.0.0.5")
	before := len(r.records.all(t))
	targets := []string{fmt.Sprintf("self.test:%d", own.Port()), fmt.Sprintf("mapped.test:%d", own.Port()), r.addr, o.at("told.test")}
	for _, target := range targets {
		r.wantRefusal(r.ask(connectAs("billing", target)), 403, "address_not_allowed", "destination_ip_prohibited")
	}
	if n := len(r.records.all(t)) - before; n != len(targets) {
		t.Errorf("%d records for %d requests: the proxy has called itself", n, len(targets))
	}
}

func TestARequestThatHasPassedThisProxyIsRefused(t *testing.T) {
	o := newOrigin(t, echo)
	r := openRig(t, o, rigOptions{})
	for _, via := range []string{"1.1 egress", "1.0 EGRESS", "1.1 other (comment), HTTP/1.1 egress", "1.1 egress (comment)"} {
		raw := strings.Replace(connectAs("billing", o.at("any.test")), "\r\n\r\n", "\r\nVia: "+via+"\r\n\r\n", 1)
		r.wantRefusal(r.ask(raw), 502, "loop", "proxy_loop_detected")
	}
	if n := o.accepted.Load(); n != 0 {
		t.Errorf("%d connections", n)
	}
	raw := strings.Replace(connectAs("billing", o.at("any.test")), "\r\n\r\n", "\r\nVia: 1.1 egress.corp.example\r\n\r\n", 1)
	c, br := r.send(raw)
	wantEstablished(t, br)
	c.Close()
}

// timeoutError is a lookup that took too long.
type timeoutError struct{}

func (timeoutError) Error() string { return "resolver 10.9.8.7: i/o timeout" }
func (timeoutError) Timeout() bool { return true }

func TestEachWayToFailHasItsOwnToken(t *testing.T) {
	t.Parallel()
	dead := newOrigin(t, echo)
	silent, _ := deafListener(t)
	rigFor := func(limits proxy.Limits) *rig {
		r := newRig(t, rigOptions{limits: limits, functions: []function{{name: "billing", rules: []rule{
			{host: "*.test", ports: []uint16{1, dead.port, silent}, any: true, addresses: loopback},
		}}}})
		r.resolves("refused.test", "127.0.0.77")
		r.resolves("silent.test", "127.0.0.1")
		r.resolves("empty.test")
		r.names.Store("nxdomain.test", fmt.Errorf("NXDOMAIN from 10.9.8.7"))
		r.names.Store("slow.test", fmt.Errorf("resolving: %w", timeoutError{}))
		return r
	}
	patient, hasty := rigFor(proxy.Limits{}), rigFor(proxy.Limits{DialTimeout: 300 * time.Millisecond})
	tokens := map[string]bool{}
	for _, row := range []struct {
		rig                   *rig
		target, reason, token string
		status                int
	}{
		{patient, dead.at("refused.test"), "dial_failed", "destination_unavailable", 502},
		{hasty, fmt.Sprintf("silent.test:%d", silent), "dial_timeout", "connection_timeout", 504},
		{patient, dead.at("nxdomain.test"), "dns_failed", "dns_error", 502},
		{patient, dead.at("empty.test"), "dns_failed", "dns_error", 502},
		{patient, dead.at("slow.test"), "dns_timeout", "dns_timeout", 504},
	} {
		r := row.rig
		got := r.ask(connectAs("billing", row.target))
		r.wantRefusal(got, row.status, row.reason, row.token)
		tokens[row.token] = true
		all := got.Status + fmt.Sprint(got.Header) + got.body
		for _, secret := range []string{"127.0.0", "10.9.8.7", "NXDOMAIN", "connection refused", "i/o timeout"} {
			if strings.Contains(all, secret) {
				t.Errorf("the reply to %s shows %q: %s", row.target, secret, all)
			}
		}
	}
	if len(tokens) != 4 {
		t.Errorf("tokens: %v", tokens)
	}
	refused := append(patient.of("refused"), hasty.of("refused")...)
	if n := len(refused); n != 5 {
		t.Errorf("%d records, want 5", n)
	}
	if slices.ContainsFunc(refused, func(m map[string]any) bool { return m["dialed"] != nil }) {
		t.Errorf("a record says that something was connected to")
	}
}

// Whom an allowed name leads to is for its owner to say. What the deny list has is
// refused however it is come by, and by every road.
func TestAliasThatTheDenyListHasIsRefused(t *testing.T) {
	o := newOrigin(t, serveOK)
	for _, row := range []struct {
		aliases []string
		denied  bool
	}{
		{nil, false},
		{[]string{"cdn.good.test"}, false},
		{[]string{"drop.evil.test"}, true},
		{[]string{"cdn.good.test", "drop.evil.test"}, true},
		{[]string{"drop.evil.test", "cdn.good.test"}, true},
		{[]string{"exact.test"}, true},
		{[]string{"evil.test"}, false}, // *.evil.test does not cover it
		{[]string{"-odd_.evil.test"}, true},
		{[]string{`a\.b\000.evil.test`}, true},
		{[]string{strings.Repeat(`\000`, 200) + ".evil.test"}, true},
		{[]string{"-odd_.elsewhere.test", `\000.test`}, false},
	} {
		for _, report := range []time.Time{{}, future} {
			r := newRig(t, rigOptions{deny: []string{"*.evil.test", "exact.test"}, functions: []function{{name: "billing", report: report, rules: []rule{
				{host: "*.good.test", ports: []uint16{o.port}, any: true, addresses: loopback}}}}})
			r.leads("alias.good.test", "127.0.0.1", row.aliases...)
			before := o.connections(t)
			for _, raw := range []string{connectAs("billing", o.at("alias.good.test")), absoluteAs("billing", o.at("alias.good.test"))} {
				if !row.denied {
					c, br := r.send(raw)
					if resp, err := http.ReadResponse(br, &http.Request{Method: "CONNECT"}); err != nil || resp.StatusCode != 200 {
						t.Errorf("%q: answered %v, %v", row.aliases, resp, err)
					}
					_ = c.Close()
					continue
				}
				r.wantRefusal(r.ask(raw), 403, "host_denied", "http_request_denied")
			}
			if n := o.connections(t) - before; row.denied && n != 0 {
				t.Errorf("%q: %d connections at the origin", row.aliases, n)
			}
			for _, m := range r.of("refused") {
				if rule, _ := m["rule"].(string); !strings.HasPrefix(rule, "deny[") {
					t.Errorf("%q: the record says %v", row.aliases, m)
				}
			}
		}
	}
}
