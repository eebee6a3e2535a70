package main

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/bounds"
)

// The program may open 256 or 1,024 files. Clients of the DNS filter, of one source and
// of several, open more idle connections than that: tunnels, lookups, the filter for
// others and the admin listener go on, and the last descriptor is never reached.
func TestIdleConnectionsToTheFilterTakeNoDescriptorOfOthers(t *testing.T) {
	for _, limit := range []int{256, 1024} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			w := newWorld(t)
			target := w.echoing()
			p := w.startUnder(fmt.Sprintf("ulimit -n %d", limit), withDNS("", strings.TrimPrefix(abusePolicy, head)))
			if !p.logged("the default limits are cut to the descriptors and the memory of the process") {
				t.Error("nothing says that the limits do not fit")
			}
			goroutines, files := p.holds(target)
			var idle []net.Conn
			for i := range limit + limit/2 {
				c, err := dialerAt(fmt.Sprintf("127.0.5.%d", i%3), "tcp").Dial("tcp", p.dns)
				w.must(err)
				t.Cleanup(func() { _ = c.Close() })
				idle = append(idle, c)
				if i%100 != 99 {
					continue
				}
				if status, _ := p.get("/readyz"); status != http.StatusOK {
					t.Errorf("readyz answers %d", status)
				}
				if r := p.connect("billing", target); r.StatusCode != http.StatusOK {
					t.Errorf("CONNECT is answered %s", r.Status)
				} else {
					_ = r.conn.Close()
				}
				for _, network := range []string{"udp", "tcp"} {
					if got := p.lookup("127.0.6.1", network, "allowed.test", dns.TypeA); got.rcode != dns.RcodeSuccess {
						t.Errorf("a lookup over %s is answered %v", network, got)
					}
				}
				if n := p.number("process_open_fds"); n > float64(limit-32) {
					t.Errorf("%v descriptors are open", n)
				}
			}
			if p.logged("accepting a connection failed, retrying") {
				t.Error("the last descriptor was reached")
			}
			if p.number("egress_dns_connections_refused_total") == 0 || !p.logged(bounds.OverShare) {
				t.Error("nothing says who crowds")
			}
			for _, c := range idle {
				_ = c.Close()
			}
			p.unharmed(goroutines, files, target)
		})
	}
}

// All of it at once, under 256 files: as many tunnels as there may be, connections that
// say nothing, idle clients of the filter, and lookups that nobody answers.
func TestWhatLookupsTakeIsLeftByTunnels(t *testing.T) {
	w := newWorld(t)
	target := w.echoing()
	p := w.startUnder("ulimit -n 256", withDNS("", strings.TrimPrefix(abusePolicy, head)+"      - '*.silent.test'\n"))
	goroutines, files := p.holds(target)
	for i := range 64 {
		w.names.set(fmt.Sprintf("n%d.silent.test", i), silence)
	}
	var all []net.Conn
	for i := range 64 {
		all = append(all, p.openConns(1, connectLine("billing", fmt.Sprintf("n%d.silent.test:443", i)))...)
		c, err := dialerAt(fmt.Sprintf("127.0.7.%d", i), "udp").Dial("udp", p.dns)
		w.must(err)
		pkt, err := new(dns.Msg).SetQuestion(fmt.Sprintf("n%d.silent.test.", i), dns.TypeAAAA).Pack()
		w.must(err)
		_, err = c.Write(pkt)
		w.must(err)
		all = append(all, c)
	}
	tunnels := p.openConns(200, connectLine("billing", target))
	answersOf(tunnels, patience)
	all = append(append(all, tunnels...), p.openConns(300, "")...)
	for i := range 100 {
		c, err := dialerAt(fmt.Sprintf("127.0.5.%d", i%3), "tcp").Dial("tcp", p.dns)
		w.must(err)
		all = append(all, c)
	}
	for range 10 {
		if status, _ := p.get("/readyz"); status != http.StatusOK {
			t.Errorf("readyz answers %d", status)
		}
		if got := p.lookup("127.0.6.1", "udp", "allowed.test", dns.TypeA); got.rcode != dns.RcodeSuccess {
			t.Errorf("a lookup is answered %v", got)
		}
		if n := p.number("process_open_fds"); n > 256-64 { // what is left for all else
			t.Errorf("%v descriptors are open", n)
		}
	}
	if p.logged("accepting a connection failed, retrying") {
		t.Error("the last descriptor was reached")
	}
	for _, c := range all {
		_ = c.Close()
	}
	p.unharmed(goroutines, files, target)
}
