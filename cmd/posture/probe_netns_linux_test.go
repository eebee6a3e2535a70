package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
)

// Where the parts of the internet of the test are. All addresses belong to one namespace.
const (
	gateAddress     = "10.9.0.1"
	targetAddress   = "198.51.100.1"
	prefixAddress   = "198.51.100.2" // of a prefix that a fence may have forgotten
	dohAddress      = "198.51.100.4"
	endpointAddress = "198.51.100.9"
	resolverAddress = "198.51.100.53" // the network's own
	metadataAddress = "169.254.169.254"
	targetIPv6      = "2001:db8::1"
	metadataIPv6    = "fd00:ec2::254"
)

// fenced is a function's network inside a fence, and an internet outside of it. Nothing in
// them reaches the machine, and nothing of the machine's reaches them.
type fenced struct {
	t               *testing.T
	inside, outside string
	roots           string // file
	authority       *egresstest.Authority

	// What is wrong with the parts of the fence that answer.
	refusedName, noCredential, otherCredential atomic.Bool // of the proxy: it lets that through
	resolver, endpoint                         atomic.Bool // answers anything
	proxyStatus                                atomic.Int64
}

// newFenced makes both networks, or skips where the machine does not let it.
func newFenced(t *testing.T) *fenced {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	for _, tool := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	prefix := fmt.Sprintf("probe%d-", os.Getpid())
	n := &fenced{t: t, inside: prefix + "in", outside: prefix + "out", authority: egresstest.NewAuthority(t)}
	if out, err := exec.Command("ip", "netns", "add", n.inside).CombinedOutput(); err != nil {
		t.Skipf("no network namespace can be made here: %s", out)
	}
	t.Cleanup(func() { n.command("ip", "netns", "del", n.inside) })
	n.command("ip", "netns", "add", n.outside)
	t.Cleanup(func() { n.command("ip", "netns", "del", n.outside) })
	n.roots = filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(n.roots, n.authority.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	n.wire()
	n.serve()
	return n
}

// command runs a program, which has to succeed.
func (n *fenced) command(name string, args ...string) {
	n.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		n.t.Fatalf("%s %v: %s", name, args, out)
	}
}

// wire joins the networks, and gives the outer one its addresses.
func (n *fenced) wire() {
	n.command("ip", "-n", n.inside, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", n.outside)
	for _, ns := range []string{n.inside, n.outside} {
		n.command("ip", "-n", ns, "link", "set", "lo", "up")
		n.command("ip", "-n", ns, "link", "set", "eth0", "up")
	}
	n.command("ip", "-n", n.inside, "addr", "add", "10.9.0.2/24", "dev", "eth0")
	n.command("ip", "-n", n.inside, "addr", "add", "fd00:9::2/64", "dev", "eth0", "nodad")
	n.command("ip", "-n", n.outside, "addr", "add", gateAddress+"/24", "dev", "eth0")
	n.command("ip", "-n", n.outside, "addr", "add", "fd00:9::1/64", "dev", "eth0", "nodad")
	n.command("ip", "-n", n.inside, "route", "add", "default", "via", gateAddress)
	n.command("ip", "-n", n.inside, "-6", "route", "add", "default", "via", "fd00:9::1")
	for _, a := range []string{targetAddress, prefixAddress, dohAddress, endpointAddress, resolverAddress, metadataAddress} {
		n.command("ip", "-n", n.outside, "addr", "add", a+"/32", "dev", "lo")
	}
	for _, a := range []string{targetIPv6, metadataIPv6} {
		n.command("ip", "-n", n.outside, "addr", "add", a+"/128", "dev", "lo", "nodad")
	}
}

// in runs f on a thread of a namespace: sockets that it opens belong there for good.
func (n *fenced) in(namespace string, f func()) {
	n.t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked, so that the thread ends with it
		fd, err := unix.Open("/var/run/netns/"+namespace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
			_ = unix.Close(fd)
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		n.t.Fatalf("entering %s: %v", namespace, err)
	}
}

// listen serves connections of a port on every address of the outer network.
func (n *fenced) listen(port string, serve func(net.Conn)) {
	ln, err := net.Listen("tcp", ":"+port)
	if err != nil {
		n.t.Error(err)
		return
	}
	n.t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
				serve(conn)
			}()
		}
	}()
}

// datagrams serves a port of UDP: what answer returns goes back.
func (n *fenced) datagrams(address, port string, answer func([]byte) []byte) {
	conn, err := net.ListenPacket("udp", net.JoinHostPort(address, port))
	if err != nil {
		n.t.Error(err)
		return
	}
	n.t.Cleanup(func() { _ = conn.Close() })
	go func() {
		for buf := make([]byte, 1500); ; {
			size, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if out := answer(buf[:size]); out != nil {
				_, _ = conn.WriteTo(out, from)
			}
		}
	}()
}

// serve starts the internet.
func (n *fenced) serve() {
	right := &tls.Config{Certificates: []tls.Certificate{n.authority.Issue("target.test", "allowed.test", "bucket.test")}}
	wrong := &tls.Config{Certificates: []tls.Certificate{n.authority.Issue("portal.test")}}
	n.in(n.outside, func() {
		n.listen("3128", func(c net.Conn) { n.gate(c, right) })
		n.listen("443", func(c net.Conn) { n.web(tls.Server(c, right)) })
		n.listen("80", n.web)
		n.listen("444", func(c net.Conn) { n.web(tls.Server(c, wrong)) })
		n.listen("445", func(c net.Conn) { time.Sleep(700 * time.Millisecond); n.web(tls.Server(c, right)) })
		n.listen("447", func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
		n.listen("53", func(c net.Conn) { dnsStream(c) })
		n.listen("853", func(c net.Conn) { dnsStream(tls.Server(c, right)) })
		n.datagrams(targetAddress, "53", func(q []byte) []byte { return dnsAnswer(q, true) })
		n.datagrams(resolverAddress, "53", func(q []byte) []byte { return dnsAnswer(q, n.resolver.Load()) })
		n.datagrams(targetAddress, "123", ntpAnswer)
	})
}

// web answers one request, as every server of the test does.
func (n *fenced) web(c net.Conn) {
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", "target.test EC2ws")
		if r.Host == "bucket.test" && !n.endpoint.Load() {
			w.WriteHeader(http.StatusForbidden)
		}
	})}
	server.SetKeepAlivesEnabled(false)
	l := &oneConn{conns: make(chan net.Conn, 1), done: make(chan struct{})}
	server.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateClosed {
			close(l.done)
		}
	}
	l.conns <- c
	_ = server.Serve(l)
}

// oneConn is a listener of one connection, which ends with it.
type oneConn struct {
	conns chan net.Conn
	done  chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, io.EOF
	}
}
func (l *oneConn) Close() error   { return nil }
func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// gate is a proxy with the policy of the test: allowed.test alone, for fn:secret alone.
func (n *fenced) gate(c net.Conn, right *tls.Config) {
	r, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return
	}
	r.Header.Set("Authorization", r.Header.Get("Proxy-Authorization"))
	user, password, ok := r.BasicAuth()
	status := 200
	switch {
	case n.proxyStatus.Load() != 0:
		status = int(n.proxyStatus.Load())
	case !ok && !n.noCredential.Load():
		status = 407
	case ok && user+":"+password != "fn:secret" && !n.otherCredential.Load():
		status = 407
	case r.Host != "allowed.test:443" && !n.refusedName.Load():
		status = 403
	}
	fmt.Fprintf(c, "HTTP/1.1 %d Status\r\n\r\n", status)
	if status == 200 {
		_ = tls.Server(c, right).Handshake()
	}
}

// dnsAnswer answers any question with one address, or says that there is no such name.
func dnsAnswer(question []byte, found bool) []byte {
	var m dnsmessage.Message
	if m.Unpack(question) != nil || len(m.Questions) != 1 {
		return nil
	}
	m.Response = true
	if m.RCode = dnsmessage.RCodeNameError; found {
		m.RCode = dnsmessage.RCodeSuccess
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: 1},
			Body:   &dnsmessage.AResource{A: [4]byte{192, 0, 2, 7}},
		}}
	}
	out, _ := m.Pack()
	return out
}

// dnsStream answers one question of a stream.
func dnsStream(c net.Conn) {
	buf := make([]byte, 1500)
	if _, err := io.ReadFull(c, buf[:2]); err != nil {
		return
	}
	q := buf[:int(buf[0])<<8|int(buf[1])]
	if _, err := io.ReadFull(c, q); err != nil {
		return
	}
	a := dnsAnswer(q, true)
	_, _ = c.Write(append([]byte{byte(len(a) >> 8), byte(len(a))}, a...))
}

// ntpAnswer answers as a time server does.
func ntpAnswer(q []byte) []byte {
	if len(q) < 48 {
		return nil
	}
	a := make([]byte, 48)
	a[0] = 4<<3 | 4
	copy(a[24:32], q[40:48])
	return a
}

// fence puts rules between the two networks: what a function needs, then extra, then
// verdict: "drop", or rejecting.
func (n *fenced) fence(verdict string, extra ...string) {
	n.t.Helper()
	rules := "flush ruleset\ntable inet fence { chain out { type filter hook output priority 0; policy drop;\n" +
		"oifname lo accept\n" + // by which a fence that says no does so
		"icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept\n" +
		"ip daddr " + gateAddress + " tcp dport 3128 accept\n" +
		"ip daddr " + resolverAddress + " udp dport 53 accept\n" +
		"ip daddr " + endpointAddress + " tcp dport 443 accept\n" +
		strings.Join(extra, "\n") + "\n" + verdict + "\n}\n}\n"
	cmd := exec.Command("ip", "netns", "exec", n.inside, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		n.t.Fatalf("nft: %s", out)
	}
}
