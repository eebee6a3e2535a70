package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
)

// The addresses of the network.
const (
	balancer = "10.77.0.2"
	origins  = "10.77.0.50"
)

// proxyAddress is where each proxy is.
var proxyAddress = map[string]string{"proxy1": "10.77.0.11", "proxy2": "10.77.0.12"}

// zones are the functions of two zones, three addresses each.
var zones = map[string][]string{
	"zone-a": {"10.77.1.10", "10.77.1.11", "10.77.1.12"},
	"zone-b": {"10.77.2.10", "10.77.2.11", "10.77.2.12"},
}

// zonePolicy knows functions by the address that only the PROXY header has. Each
// limit is the test's: where one is to be reached it is short, and else so long
// that no busy machine reaches it.
const zonePolicy = `version: 1
listen: {proxy: "0.0.0.0:3128", admin: "0.0.0.0:9090", proxy_protocol_from: [10.77.0.2/32]}
dns: {upstreams: ["10.77.0.50:53"], families: ip4}
limits: {${limits}}
functions:
  zone-a: {identify: {sources: [10.77.1.0/24]}, allow: [{cidr: 10.77.0.50/32, ports: [7], tls: any}]}
  zone-b: {identify: {sources: [10.77.2.0/24]}, allow: [{cidr: 10.77.0.50/32, ports: [7], tls: any}]}
`

// balancing is a load balancer as the network one of AWS: TCP, PROXY v2, health
// by /readyz, and a connection that a target does not take is lost. An answer of
// /readyz may take its time, so that a machine that is busy is not a bad target.
// %s is the socket where it takes commands.
const balancing = `global
  log stdout format raw local0 info
  stats socket %s mode 600 level admin
defaults
  log global
  mode tcp
  timeout connect 30s
  timeout client 10m
  timeout server 10m
  timeout check 30s
  retries 0
  no option redispatch
frontend all
  bind 10.77.0.2:3128
  default_backend proxies
backend proxies
  balance roundrobin
  option httpchk GET /readyz
  default-server check port 9090 inter 2s fastinter 200ms downinter 200ms fall 2 rise 1 send-proxy-v2
  server proxy1 10.77.0.11:3128
  server proxy2 10.77.0.12:3128
`

// platform is the network with everything that runs in it.
type platform struct {
	*network
	w       *world
	said    bytes.Buffer        // by the balancer
	socket  string              // where it takes commands
	proxies map[string]*running // what runs now
	all     []*running          // what ever ran
}

// newPlatform starts the origin, the proxies and the balancer.
func newPlatform(t *testing.T) *platform {
	t.Helper()
	n := newNetwork(t)
	n.add("balancer", balancer)
	n.add("origins", origins)
	for name, addresses := range zones {
		n.add(name, addresses...)
	}
	p := &platform{network: n, w: newWorld(t), proxies: map[string]*running{}}
	p.w.vars["limits"] = "drain: 1h, idle_timeout: 1h"
	p.serveOrigin()
	for name, address := range proxyAddress {
		n.add(name, address)
		p.start(name)
	}
	dir, err := os.MkdirTemp("", "egress") // the path of a socket is short
	p.w.must(err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p.socket = filepath.Join(dir, "balancer")
	config := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(config, fmt.Appendf(nil, balancing, p.socket), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("ip", "netns", "exec", n.name("balancer"), "haproxy", "-db", "-f", config)
	cmd.Stdout, cmd.Stderr = &p.said, &p.said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the balancer said:\n%s", &p.said)
		}
	})
	p.w.eventually("the balancer serves", func() bool {
		tunnel, _, err := p.tunnel("zone-a", zones["zone-a"][0])
		if err == nil {
			_ = tunnel.Close()
		}
		return err == nil
	})
	return p
}

// serveOrigin runs an origin that echoes.
func (p *platform) serveOrigin() {
	var ln net.Listener
	p.in("origins", func() {
		var err error
		ln, err = net.Listen("tcp", origins+":7")
		p.w.must(err)
	})
	egresstest.Serve(p.t, ln, echo)
}

// start starts a proxy.
func (p *platform) start(name string) {
	p.t.Helper()
	dir := p.t.TempDir()
	config := filepath.Join(dir, "egress.yaml")
	p.w.write(config, zonePolicy)
	p.in(name, func() { p.proxies[name] = p.w.startFile(dir, []string{"run", "--config", config}) })
	p.all = append(p.all, p.proxies[name])
}

// tunnel asks for a tunnel to the origin from an address of a zone, on the
// thread of its namespace. A refusal is its response and an error.
func (p *platform) tunnel(zone, from string) (c net.Conn, refused *http.Response, err error) {
	p.in(zone, func() { c, refused, err = connectFrom(from) })
	return c, refused, err
}

// connectFrom asks the balancer for a tunnel to the origin.
func connectFrom(from string) (net.Conn, *http.Response, error) {
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0)), Timeout: patience}
	c, err := d.Dial("tcp", balancer+":3128")
	if err != nil {
		return nil, nil, err
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(c, "CONNECT %s:7 HTTP/1.1\r\nHost: %s:7\r\n\r\n", origins, origins)
	br := bufio.NewReader(c)
	resp, err := http.ReadResponse(br, &http.Request{Method: http.MethodConnect})
	if err != nil {
		_ = c.Close()
		return nil, nil, fmt.Errorf("%v has no answer: %w", c.LocalAddr(), err)
	}
	if resp.StatusCode != http.StatusOK {
		_ = c.Close()
		return nil, resp, fmt.Errorf("%v is refused: %s", c.LocalAddr(), resp.Status)
	}
	return &readAhead{c, br}, nil, nil
}

// echoes reports whether a tunnel carries what it is given.
func echoes(c net.Conn) error {
	_ = c.SetDeadline(time.Now().Add(patience))
	want := payload(1 << 10)
	if _, err := c.Write(want); err != nil {
		return err
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != string(want) {
		return fmt.Errorf("the tunnel carries something else")
	}
	return nil
}

// command has the balancer carry out a command and returns what it answers.
func (p *platform) command(line string) string {
	p.t.Helper()
	c, err := net.DialTimeout("unix", p.socket, patience)
	p.w.must(err)
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, err = io.WriteString(c, line+"\n")
	p.w.must(err)
	answer, err := io.ReadAll(c)
	p.w.must(err)
	return string(answer)
}

// isOut reports whether the balancer sends nothing to a proxy.
func (p *platform) isOut(name string) bool {
	p.t.Helper()
	const status = 17 // column
	for line := range strings.Lines(p.command("show stat")) {
		if f := strings.Split(line, ","); len(f) > status && f[0] == "proxies" && f[1] == name {
			return f[status] == "DOWN"
		}
	}
	p.t.Fatalf("the balancer does not know %s", name)
	return false
}
