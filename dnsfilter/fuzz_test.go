package dnsfilter_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/dnsfilter"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/distinct"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
)

// shape is a packet with what is expected of it.
type shape struct {
	name  string
	pkt   []byte
	rcode int // silence: none
}

// silence is not an answer at all.
const silence = -1

// raw changes the bytes of an ordinary question.
func raw(change func(pkt []byte) []byte) []byte {
	return change(packed(func(m *dns.Msg) { m.SetQuestion("api.example.org.", dns.TypeA) }))
}

// with builds a question for the allowed name and changes it.
func with(change func(m *dns.Msg)) []byte {
	return packed(func(m *dns.Msg) {
		m.SetQuestion("api.example.org.", dns.TypeA)
		change(m)
	})
}

// opt adds an OPT record.
func opt(m *dns.Msg, change func(o *dns.OPT)) {
	o := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
	o.SetUDPSize(1232)
	change(o)
	m.Extra = append(m.Extra, o)
}

// set writes a 16-bit field.
func set(at int, v uint16) func([]byte) []byte {
	return func(pkt []byte) []byte {
		binary.BigEndian.PutUint16(pkt[at:], v)
		return pkt
	}
}

// shapes are packets of every kind, the unusual ones first.
func shapes() []shape {
	qend := len(raw(func(p []byte) []byte { return p }))
	return []shape{
		{"no header", []byte{1, 2, 3}, silence},
		{"empty", nil, silence},
		{"a header alone", raw(func(p []byte) []byte { return set(4, 0)(p[:12]) }), dns.RcodeFormatError},
		{"no question", raw(set(4, 0)), dns.RcodeFormatError},
		{"two questions, one there", raw(set(4, 2)), dns.RcodeFormatError},
		{"two questions", with(func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }), dns.RcodeFormatError},
		{"65535 questions", raw(set(4, 65535)), dns.RcodeFormatError},
		{"65535 answers", raw(set(6, 65535)), dns.RcodeFormatError},
		{"65535 additional", raw(set(10, 65535)), dns.RcodeFormatError},
		{"an answer in the question", with(func(m *dns.Msg) { m.Answer = []dns.RR{mustRR("a.example. 1 A 8.8.8.8")} }), dns.RcodeFormatError},
		{"an authority in the question", with(func(m *dns.Msg) { m.Ns = []dns.RR{mustRR("a.example. 1 A 8.8.8.8")} }), dns.RcodeFormatError},
		{"cut in the name", raw(func(p []byte) []byte { return p[:16] }), dns.RcodeFormatError},
		{"cut before the type", raw(func(p []byte) []byte { return p[:qend-4] }), dns.RcodeFormatError},
		{"cut before the class", raw(func(p []byte) []byte { return p[:qend-2] }), dns.RcodeFormatError},
		{"a pointer to itself", raw(func(p []byte) []byte { return append(p[:12], 0xC0, 12, 0, 1, 0, 1) }), dns.RcodeFormatError},
		{"a pointer into the header", raw(func(p []byte) []byte { return append(p[:12], 0xC0, 4, 0, 1, 0, 1) }), dns.RcodeFormatError},
		{"a reserved label type", raw(func(p []byte) []byte { return append(p[:12], 0x40, 0, 0, 1, 0, 1) }), dns.RcodeFormatError},
		{"a name of 320 bytes", raw(func(p []byte) []byte {
			long := bytes.Repeat(append([]byte{63}, bytes.Repeat([]byte("a"), 63)...), 5)
			return append(append(p[:12], long...), 0, 0, 1, 0, 1)
		}), dns.RcodeFormatError},
		{"AA", raw(func(p []byte) []byte { p[2] |= 4; return p }), dns.RcodeSuccess},
		{"TC", raw(func(p []byte) []byte { p[2] |= 2; return p }), dns.RcodeSuccess},
		{"RA", raw(func(p []byte) []byte { p[3] |= 0x80; return p }), dns.RcodeSuccess},
		{"Z", raw(func(p []byte) []byte { p[3] |= 0x40; return p }), dns.RcodeSuccess},
		{"AD", raw(func(p []byte) []byte { p[3] |= 0x20; return p }), dns.RcodeSuccess},
		{"a response code", raw(func(p []byte) []byte { p[3] |= 15; return p }), dns.RcodeSuccess},
		{"every bit that is not QR or of the opcode", raw(func(p []byte) []byte { p[2], p[3] = p[2]|7, 0xff; return p }), dns.RcodeSuccess},
		{"AA and ANY", with(func(m *dns.Msg) { m.Authoritative, m.Question[0].Qtype = true, dns.TypeANY }), dns.RcodeSuccess},
		{"AA and an unknown option", with(func(m *dns.Msg) {
			m.Authoritative, m.Truncated, m.Rcode = true, true, 3
			opt(m, func(o *dns.OPT) { o.Option = []dns.EDNS0{&dns.EDNS0_LOCAL{Code: 65001, Data: []byte("x")}} })
		}), dns.RcodeSuccess},
		{"a response", raw(func(p []byte) []byte { p[2] |= 0x80; return p }), silence},
		{"type 0", with(func(m *dns.Msg) { m.Question[0].Qtype = 0 }), dns.RcodeFormatError},
		{"type OPT", with(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeOPT }), dns.RcodeFormatError},
		{"UPDATE", with(func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }), dns.RcodeRefused},
		{"NOTIFY", with(func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }), dns.RcodeRefused},
		{"STATUS", with(func(m *dns.Msg) { m.Opcode = dns.OpcodeStatus }), dns.RcodeNotImplemented},
		{"opcode 15", with(func(m *dns.Msg) { m.Opcode = 15 }), dns.RcodeNotImplemented},
		{"AXFR", with(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAXFR }), dns.RcodeRefused},
		{"IXFR", with(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeIXFR }), dns.RcodeRefused},
		{"MAILB", with(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeMAILB }), dns.RcodeRefused},
		{"version.bind CH TXT", packed(func(m *dns.Msg) {
			m.Question = []dns.Question{{Name: "version.bind.", Qtype: dns.TypeTXT, Qclass: dns.ClassCHAOS}}
		}), dns.RcodeRefused},
		{"class ANY", with(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassANY }), dns.RcodeRefused},
		{"class NONE", with(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassNONE }), dns.RcodeRefused},
		{"EDNS version 1", with(func(m *dns.Msg) { opt(m, func(o *dns.OPT) { o.SetVersion(1) }) }), dns.RcodeBadVers},
		{"two OPT records", with(func(m *dns.Msg) {
			opt(m, func(*dns.OPT) {})
			opt(m, func(*dns.OPT) {})
		}), dns.RcodeFormatError},
		{"OPT among the answers", with(func(m *dns.Msg) {
			opt(m, func(*dns.OPT) {})
			m.Answer, m.Extra = m.Extra, nil
		}), dns.RcodeFormatError},
		{"OPT with a name", with(func(m *dns.Msg) { opt(m, func(o *dns.OPT) { o.Hdr.Name = "a." }) }), dns.RcodeFormatError},
		{"OPT cut off", with(func(m *dns.Msg) { opt(m, func(*dns.OPT) {}) })[:qend+9], dns.RcodeFormatError},
		{"an option that is longer than OPT", raw(func(p []byte) []byte {
			return append(set(10, 1)(p), 0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 4, 0, 10, 0, 200)
		}), dns.RcodeFormatError},
		{"an unknown option", with(func(m *dns.Msg) {
			opt(m, func(o *dns.OPT) { o.Option = []dns.EDNS0{&dns.EDNS0_LOCAL{Code: 65001, Data: []byte("x")}} })
		}), dns.RcodeSuccess},
		{"a cookie", with(func(m *dns.Msg) {
			opt(m, func(o *dns.OPT) {
				o.Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0123456789abcdef"}}
			})
		}), dns.RcodeSuccess},
		{"Z flags", with(func(m *dns.Msg) { opt(m, func(o *dns.OPT) { o.SetZ(0x7fff) }) }), dns.RcodeSuccess},
		{"DO", with(func(m *dns.Msg) { opt(m, func(o *dns.OPT) { o.SetDo() }) }), dns.RcodeSuccess},
		{"DO and AD and CD", with(func(m *dns.Msg) {
			opt(m, func(o *dns.OPT) { o.SetDo() })
			m.AuthenticatedData, m.CheckingDisabled = true, true
		}), dns.RcodeSuccess},
		{"no recursion desired", with(func(m *dns.Msg) { m.RecursionDesired = false }), dns.RcodeSuccess},
		{"a signature of somebody", with(func(m *dns.Msg) { m.SetTsig("key.", dns.HmacSHA256, 300, 1) }), dns.RcodeSuccess},
		{"mixed case", with(func(m *dns.Msg) { m.Question[0].Name = "aPi.ExAmPlE.oRg." }), dns.RcodeSuccess},
		{"ANY", with(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeANY }), dns.RcodeSuccess},
		{"an alias", with(func(m *dns.Msg) { m.Question[0].Name = "A.wild.example.org." }), dns.RcodeSuccess},
		{"HTTPS", with(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeHTTPS }), dns.RcodeSuccess},
		{"a name that is not there", with(func(m *dns.Msg) { m.Question[0].Name = "none.wild.example.org." }), dns.RcodeNameError},
		{"refused", question("evil.example.", "A"), dns.RcodeNameError},
		{"refused, DO, long", packed(func(m *dns.Msg) {
			m.SetQuestion(long+"evil.example.", dns.TypeTXT).SetEdns0(100, true)
		}), dns.RcodeNameError},
		{"refused type", question("API.example.org.", "TXT"), dns.RcodeSuccess},
		{"refused type without a name", question("api.example.org.", "TYPE65280"), dns.RcodeFormatError},
		{"ordinary", question("api.example.org.", "A"), dns.RcodeSuccess},
		{"without EDNS", with(func(*dns.Msg) {}), dns.RcodeSuccess},
		{"bytes behind the question", append(with(func(*dns.Msg) {}), "more"...), dns.RcodeFormatError},
		{"bytes behind the OPT record", append(question("api.example.org.", "A"), 0), dns.RcodeFormatError},
		{"bytes behind a record that is ignored", append(with(func(m *dns.Msg) { m.Extra = []dns.RR{mustRR("a.example. 1 A 8.8.8.8")} }), "more"...), dns.RcodeFormatError},
		{"no additional record, and one is there", set(10, 0)(question("api.example.org.", "A")), dns.RcodeFormatError},
		{"two additional records, one there", set(10, 2)(question("api.example.org.", "A")), dns.RcodeFormatError},
		{"large", question("large.wild.example.org.", "A"), dns.RcodeSuccess},
	}
}

// long is 192 bytes of labels.
var long = string(bytes.Repeat([]byte("abcdefghijklmno."), 12))

// largeZone has an answer that fits no packet.
func largeZone() zone {
	z := zoneOf()
	for i := range 100 {
		z["large.wild.example.org. A"] = append(z["large.wild.example.org. A"], "large.wild.example.org. 300 A 8.8.8."+string("123456789"[i%9]))
	}
	return z
}

func TestPacketOfEveryShapeGetsItsAnswer(t *testing.T) {
	for _, tt := range shapes() {
		t.Run(tt.name, func(t *testing.T) {
			r := newFixture(t, largeZone(), nil)
			for range 2 {
				reply := r.loop.Handle(tt.pkt, billing, false)
				if tt.rcode == silence {
					if reply != nil || len(r.records()) != 0 {
						t.Fatalf("answer %x, records %v", reply, r.records())
					}
					continue
				}
				m := r.read(reply)
				if m == nil || m.Rcode != tt.rcode || m.Id != 4242 || !m.Response || m.AuthenticatedData {
					t.Fatalf("answer: %v", m)
				}
				if max := 2*len(tt.pkt) + 100; tt.rcode != dns.RcodeSuccess && len(reply) > max {
					t.Errorf("a refusal of %d bytes to a packet of %d", len(reply), len(tt.pkt))
				}
			}
			if faulty := tt.rcode == dns.RcodeFormatError || tt.rcode == dns.RcodeRefused || tt.rcode == dns.RcodeNotImplemented; faulty {
				if n := len(r.records()); n != 2 || r.asked.Load() != 0 {
					t.Errorf("%d records for 2 refusals, %d questions upstream", n, r.asked.Load())
				}
			}
		})
	}
}

// FuzzHandler gives any packet to the handler and holds the two paths against
// each other: what the fast path takes the slow path answers with the same bytes.
func FuzzHandler(f *testing.F) {
	for _, s := range shapes() {
		for client := range 4 {
			f.Add(s.pkt, byte(client), client%2 == 0)
		}
	}
	log := &egresstest.Buffer{}
	r := newFixture(f, largeZone(), func(o *dnsfilter.Options) {
		o.Names, o.Audit = distinct.New(distinct.Options{Limit: 1 << 30}), audit.New(io.Discard, audit.Options{})
		o.Logger = slog.New(slog.NewTextHandler(log, nil))
	})
	clients := []netip.AddrPort{billing, partner, nobody, reporting}
	f.Fuzz(func(t *testing.T, pkt []byte, who byte, tcp bool) {
		r.t = t
		client := clients[int(who)%len(clients)]
		asked := bytes.Clone(pkt)
		reply := r.server.NewLoop().Handle(pkt, client, tcp)
		if !bytes.Equal(asked, pkt) {
			t.Fatal("the packet was written to")
		}
		if (reply == nil) != (len(pkt) < 12 || pkt[2]&0x80 != 0) {
			t.Fatalf("answer %x to %x", reply, pkt)
		}
		if s := log.String(); s != "" {
			t.Fatalf("a panic, or an answer that does not pack, for %x: %s", pkt, s)
		}
		if reply == nil {
			return
		}
		if m := r.read(reply); m.Id != binary.BigEndian.Uint16(pkt) || !m.Response {
			t.Fatalf("answer %v to %x", m, pkt)
		}
		if limit := 1232; !tcp && len(reply) > limit || len(reply) > 100*len(pkt) {
			t.Fatalf("an answer of %d bytes to %d", len(reply), len(pkt))
		}
		// Once more: what waited is packed now.
		now := time.Now()
		fast, taken := r.server.Fast(pkt, client, now, tcp)
		if !taken {
			return
		}
		if slow := r.server.Slow(pkt, client, now, tcp); !bytes.Equal(fast, slow) {
			t.Fatalf("the paths differ:\nfast %v\nslow %v\n%x\n%x", r.read(fast), r.read(slow), fast, slow)
		}
	})
}

func TestFastPathTakesTheOrdinary(t *testing.T) {
	r := newFixture(t, largeZone(), nil)
	for _, tt := range []struct {
		name  string
		taken bool
	}{
		{"ordinary", true}, {"without EDNS", true}, {"mixed case", true}, {"a cookie", true}, {"DO", true}, {"refused", true},
		{"refused type", true}, {"HTTPS", true}, {"an alias", true}, {"a name that is not there", true}, {"large", true},
		{"no recursion desired", true}, {"AA", true}, {"every bit that is not QR or of the opcode", true},
		{"ANY", false}, {"EDNS version 1", false}, {"an unknown option", false}, {"two OPT records", false},
		{"bytes behind the question", false}, {"UPDATE", false}, {"class ANY", false},
	} {
		for _, s := range shapes() {
			if s.name != tt.name {
				continue
			}
			r.loop.Handle(s.pkt, billing, false)
			if _, taken := r.server.Fast(s.pkt, billing, time.Now(), false); taken != tt.taken {
				t.Errorf("%s: taken by the fast path: %t", tt.name, taken)
			}
		}
	}
}
