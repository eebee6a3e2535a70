package dnsfilter_test

import (
	"fmt"
	"io"
	"testing"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/dnsfilter"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
)

// benchmarkPackets gives packets to the handler in turn, records to nowhere.
func benchmarkPackets(b *testing.B, packets [][]byte) {
	r := newRig(b, zoneOf(), func(o *dnsfilter.Options) {
		o.Audit, o.Limits.DistinctNames = audit.New(io.Discard, audit.Options{}), 1<<30
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
