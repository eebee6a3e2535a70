package main

import (
	"net"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// zone is a name server on loopback that records what it is asked. A name that
// it does not have does not exist; one with the address "silence" gets no answer.
type zone struct {
	addr string

	mu    sync.Mutex
	names map[string][]string
	asked map[string]int
}

// silence is the address of a name about which the server keeps quiet.
const silence = "silence"

// newZone starts a server that stops with the test.
func newZone(t testing.TB) *zone {
	t.Helper()
	z := &zone{names: map[string][]string{}, asked: map[string]int{}}
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	z.addr = pc.LocalAddr().String()
	s := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(z.answer)}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.ActivateAndServe() }()
	t.Cleanup(func() { _ = pc.Close(); <-done })
	return z
}

// set gives a name its IPv4 addresses.
func (z *zone) set(name string, addrs ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.names[dns.Fqdn(name)] = addrs
}

// queries returns how many packets asked for the name.
func (z *zone) queries(name string) int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.asked[dns.Fqdn(name)]
}

// total returns how many packets came.
func (z *zone) total() int {
	z.mu.Lock()
	defer z.mu.Unlock()
	n := 0
	for _, count := range z.asked {
		n += count
	}
	return n
}

// answer answers one question.
func (z *zone) answer(w dns.ResponseWriter, q *dns.Msg) {
	name := dns.CanonicalName(q.Question[0].Name)
	z.mu.Lock()
	z.asked[name]++
	addrs, known := z.names[name]
	z.mu.Unlock()
	m := new(dns.Msg).SetReply(q)
	if !known {
		m.Rcode = dns.RcodeNameError
	}
	for _, a := range addrs {
		if a == silence {
			return
		}
		if q.Question[0].Qtype == dns.TypeA {
			m.Answer = append(m.Answer, &dns.A{
				Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60},
				A:   net.ParseIP(a),
			})
		}
	}
	_ = w.WriteMsg(m)
}
