package wire_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/dnsfilter/wire"
)

// question packs a question; change may change it.
func question(t *testing.T, name string, qtype uint16, change func(*dns.Msg)) []byte {
	t.Helper()
	m := new(dns.Msg).SetQuestion(name, qtype)
	change(m)
	pkt, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return pkt
}

// ordinary are questions that both readers take.
func ordinary(t *testing.T) (all [][]byte) {
	for _, name := range []string{"a.", "Api.Example.org.", "_srv-1.x.example."} {
		for _, qtype := range []uint16{dns.TypeA, dns.TypeHTTPS, dns.TypeTXT, 65280} {
			all = append(all,
				question(t, name, qtype, func(*dns.Msg) {}),
				question(t, name, qtype, func(m *dns.Msg) { m.RecursionDesired, m.CheckingDisabled = false, true }),
				question(t, name, qtype, func(m *dns.Msg) { m.SetEdns0(100, false) }),
				question(t, name, qtype, func(m *dns.Msg) { m.SetEdns0(600, true) }),
				question(t, name, qtype, func(m *dns.Msg) { m.SetEdns0(4096, true) }))
		}
	}
	return all
}

func TestBothReadersReadTheSame(t *testing.T) {
	for _, pkt := range ordinary(t) {
		for _, tcp := range []bool{false, true} {
			var fast, slow wire.Query
			if !fast.ReadFast(pkt, tcp) {
				t.Errorf("%x is not read from the wire", pkt)
			}
			if fault, bad := slow.Read(pkt, tcp); bad {
				t.Errorf("%x is %+v", pkt, fault)
			}
			if diff := cmp.Diff(fast, slow); diff != "" {
				t.Errorf("%x:\n%s", pkt, diff)
			}
		}
	}
}

func TestBothWritersWriteTheSame(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, pkt := range ordinary(t) {
		var q wire.Query
		q.ReadFast(pkt, false)
		for _, r := range []wire.Refusal{
			{Rcode: dns.RcodeNameError, SOA: true, Code: dns.ExtendedErrorCodeFiltered},
			{Rcode: dns.RcodeRefused, Code: dns.ExtendedErrorCodeFiltered},
			{Rcode: dns.RcodeServerFailure, Code: dns.ExtendedErrorCodeNotReady},
		} {
			slow, err := q.WriteRefusal(pkt, r, "host_not_allowed")
			if fast := q.AppendRefusal(nil, pkt, r, "host_not_allowed"); err != nil || !bytes.Equal(fast, slow) {
				t.Errorf("refusing %x by %+v: %v\n%x\n%x", pkt, r, err, fast, slow)
			}
		}
		for n := range 60 {
			records := wire.Records{TTL: time.Minute, Stale: n%2 == 1}
			for range n {
				records.Answer = append(records.Answer, &dns.A{
					Hdr: dns.RR_Header{Name: q.Question().Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: []byte{192, 0, 2, byte(n)},
				})
			}
			p, err := wire.Pack(q.Question(), &records, now)
			if err != nil {
				t.Fatal(err)
			}
			slow, err := q.WritePacked(pkt, p, now)
			if fast := q.AppendPacked(nil, pkt, p, now); err != nil || !bytes.Equal(fast, slow) {
				t.Errorf("%d records for %x: %v\n%x\n%x", n, pkt, err, fast, slow)
			}
		}
	}
}

// What begins a packet of nonsense is answered with its id and nothing of it.
func TestFailureRepeatsTheQuestionWhereItCanBeFound(t *testing.T) {
	pkt := question(t, "api.example.org.", dns.TypeA, func(m *dns.Msg) { m.Id = 7 })
	for _, row := range []struct {
		pkt  []byte
		want int
	}{{pkt, 1}, {pkt[:len(pkt)-1], 0}, {pkt[:14], 0}, {pkt[:12], 0}} {
		m := new(dns.Msg)
		if err := m.Unpack(wire.AppendFailure(nil, row.pkt)); err != nil {
			t.Fatal(err)
		}
		if m.Id != 7 || !m.Response || m.Rcode != dns.RcodeServerFailure || len(m.Question) != row.want {
			t.Errorf("%d bytes: %v", len(row.pkt), m)
		}
	}
}
