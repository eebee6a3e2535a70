package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
)

// dnsHead begins the policies of tests of the DNS filter. KEYS is where further
// keys of dns can be put.
const dnsHead = `version: 1
listen: {proxy: "127.0.0.1:0", admin: "127.0.0.1:0", dns: "127.0.0.1:0"}
dns: {upstreams: ["${dns}"], families: ip4, KEYS clients: [127.0.0.0/8]}
`

// withDNS returns a policy that has dnsHead and the keys before the rest.
func withDNS(keys, rest string) string {
	if keys != "" {
		keys += ","
	}
	return strings.Replace(dnsHead, "KEYS", keys, 1) + rest
}

// dialerAt dials from an address of loopback.
func dialerAt(source, network string) *net.Dialer {
	at := netip.AddrPortFrom(netip.MustParseAddr(source), 0)
	d := &net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(at), Timeout: patience, Control: latePort}
	if network == "udp" {
		d.LocalAddr, d.Control = net.UDPAddrFromAddrPort(at), nil
	}
	return d
}

// ownAddress returns an address of loopback that no other process of the tests
// uses: a port of it that is free stays free, where one of 127.0.0.1 can be
// taken by any connection before it is listened on.
func ownAddress(t testing.TB, nth byte) netip.Addr {
	t.Helper()
	egresstest.NeedsLoopback(t)
	pid := os.Getpid()
	return netip.AddrFrom4([4]byte{127, 64 + byte(pid>>8)%128, byte(pid), nth})
}

// found is what the filter answered to one question.
type found struct {
	rcode int
	addrs []string // of A and AAAA records, sorted
	why   string   // text of the extended error, "" where there is none
	code  uint16   // its number
	msg   *dns.Msg
}

// String prints what decides: the addresses, or how the question was refused.
func (f found) String() string {
	switch {
	case f.why != "":
		return fmt.Sprintf("%s %d %s", dns.RcodeToString[f.rcode], f.code, f.why)
	case f.rcode != dns.RcodeSuccess:
		return dns.RcodeToString[f.rcode]
	default:
		return strings.Join(f.addrs, " ")
	}
}

// lookup asks the filter as a source, over udp or tcp.
func (p *running) lookup(source, network, name string, qtype uint16) found {
	p.t.Helper()
	f, err := p.tryLookup(source, network, name, qtype)
	if err != nil {
		p.t.Fatalf("%s %s over %s: %v", name, dns.TypeToString[qtype], network, err)
	}
	return f
}

// tryLookup is lookup for goroutines: it does not end the test.
func (p *running) tryLookup(source, network, name string, qtype uint16) (found, error) {
	q := new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype)
	q.SetEdns0(1232, false)
	c := dns.Client{Net: network, Timeout: patience, Dialer: dialerAt(source, network)}
	m, _, err := c.Exchange(q, p.dns)
	if err != nil {
		return found{}, err
	}
	return readAnswer(m), nil
}

// readAnswer takes an answer apart.
func readAnswer(m *dns.Msg) found {
	f := found{rcode: m.Rcode, msg: m}
	for _, rr := range m.Answer {
		switch rr := rr.(type) {
		case *dns.A:
			f.addrs = append(f.addrs, rr.A.String())
		case *dns.AAAA:
			f.addrs = append(f.addrs, rr.AAAA.String())
		}
	}
	slices.Sort(f.addrs)
	if opt := m.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if e, ok := o.(*dns.EDNS0_EDE); ok {
				f.code, f.why = e.InfoCode, e.ExtraText
			}
		}
	}
	return f
}

// answers checks what the filter answers to a question for addresses over
// either transport.
func (p *running) answers(source, name string, qtype uint16, want string) {
	p.t.Helper()
	for _, network := range []string{"udp", "tcp"} {
		if got := p.lookup(source, network, name, qtype).String(); got != want {
			p.t.Errorf("%s %s over %s is answered %q, want %q", name, dns.TypeToString[qtype], network, got, want)
		}
	}
}

// reloadWith puts another policy in force. A file can be loaded twice, because of
// the signal and because it has changed, so the record must be of this one.
func (p *running) reloadWith(policy string) {
	p.t.Helper()
	copied := filepath.Join(p.t.TempDir(), "egress.yaml")
	p.world.write(copied, policy)
	cfg, err := config.Load(copied)
	p.world.must(err)
	p.world.write(p.config, policy)
	p.signal(syscall.SIGHUP)
	p.world.eventually("the file is loaded", func() bool {
		all := p.of("reloaded")
		return len(all) > 0 && all[len(all)-1].Policy == cfg.Hash()
	})
}
