package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/dnsfilter"
)

// stubPolicy allows three names to everyone on loopback.
const stubPolicy = `functions:
  billing:
    identify: {sources: [127.0.0.0/8]}
    allow: [two.test, big.test, nowhere.test]
`

// bigAnswer is how many addresses big.test has: more than fit into a UDP
// answer, so that a client must come back over TCP.
const bigAnswer = 120

// newStubWorld is a world for stubPolicy.
func newStubWorld(t testing.TB) *world {
	t.Helper()
	w := newWorld(t)
	w.names.set("two.test", "1.1.1.1", "2606:4700::1111")
	w.names.set("big.test", bigAddresses()...)
	return w
}

// bigAddresses are the addresses of big.test.
func bigAddresses() (all []string) {
	for i := range bigAnswer {
		all = append(all, fmt.Sprintf("8.8.%d.8", i))
	}
	return all
}

func TestDigGetsAnswersAndTheReasonOfRefusals(t *testing.T) {
	needs(t, "dig", "-v")
	p := newStubWorld(t).start(withDNS("", stubPolicy))
	host, at, _ := net.SplitHostPort(p.dns)
	for _, transport := range []string{"+notcp", "+tcp"} {
		dig := func(words ...string) string {
			t.Helper()
			out, err := exec.Command("dig", append([]string{"@" + host, "-p", at, "-r", "+tries=1", "+time=30", transport}, words...)...).CombinedOutput()
			if err != nil {
				t.Errorf("dig %s %v: %v\n%s", transport, words, err, out)
			}
			return string(out)
		}
		if got := dig("+short", "two.test", "A"); got != "1.1.1.1\n" {
			t.Errorf("dig %s two.test A: %s", transport, got)
		}
		if got := dig("+short", "two.test", "AAAA"); got != "2606:4700::1111\n" {
			t.Errorf("dig %s two.test AAAA: %s", transport, got)
		}
		if got := strings.Fields(dig("+short", "big.test", "A")); !sameSet(got, bigAddresses()) {
			t.Errorf("dig %s big.test A: %d addresses", transport, len(got))
		}
		got := dig("data.evil.test", "A")
		for _, want := range []string{"status: NXDOMAIN", "EDE: 17 (Filtered): (host_not_allowed)", "SOA"} {
			if !strings.Contains(got, want) {
				t.Errorf("dig %s data.evil.test A does not show %q:\n%s", transport, want, got)
			}
		}
	}
	p.onlyRefused("data.evil.test")
}

// sameSet reports whether two lists hold the same strings, in any order.
func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// onlyRefused checks that the one name that was refused has been, with records,
// and was not asked for upstream.
func (p *running) onlyRefused(name string) {
	p.t.Helper()
	all := p.of("answered")
	for _, r := range all {
		if r.Host != name || r.Verdict != "deny" || r.Reason != "host_not_allowed" || r.Function != "billing" {
			p.t.Errorf("a record of what was not refused: %+v", r)
		}
	}
	if len(all) == 0 {
		p.t.Errorf("the refusal of %s has no record", name)
	}
	if n := p.world.names.queries(name); n != 0 {
		p.t.Errorf("%d packets went upstream for %s", n, name)
	}
}

// stub is a stub resolver of a runtime: a program that prints the addresses of
// the name that is its last argument, one a line, in any order and with
// repetitions, and fails where there are none.
type stub struct {
	command []string
	// refused is what the program prints of a name that does not exist.
	refused string
}

func TestGetentGetsAnswers(t *testing.T) {
	needs(t, "getent", "--version")
	stub{command: []string{"sh", "-c", `out=$(getent ahosts "$0") && echo "$out" | cut -d' ' -f1`}}.asks(t, 1)
}

func TestPythonSocketGetsAnswers(t *testing.T) {
	needs(t, "python3", "-c", "")
	stub{command: []string{"python3", "-c", `import socket, sys
for found in socket.getaddrinfo(sys.argv[1], 443): print(found[4][0])`}, refused: "gaierror"}.asks(t, 2)
}

func TestNodeLookupGetsAnswers(t *testing.T) {
	needs(t, "node", "-e", "")
	stub{command: []string{"node", "-e", `require("dns").lookup(process.argv[1], {all: true}, (err, found) => {
  if (err) throw err
  for (const {address} of found) console.log(address)
})`}, refused: "ENOTFOUND"}.asks(t, 3)
}

// Node has a resolver of its own beside that of the system; it can be told the
// server's port, and so needs no file of its own.
func TestNodeResolverGetsAnswers(t *testing.T) {
	needs(t, "node", "-e", "")
	p := newStubWorld(t).start(withDNS("", stubPolicy))
	s := stub{command: []string{"node", "-e", `const {Resolver} = require("dns")
const resolver = new Resolver({tries: 1, timeout: 30000})
resolver.setServers([process.argv[1]])
resolver.resolve4(process.argv[2], (err, found) => {
  if (err) throw err
  found.forEach(address => console.log(address))
})`, p.dns}, refused: "ENOTFOUND"}
	s.prints(t, exec.Command, "two.test", "1.1.1.1")
	s.prints(t, exec.Command, "big.test", bigAddresses()...)
	s.fails(t, exec.Command, "data.evil.test")
	p.onlyRefused("data.evil.test")
}

// asks lets the stub find the filter by a resolv.conf of its own, once over UDP
// and once over TCP alone. nth tells the tests apart that call it.
func (s stub) asks(t *testing.T, nth int) {
	t.Helper()
	at := port53(t, nth)
	w := newStubWorld(t)
	p := w.start(strings.Replace(withDNS("", stubPolicy), `dns: "127.0.0.1:0"`, `dns: "`+at.String()+`"`, 1))
	for _, options := range []string{"timeout:20", "timeout:20 use-vc"} {
		run := withResolvConf(t, "nameserver "+at.Addr().String()+"\noptions "+options+"\n")
		s.prints(t, run, "two.test", "1.1.1.1", "2606:4700::1111")
		s.prints(t, run, "big.test", bigAddresses()...)
		s.fails(t, run, "data.evil.test")
	}
	p.onlyRefused("data.evil.test")
}

// prints checks that the stub finds exactly these addresses of a name.
func (s stub) prints(t *testing.T, run func(string, ...string) *exec.Cmd, name string, want ...string) {
	t.Helper()
	out, err := run(s.command[0], append(s.command[1:len(s.command):len(s.command)], name)...).CombinedOutput()
	got := slices.Compact(slices.Sorted(slices.Values(strings.Fields(string(out)))))
	if err != nil || !sameSet(got, want) {
		t.Errorf("%s of %s: %v, %d addresses, want %d: %.300s", s.command[0], name, err, len(got), len(want), out)
	}
}

// fails checks that the stub says that a name does not exist.
func (s stub) fails(t *testing.T, run func(string, ...string) *exec.Cmd, name string) {
	t.Helper()
	out, err := run(s.command[0], append(s.command[1:len(s.command):len(s.command)], name)...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), s.refused) {
		t.Errorf("%s of %s: %v: %s", s.command[0], name, err, out)
	}
}

// port53 returns an address of loopback whose port 53 is free, for the nth test
// that wants one: resolv.conf names no ports. It skips the test where there is none.
func port53(t *testing.T, nth int) netip.AddrPort {
	t.Helper()
	var err error
	for try := range 20 {
		at := netip.AddrPortFrom(ownAddress(t, byte(20*nth+try)), 53)
		var socks *dnsfilter.Sockets
		if socks, err = dnsfilter.Listen(t.Context(), at, 1); err == nil {
			socks.Close()
			return at
		}
	}
	t.Skipf("stub resolvers ask port 53, and that cannot be listened on here: %v", err)
	return netip.AddrPort{}
}

// withResolvConf returns what makes commands that see the text as
// /etc/resolv.conf, in a mount namespace of their own. It skips the test where
// there is none to be had.
func withResolvConf(t *testing.T, text string) func(string, ...string) *exec.Cmd {
	t.Helper()
	file := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	private := func(name string, args ...string) *exec.Cmd {
		words := []string{"-m", "sh", "-c", `mount --bind "$0" /etc/resolv.conf && exec "$@"`, file, name}
		if os.Getuid() != 0 {
			words = append([]string{"-r"}, words...)
		}
		return exec.Command("unshare", append(words, args...)...)
	}
	if out, err := private("true").CombinedOutput(); err != nil {
		t.Skipf("a resolv.conf for one process needs a mount namespace: %v: %s", err, out)
	}
	return private
}

// unboundConfig is a zone that a real server is authoritative for.
const unboundConfig = `server:
  interface: %[1]s@53000
  port: 53000
  username: ""
  chroot: ""
  directory: "%[2]s"
  pidfile: ""
  use-syslog: no
  access-control: 127.0.0.0/8 allow
  module-config: "iterator"
  num-threads: 1
  log-queries: yes
  local-zone: "test." static
  local-data: "test. 300 IN SOA ns.test. root.test. 1 3600 600 86400 60"
  local-data: "two.test. 300 IN A 1.1.1.1"
  local-data: "two.test. 300 IN AAAA 2606:4700::1111"
  local-data: "alias.test. 300 IN CNAME two.test."
  local-data: 'two.test. 300 IN HTTPS 1 . alpn="h2" ech="AEj+DQBEAQAgACAdd+scUi0IYFsXnUIU7ko2Nd9+F8M26pAGZVpz/KrWPgAEAAEAAWQVZWNoLXNpdGVzLmV4YW1wbGUubmV0AAA="'
  local-data: "inside.test. 300 IN A 10.1.2.3"
remote-control:
  control-enable: no
`

func TestUnboundAsUpstreamIsAnsweredFrom(t *testing.T) {
	server := "/usr/sbin/unbound" // not in everybody's PATH
	if found, err := exec.LookPath("unbound"); err == nil {
		server = found
	}
	needs(t, server, "-V")
	w := newWorld(t)
	dir := t.TempDir()
	at := ownAddress(t, 2).String()
	log := filepath.Join(dir, "log")
	w.must(os.WriteFile(filepath.Join(dir, "unbound.conf"), fmt.Appendf(nil, unboundConfig, at, dir), 0o600))
	cmd := exec.Command(server, "-d", "-c", filepath.Join(dir, "unbound.conf"))
	said, err := os.Create(log)
	w.must(err)
	defer said.Close()
	cmd.Stdout, cmd.Stderr = said, said
	w.must(cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	w.vars["dns"] = at + ":53000"
	w.eventually("Unbound answers", func() bool {
		_, err := dns.Exchange(new(dns.Msg).SetQuestion("test.", dns.TypeSOA), w.vars["dns"])
		return err == nil
	})
	p := w.start(withDNS("", `functions:
  billing: {identify: {sources: [127.0.0.0/8]}, allow: [two.test, alias.test, inside.test, nowhere.test]}
`))
	p.answers("127.0.0.1", "two.test", dns.TypeA, "1.1.1.1")
	p.answers("127.0.0.1", "two.test", dns.TypeAAAA, "2606:4700::1111")
	p.answers("127.0.0.1", "alias.test", dns.TypeA, "1.1.1.1")
	p.answers("127.0.0.1", "nowhere.test", dns.TypeA, "NXDOMAIN")
	p.answers("127.0.0.1", "inside.test", dns.TypeA, "NOERROR 17 address_not_allowed")
	p.answers("127.0.0.1", "data.evil.test", dns.TypeA, "NXDOMAIN 17 host_not_allowed")
	https := fmt.Sprint(p.lookup("127.0.0.1", "udp", "two.test", dns.TypeHTTPS).msg.Answer)
	if !strings.Contains(https, `alpn="h2"`) || strings.Contains(https, "ech=") {
		t.Errorf("the HTTPS record is %s; it should have its alpn and no ech", https)
	}
	if text := p.read(log); !strings.Contains(text, "two.test. A IN") || strings.Contains(text, "evil.test") {
		t.Errorf("Unbound was asked: %s", text)
	}
}
