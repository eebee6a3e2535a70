//go:build torture

package torture

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// upstream is the DNS server that the program asks. What it answers is in the
// second part of the name's first label, so that the checker knows it too:
// o17-mix.both.test has an address that a rule opens and a canary's.
type upstream struct {
	world   *world
	servers []*dns.Server
	mood    atomic.Pointer[func(dns.ResponseWriter, *dns.Msg) bool] // nil: all is well
	flips   atomic.Uint64

	mu      sync.Mutex
	queries []query
}

// query is one question that reached the upstream.
type query struct {
	at   time.Time
	name string
	op   uint64
}

// answers are the addresses by the word in a name. Words that are not here have
// an answer of their own kind; see handle.
var answers = map[string][]netip.Addr{
	"one":    {addrOf(1, 0, 1)},
	"second": {addrOf(2, 0, 1)},
	"third":  {addrOf(1, 0, 2), addrOf(1, 0, 3)},
	"toxic":  {addrOf(1, 1, 1)},
	"mix":    {addrOf(1, 0, 1), addrOf(9, 0, 1)},
	"canary": {addrOf(9, 0, 2)},
	"self":   {addrOf(0, 0, 1)},
	"dead":   {addrOf(1, 0, deadPeer)},
	"half":   {addrOf(1, 0, deadPeer), addrOf(1, 0, 4)},
	"hole":   {addrOf(1, 0, blackHole)},
	"beside": {addrOf(1, 0, blackHole), addrOf(1, 0, 2)},
	"slow":   {addrOf(1, 0, 3)},
	"alias":  {addrOf(1, 0, 4)},
	"detour": {addrOf(1, 0, 4)},
	"mute":   {addrOf(1, 0, mutePeer)},
}

// What the name flip has by turns.
var flipped = [2]netip.Addr{addrOf(1, 0, 1), addrOf(9, 0, 3)}

// newUpstream starts the server on UDP and TCP.
func newUpstream(w *world) (*upstream, error) {
	u := &upstream{world: w}
	at := fmt.Sprintf("127.0.0.1:%d", w.ports.upstream)
	packets, err := net.ListenPacket("udp", at)
	if err != nil {
		return nil, fmt.Errorf("opening the DNS upstream: %w", err)
	}
	stream, err := net.Listen("tcp", at)
	if err != nil {
		return nil, fmt.Errorf("opening the DNS upstream: %w", err)
	}
	u.servers = []*dns.Server{{PacketConn: packets, Handler: u}, {Listener: stream, Handler: u}}
	for _, s := range u.servers {
		go func() { _ = s.ActivateAndServe() }()
	}
	return u, nil
}

// ServeDNS writes the question down and answers it.
func (u *upstream) ServeDNS(w dns.ResponseWriter, m *dns.Msg) {
	if len(m.Question) != 1 {
		return
	}
	name := strings.ToLower(strings.TrimSuffix(m.Question[0].Name, "."))
	u.mu.Lock()
	u.queries = append(u.queries, query{time.Now(), name, operationIn([]byte(name))})
	u.mu.Unlock()
	if mood := u.mood.Load(); mood != nil && !(*mood)(w, m) {
		return
	}
	u.answer(w, m, name, wordOf(name))
}

// wordOf returns the word of a name that says how it is answered.
func wordOf(name string) string {
	label, _, _ := strings.Cut(name, ".")
	return label[strings.LastIndexByte(label, '-')+1:]
}

// answer answers by the word.
func (u *upstream) answer(w dns.ResponseWriter, m *dns.Msg, name, word string) {
	r := new(dns.Msg).SetReply(m)
	addrs, ttl, owner := answers[word], uint32(20), name
	switch word {
	case "flip":
		addrs, ttl = []netip.Addr{flipped[u.flips.Add(1)%2]}, 0
	case "nx":
		r.Rcode = dns.RcodeNameError
	case "fail":
		r.Rcode = dns.RcodeServerFailure
	case "silent":
		return
	case "slow":
		time.Sleep(300 * time.Millisecond)
	case "alias", "detour":
		owner = "o0-one." + zoneBoth
		if word == "detour" {
			owner = "o0-one." + zoneDenied
		}
		r.Answer = append(r.Answer, &dns.CNAME{Hdr: header(name, dns.TypeCNAME, ttl), Target: dns.Fqdn(owner)})
	}
	if m.Question[0].Qtype == dns.TypeA {
		for _, a := range addrs {
			r.Answer = append(r.Answer, &dns.A{Hdr: header(owner, dns.TypeA, ttl), A: a.AsSlice()})
		}
	}
	_ = w.WriteMsg(r)
}

// header makes the header of a record.
func header(name string, rrtype uint16, ttl uint32) dns.RR_Header {
	return dns.RR_Header{Name: dns.Fqdn(name), Rrtype: rrtype, Class: dns.ClassINET, Ttl: ttl}
}

// The moods of the upstream. Each returns whether the question is answered as
// ever.
var moods = map[string]func(dns.ResponseWriter, *dns.Msg) bool{
	"dns silent": func(dns.ResponseWriter, *dns.Msg) bool { return false },
	"dns slow":   func(dns.ResponseWriter, *dns.Msg) bool { time.Sleep(400 * time.Millisecond); return true },
	"dns fails": func(w dns.ResponseWriter, m *dns.Msg) bool {
		_ = w.WriteMsg(new(dns.Msg).SetRcode(m, dns.RcodeServerFailure))
		return false
	},
	"dns lies": func(w dns.ResponseWriter, m *dns.Msg) bool {
		// Another name's answer, then that of a canary to the question itself.
		r := new(dns.Msg).SetReply(m)
		r.Question[0].Name = "other." + r.Question[0].Name
		r.Answer = []dns.RR{&dns.A{Hdr: header(r.Question[0].Name, dns.TypeA, 60), A: addrOf(9, 0, 4).AsSlice()}}
		_ = w.WriteMsg(r)
		return true
	},
	"dns rebinds": func(w dns.ResponseWriter, m *dns.Msg) bool {
		r := new(dns.Msg).SetReply(m)
		if m.Question[0].Qtype == dns.TypeA {
			r.Answer = []dns.RR{&dns.A{Hdr: header(m.Question[0].Name, dns.TypeA, 1), A: addrOf(9, 0, 4).AsSlice()}}
		}
		_ = w.WriteMsg(r)
		return false
	},
}

// be sets the mood; "" is well.
func (u *upstream) be(mood string) {
	if f, ok := moods[mood]; ok {
		u.mood.Store(&f)
		return
	}
	u.mood.Store(nil)
}

// reset forgets a round.
func (u *upstream) reset() (all []query) {
	u.mu.Lock()
	defer u.mu.Unlock()
	all, u.queries = u.queries, nil
	return all
}

// close stops the server.
func (u *upstream) close() {
	for _, s := range u.servers {
		_ = s.Shutdown()
	}
}
