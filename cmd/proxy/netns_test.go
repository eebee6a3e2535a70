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
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// network is namespaces of this test that are joined by one switch. Nothing in
// them reaches the machine, and nothing of the machine's reaches them.
type network struct {
	t      *testing.T
	prefix string
}

// newNetwork makes the switch, or skips where the machine does not let it.
func newNetwork(t *testing.T) *network {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	for _, tool := range []string{"ip", "nft", "haproxy"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	n := &network{t: t, prefix: fmt.Sprintf("egress%d", os.Getpid())}
	if out, err := exec.Command("ip", "netns", "add", n.name("switch")).CombinedOutput(); err != nil {
		t.Skipf("no network namespace can be made here: %s", out)
	}
	t.Cleanup(func() { n.ip("netns", "del", n.name("switch")) })
	n.ip("-n", n.name("switch"), "link", "add", "bridge", "type", "bridge")
	n.ip("-n", n.name("switch"), "link", "set", "bridge", "up")
	return n
}

// name returns the name of a namespace.
func (n *network) name(space string) string { return n.prefix + "-" + space }

// ip runs ip(8).
func (n *network) ip(args ...string) {
	n.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		n.t.Fatalf("ip %v: %s", args, out)
	}
}

// add makes a namespace with addresses on the switch.
func (n *network) add(space string, addresses ...string) {
	n.t.Helper()
	name := n.name(space)
	n.ip("netns", "add", name)
	n.t.Cleanup(func() { n.ip("netns", "del", name) })
	n.ip("-n", name, "link", "set", "lo", "up")
	n.ip("-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", space, "netns", n.name("switch"))
	n.ip("-n", n.name("switch"), "link", "set", space, "master", "bridge", "up")
	for _, a := range addresses {
		n.ip("-n", name, "addr", "add", a+"/16", "dev", "eth0")
	}
	n.ip("-n", name, "link", "set", "eth0", "up")
}

// in runs f on a thread of the namespace: sockets that it opens and processes
// that it starts belong there for good. It fails where f does not come to its
// end.
func (n *network) in(space string, f func()) {
	n.t.Helper()
	done := make(chan struct{})
	whole := false
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked, so that the thread ends with it
		fd, err := unix.Open("/var/run/netns/"+n.name(space), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
			_ = unix.Close(fd)
		}
		if err != nil {
			n.t.Errorf("entering %s: %v", space, err)
			return
		}
		f()
		whole = true
	}()
	<-done
	if !whole {
		n.t.FailNow()
	}
}

// nft runs nft(8) in a namespace.
func (n *network) nft(space, rules string) {
	n.t.Helper()
	cmd := exec.Command("ip", "netns", "exec", n.name(space), "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		n.t.Fatalf("nft: %s", out)
	}
}

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

// zonePolicy knows functions by the address that only the PROXY header has.
const zonePolicy = `version: 1
listen: {proxy: "0.0.0.0:3128", admin: "0.0.0.0:9090", proxy_protocol_from: [10.77.0.2/32]}
dns: {upstreams: ["10.77.0.50:53"], families: ip4}
limits: {drain: 2s, idle_timeout: 6s}
functions:
  zone-a: {identify: {sources: [10.77.1.0/24]}, allow: [{cidr: 10.77.0.50/32, ports: [7], tls: any}]}
  zone-b: {identify: {sources: [10.77.2.0/24]}, allow: [{cidr: 10.77.0.50/32, ports: [7], tls: any}]}
`

// balancing is a load balancer as the network one of AWS: TCP, PROXY v2, health
// by /readyz, and a connection that a target does not take is lost. An answer of
// /readyz may take its time, so that a machine that is busy is not a bad target.
const balancing = `global
  log stdout format raw local0 info
defaults
  log global
  mode tcp
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  timeout check 5s
  retries 0
  no option redispatch
frontend all
  bind 10.77.0.2:3128
  default_backend proxies
backend proxies
  balance roundrobin
  option httpchk GET /readyz
  default-server check port 9090 inter 200ms fall 1 rise 1 send-proxy-v2
  server proxy1 10.77.0.11:3128
  server proxy2 10.77.0.12:3128
`

// platform is the network with everything that runs in it.
type platform struct {
	*network
	w       *world
	said    bytes.Buffer        // by the balancer
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
	p.serveOrigin()
	for name, address := range proxyAddress {
		n.add(name, address)
		p.start(name)
	}
	config := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(config, []byte(balancing), 0o600); err != nil {
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
	var open sync.WaitGroup
	open.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			open.Go(func() { defer c.Close(); echo(c) })
		}
	})
	p.t.Cleanup(func() { _ = ln.Close(); open.Wait() })
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
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0)), Timeout: 5 * time.Second}
	c, err := d.Dial("tcp", balancer+":3128")
	if err != nil {
		return nil, nil, err
	}
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
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

// echoes tells whether a tunnel carries what it is given.
func echoes(c net.Conn) error {
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

// load is requests of all functions, one after the other from each address.
type load struct {
	stop    chan struct{}
	end     func() // stops it and waits for the requests under way
	workers sync.WaitGroup

	mu      sync.Mutex
	done    map[string]string // client address → zone
	retried int
	lost    []error
}

// run begins the load. A function that is told to go elsewhere asks again.
func (p *platform) run() *load {
	l := &load{stop: make(chan struct{}), done: map[string]string{}}
	for zone, addresses := range zones {
		for _, from := range addresses {
			l.workers.Go(func() { p.in(zone, func() { l.work(zone, from) }) })
		}
	}
	l.end = sync.OnceFunc(func() { close(l.stop); l.workers.Wait() })
	p.t.Cleanup(l.end)
	return l
}

// work asks until the load is over.
func (l *load) work(zone, from string) {
	for {
		select {
		case <-l.stop:
			return
		case <-time.After(5 * time.Millisecond):
		}
		c, refused, err := connectFrom(from)
		if err == nil {
			err = echoes(c)
			_ = c.Close()
		}
		l.mu.Lock()
		switch {
		case err == nil:
			l.done[c.LocalAddr().String()] = zone
		case refused != nil && refused.StatusCode == http.StatusServiceUnavailable && refused.Header.Get("X-Egress-Reason") == "draining":
			l.retried++
		default:
			l.lost = append(l.lost, err)
		}
		l.mu.Unlock()
	}
}

// replace rolls one proxy over while tunnels are open through both.
func (p *platform) replace(name string) {
	p.t.Helper()
	old := p.proxies[name]
	held := p.hold(old)
	old.signal(syscall.SIGTERM)
	if code := old.wait(); code != 0 {
		p.t.Errorf("%s: exit code %d", name, code)
	}
	ended := map[string]string{}
	for _, r := range old.of("closed") {
		ended[r.Client] = r.Ended
	}
	cut := 0
	for from, c := range held {
		if ended[from] == "" { // it is on the other proxy
			if err := echoes(c); err != nil {
				p.t.Errorf("%s: a tunnel of the other proxy has ended without a record: %v", name, err)
			}
			continue
		}
		cut++
		if n, err := c.Read(make([]byte, 1)); ended[from] != "shutdown" || n > 0 || isTimeout(err) {
			p.t.Errorf("%s: a tunnel that outlives the drain: ended %q in the record; the client reads %d, %v", name, ended[from], n, err)
		}
	}
	if cut == 0 || cut == len(held) {
		p.t.Errorf("%s: %d of %d tunnels were cut", name, cut, len(held))
	}
	p.start(name)
	p.w.eventually(name+" is used again", func() bool { return len(p.proxies[name].of("opened")) > 0 })
}

// hold opens tunnels from all addresses until some of them, and not all, are
// through one proxy. It returns them by the client's address.
func (p *platform) hold(one *running) map[string]net.Conn {
	p.t.Helper()
	held := map[string]net.Conn{}
	p.t.Cleanup(func() {
		for _, c := range held {
			_ = c.Close()
		}
	})
	for range 20 {
		for zone, addresses := range zones {
			for _, from := range addresses {
				c, _, err := p.tunnel(zone, from)
				p.w.must(err)
				held[c.LocalAddr().String()] = c
				p.w.must(echoes(c))
			}
		}
		through := 0
		for _, r := range one.of("opened") {
			if held[r.Client] != nil {
				through++
			}
		}
		if 0 < through && through < len(held) {
			return held
		}
	}
	p.t.Fatalf("%d tunnels, all or none of them through one proxy: the balancer does not balance", len(held))
	return nil
}

// silence drops what goes between the balancer and the proxies, and tells
// neither side, as a balancer does with a flow that it has forgotten. It returns
// when every tunnel has ended as idle.
func (p *platform) silence() {
	p.t.Helper()
	from := map[string]bool{}
	for zone, addresses := range zones {
		c, _, err := p.tunnel(zone, addresses[0])
		p.w.must(err)
		defer c.Close()
		p.w.must(echoes(c))
		from[c.LocalAddr().String()] = true
	}
	p.nft("balancer", `table ip silent {
  chain out { type filter hook output priority 0; ip daddr { 10.77.0.11, 10.77.0.12 } drop; }
  chain in { type filter hook input priority 0; ip saddr { 10.77.0.11, 10.77.0.12 } drop; }
}
`)
	defer p.nft("balancer", "delete table ip silent\n")
	p.w.eventually("the silent tunnels are reaped", func() bool {
		n := 0
		for _, proxy := range p.proxies {
			for _, r := range proxy.of("closed") {
				if from[r.Client] {
					n++
					if r.Ended != "idle" {
						p.t.Errorf("a silent tunnel ended as %q", r.Ended)
					}
				}
			}
		}
		return n == len(from)
	})
}

// account compares what clients saw with what is recorded.
func (p *platform) account(l *load) {
	p.t.Helper()
	function, open := map[string]string{}, map[string]string{}
	for _, proxy := range p.all {
		for _, r := range proxy.records() {
			switch r.Event {
			case "opened":
				function[r.Client], open[r.ID] = r.Function, r.Client
			case "closed":
				delete(open, r.ID)
			}
		}
	}
	for from, zone := range l.done {
		if function[from] != zone {
			p.t.Errorf("%s of %s got through; the records have it as %q", from, zone, function[from])
		}
	}
	for id, from := range open {
		p.t.Errorf("the tunnel %s of %s has no record of its end", id, from)
	}
	for from := range function {
		if strings.HasPrefix(from, balancer+":") {
			p.t.Errorf("the records have the balancer as a client: %s", from)
		}
	}
}

func TestRollingReplacementLosesNothingAndRecordsEveryEnd(t *testing.T) {
	p := newPlatform(t)
	l := p.run()
	p.replace("proxy1")
	p.replace("proxy2")
	l.end()
	p.silence()
	for _, proxy := range p.proxies {
		proxy.signal(syscall.SIGTERM)
		proxy.wait()
	}
	p.account(l)
	for _, err := range l.lost {
		t.Errorf("a request was lost: %v", err)
	}
	if len(l.done) == 0 || l.retried == 0 {
		t.Errorf("%d requests, %d of them asked again; the load proves nothing", len(l.done), l.retried)
	}
	t.Logf("%d requests got through, %d were told to ask again", len(l.done), l.retried)
}
