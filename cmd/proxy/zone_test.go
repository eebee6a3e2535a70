package main

import (
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
)

// zone is a name server on loopback, over UDP and TCP, that records what it is
// asked. A name that it does not have does not exist; one with the address
// "silence" gets no answer, one with "failure" gets SERVFAIL. An address "->NAME"
// makes it an alias: those behind it are NAME's. "*.NAME" is whatever is below NAME and
// has no addresses of its own.
type zone struct {
	addr string

	mu    sync.Mutex
	names map[string][]string
	asked map[string]int
}

// silence is the address of a name about which the server keeps quiet.
const silence = "silence"

// failure is the address of a name that the server fails at.
const failure = "failure"

// newZone starts a server that stops with the test.
func newZone(t testing.TB) *zone {
	t.Helper()
	z := &zone{names: map[string][]string{}, asked: map[string]int{}}
	ln, pc := egresstest.ListenBoth(t, "127.0.0.1")
	z.addr = ln.Addr().String()
	var done sync.WaitGroup
	for _, s := range []*dns.Server{{PacketConn: pc}, {Listener: ln}} {
		s.Handler = dns.HandlerFunc(z.answer)
		done.Go(func() { _ = s.ActivateAndServe() })
	}
	t.Cleanup(func() { _ = pc.Close(); _ = ln.Close(); done.Wait() })
	return z
}

// set gives a name its addresses.
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

// onlyAsked reports whether packets came for that name and for no other. How many
// is the resolver's: where an answer is late it asks again.
func (z *zone) onlyAsked(name string) bool {
	n := z.queries(name)
	return n > 0 && z.total() == n
}

// answer answers one question.
func (z *zone) answer(w dns.ResponseWriter, q *dns.Msg) {
	name := dns.CanonicalName(q.Question[0].Name)
	z.mu.Lock()
	z.asked[name]++
	addrs, known := z.names[name]
	for parent := name; !known && parent != ""; {
		_, parent, _ = strings.Cut(parent, ".")
		addrs, known = z.names["*."+parent]
	}
	z.mu.Unlock()
	m := new(dns.Msg).SetReply(q)
	if !known {
		m.Rcode = dns.RcodeNameError
	}
	owner := q.Question[0].Name
	for _, a := range addrs {
		switch {
		case a == silence:
			return
		case a == failure:
			m.Rcode = dns.RcodeServerFailure
		case strings.HasPrefix(a, "->"):
			alias := dns.Fqdn(a[2:])
			h := dns.RR_Header{Name: owner, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: 60}
			m.Answer = append(m.Answer, &dns.CNAME{Hdr: h, Target: alias})
			owner = alias
		default:
			if rr := addressRecord(owner, q.Question[0].Qtype, netip.MustParseAddr(a)); rr != nil {
				m.Answer = append(m.Answer, rr)
			}
		}
	}
	if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
		size := dns.MinMsgSize
		if opt := q.IsEdns0(); opt != nil {
			size = int(opt.UDPSize())
		}
		m.Truncate(size)
	}
	_ = w.WriteMsg(m)
}

// addressRecord returns the address as an answer to a question, nil where it
// is of the other family or the question is about something else.
func addressRecord(owner string, qtype uint16, a netip.Addr) dns.RR {
	h := dns.RR_Header{Name: owner, Rrtype: qtype, Class: dns.ClassINET, Ttl: 60}
	switch {
	case qtype == dns.TypeA && a.Is4():
		return &dns.A{Hdr: h, A: a.AsSlice()}
	case qtype == dns.TypeAAAA && a.Is6():
		return &dns.AAAA{Hdr: h, AAAA: a.AsSlice()}
	default:
		return nil
	}
}
