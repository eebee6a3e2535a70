package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Both ways of writing cut an answer at the same record, and begin with the same address,
// whatever the client takes.
func TestBothWaysCutAndRotateAlike(t *testing.T) {
	var alias, plain, denied Records
	record := func(text string) dns.RR {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		return rr
	}
	alias.Answer = append(alias.Answer, record("x.example. 60 CNAME edge.cdn.example."))
	for i := range 40 {
		alias.Answer = append(alias.Answer, record(fmt.Sprintf("edge.cdn.example. 60 A 192.0.2.%d", i)))
		plain.Answer = append(plain.Answer, record(fmt.Sprintf("x.example. 60 A 192.0.2.%d", i)))
		denied.Authority = append(denied.Authority, record(fmt.Sprintf("n%d.example. 60 NSEC a.example. SOA", i)))
	}
	now := time.Unix(1, 0)
	for i, r := range []Records{alias, plain, denied} {
		r.TTL = time.Minute
		m := new(dns.Msg).SetQuestion("x.example.", dns.TypeA)
		pkt, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		p, err := Pack(m.Question[0], &r, now)
		if err != nil {
			t.Fatal(err)
		}
		for limit := 60; limit < 1300; limit += 7 {
			binary.BigEndian.PutUint16(pkt, uint16(limit))
			for _, edns := range []bool{false, true} {
				q := Query{}
				if !q.ReadFast(pkt, false) {
					t.Fatal("the question cannot be read")
				}
				q.EDNS, q.Limit = edns, limit
				byHand := q.AppendPacked(nil, pkt, p, now)
				written, err := q.WritePacked(pkt, p, now)
				if err != nil || !bytes.Equal(byHand, written) || len(byHand) > limit {
					t.Fatalf("%d, limit %d, EDNS %t: %v\n%x\n%x", i, limit, edns, err, byHand, written)
				}
			}
		}
	}
}
