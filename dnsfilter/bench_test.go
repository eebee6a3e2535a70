package dnsfilter_test

import (
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/dnsfilter"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/distinct"
)

// benchmarkPackets gives packets to the handler in turn, records to nowhere.
func benchmarkPackets(b *testing.B, packets [][]byte) {
	r := newFixture(b, zoneOf(), func(o *dnsfilter.Options) {
		o.Audit, o.Names = audit.New(io.Discard, audit.Options{}), distinct.New(distinct.Options{Limit: 1 << 30})
	})
	for _, pkt := range packets {
		r.loop.Handle(pkt, billing, false)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		r.loop.Handle(packets[i%len(packets)], billing, false)
		i++
	}
}

// BenchmarkAllowed measures an allowed question whose packed answer is at hand,
// from packet to packet. It leaves out the socket and the counter that Options.Count
// stands for.
//
//	go test -run=^$ -bench=Allowed ./dnsfilter
func BenchmarkAllowed(b *testing.B) {
	benchmarkPackets(b, [][]byte{question("api.example.org.", "A")})
}

// BenchmarkAllowedBelowWildcard measures the same for a name that counts as one
// of the distinct names below a wildcard.
//
//	go test -run=^$ -bench=AllowedBelowWildcard ./dnsfilter
func BenchmarkAllowedBelowWildcard(b *testing.B) {
	benchmarkPackets(b, [][]byte{question("a.wild.example.org.", "A")})
}

// BenchmarkRefused measures a refused question, its record made and chained; it
// leaves out the write of the record and the socket.
//
//	go test -run=^$ -bench=Refused ./dnsfilter
func BenchmarkRefused(b *testing.B) {
	packets := make([][]byte, 1000)
	for i := range packets {
		packets[i] = question(fmt.Sprintf("data%d.evil.example.", i), "A")
	}
	benchmarkPackets(b, packets)
}

// BenchmarkSlow measures an allowed question that only the slow path takes, with
// its packed answer at hand: what reading and writing by miekg/dns costs.
//
//	go test -run=^$ -bench=Slow ./dnsfilter
func BenchmarkSlow(b *testing.B) {
	benchmarkPackets(b, [][]byte{with(func(m *dns.Msg) {
		opt(m, func(o *dns.OPT) { o.Option = []dns.EDNS0{&dns.EDNS0_LOCAL{Code: 65001}} })
	})})
}

// BenchmarkMiss measures an allowed question that the resolver is asked for, whose
// answer is not kept; it leaves out the resolver, but for making the records.
//
//	go test -run=^$ -bench=Miss ./dnsfilter
func BenchmarkMiss(b *testing.B) {
	z := zoneOf()
	r := newFixture(b, z, func(o *dnsfilter.Options) {
		o.Audit = audit.New(io.Discard, audit.Options{})
		found := z.exchange(dns.Question{Name: "api.example.org.", Qtype: dns.TypeA, Qclass: dns.ClassINET})
		o.Exchange = func(context.Context, dns.Question, bool) (dnsfilter.Records, error) {
			answer := make([]dns.RR, len(found.Answer))
			for i, rr := range found.Answer {
				answer[i] = dns.Copy(rr)
			}
			return dnsfilter.Records{Answer: answer}, nil
		}
	})
	pkt := question("api.example.org.", "A")
	b.ReportAllocs()
	for b.Loop() {
		r.loop.Handle(pkt, billing, false)
	}
}
