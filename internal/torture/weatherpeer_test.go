//go:build torture

package torture

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// peer is one that is measured.
type peer struct {
	name    string
	request func(name string) bool
	stubs   *stubs
	stop    func()
}

// notMeasured says once why a peer is left out.
var notMeasured sync.Map

// installed returns the path of a program, or says once why there is none.
func installed(name string) (string, bool) {
	path, err := exec.LookPath(name)
	if err != nil {
		if _, said := notMeasured.LoadOrStore(name, true); !said {
			fmt.Printf("weather: %s is not measured: %v; apt-get install %s\n", name, err, name)
		}
		return "", false
	}
	return path, true
}

// run starts a program that ends with the test, and waits until it answers.
func run(t *testing.T, at netip.AddrPort, name string, args ...string) (stop func()) {
	t.Helper()
	cmd := exec.Command(name, args...)
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = log.Close()
	}
	for end := time.Now().Add(20 * time.Second); !lookup(at)("n0.weather.test"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			said, _ := os.ReadFile(log.Name())
			stop()
			t.Fatalf("%s does not answer: %s", name, said)
		}
	}
	return stop
}

// freePort returns a port that is free on 127.0.0.1, over UDP and TCP.
func freePort(t *testing.T) uint16 {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		at := netip.MustParseAddrPort(l.Addr().String())
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
		_ = l.Close()
		if err == nil {
			_ = c.Close()
			return at.Port()
		}
	}
	t.Fatal("no port is free over both")
	return 0
}

// startProgram starts the proxy with its filter, and returns where both are.
func startProgram(t *testing.T, binary string, s *stubs, port uint16) (filter netip.AddrPort, proxy string, stop func()) {
	t.Helper()
	dir := t.TempDir()
	filter = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), freePort(t))
	proxy = fmt.Sprintf("127.0.0.1:%d", freePort(t))
	var servers []string
	for _, a := range s.addrs {
		servers = append(servers, fmt.Sprintf("%q", a))
	}
	text := fmt.Sprintf(`version: 1
listen: {proxy: %q, admin: "127.0.0.1:0", dns: %q}
dns: {upstreams: [%s], clients: [127.0.0.0/8], families: ip4}
functions:
  weather:
    identify: {sources: [127.0.0.0/8]}
    allow: [{host: "*.weather.test", ports: [%d], tls: any, addresses: [127.0.0.0/8]}]
audit: {output: %q}
`, proxy, filter, strings.Join(servers, ", "), port, filepath.Join(dir, "records.jsonl"))
	path := filepath.Join(dir, "egress.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return filter, proxy, run(t, filter, binary, "run", "--config", path)
}

func startFilter(t *testing.T, binary string, s *stubs, port uint16) *peer {
	filter, _, stop := startProgram(t, binary, s, port)
	return &peer{name: "filter", request: lookup(filter), stop: stop}
}

func startTunnels(t *testing.T, binary string, s *stubs, port uint16) *peer {
	_, proxy, stop := startProgram(t, binary, s, port)
	return &peer{name: "CONNECT", request: connect(proxy, port), stop: stop}
}

func startUnbound(t *testing.T, _ string, s *stubs, _ uint16) *peer {
	unbound, ok := installed("unbound")
	if !ok {
		return nil
	}
	port, dir := freePort(t), t.TempDir()
	var servers strings.Builder
	for _, a := range s.addrs {
		fmt.Fprintf(&servers, "  forward-addr: %s@%d\n", a.Addr(), a.Port())
	}
	text := fmt.Sprintf(`server:
  interface: 127.0.0.1@%d
  username: ""
  chroot: ""
  directory: %q
  pidfile: ""
  use-syslog: no
  do-daemonize: no
  do-not-query-localhost: no
  module-config: "iterator"
  local-zone: "test." nodefault
  qname-minimisation: no
  access-control: 127.0.0.0/8 allow
  serve-expired: yes
  serve-expired-ttl: 900
  serve-expired-client-timeout: 1800
  prefetch: yes
forward-zone:
  name: "."
%s`, port, dir, &servers)
	path := filepath.Join(dir, "unbound.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
	return &peer{name: "Unbound", request: lookup(at), stop: run(t, at, unbound, "-d", "-c", path)}
}

func startDNSDist(t *testing.T, _ string, s *stubs, _ uint16) *peer {
	dnsdist, ok := installed("dnsdist")
	if !ok {
		return nil
	}
	port, dir := freePort(t), t.TempDir()
	var text strings.Builder
	fmt.Fprintf(&text, "setLocal(\"127.0.0.1:%d\")\nsetACL({\"127.0.0.0/8\"})\n", port)
	for _, a := range s.addrs {
		fmt.Fprintf(&text, "newServer({address=%q, checkName=\"n0.weather.test.\"})\n", a)
	}
	text.WriteString("pc = newPacketCache(10000, {staleTTL=60})\ngetPool(\"\"):setCache(pc)\nsetStaleCacheEntriesTTL(900)\n")
	path := filepath.Join(dir, "dnsdist.conf")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
	return &peer{name: "dnsdist", request: lookup(at), stop: run(t, at, dnsdist, "--supervised", "--disable-syslog", "-C", path)}
}
