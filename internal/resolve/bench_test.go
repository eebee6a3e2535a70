package resolve

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/miekg/dns"
)

var benchScript = script{
	"x.example. A":    {answer: "x.example. 3600 IN CNAME y.example.\ny.example. 3600 IN A 192.0.2.1\ny.example. 3600 IN A 192.0.2.2"},
	"x.example. AAAA": {answer: "x.example. 3600 IN CNAME y.example.\ny.example. 3600 IN AAAA 2001:db8::1"},
	"n.example. A":    {rcode: dns.RcodeNameError, authority: "example. 3600 IN SOA ns. r. 1 2 3 4 3600"},
}

func TestHitDoesNotAllocate(t *testing.T) {
	for _, tt := range []struct {
		name     string
		families Families
		want     float64
	}{
		{"x.example", IP4, 0},
		{"x.example", Both, 1}, // the two families side by side
		{"n.example", IP4, 0},
	} {
		r, _ := newScripted(t, Config{Families: tt.families}, benchScript)
		ctx := t.Context()
		r.Lookup(ctx, tt.name)
		if got := testing.AllocsPerRun(100, func() { r.Lookup(ctx, tt.name) }); got != tt.want {
			t.Errorf("%s, families %d: %v allocations, want %v", tt.name, tt.families, got, tt.want)
		}
	}
}

// BenchmarkLookupHit measures a lookup that the cache answers: the clock, the look
// at the hosts table, the cache and the counters. It leaves out the network and the
// making of entries. Read sec/op and allocs/op.
//
//	go test -run=^$ -bench=LookupHit -cpu=1,2 ./internal/resolve
func BenchmarkLookupHit(b *testing.B) {
	for _, bm := range []struct {
		name     string
		host     string
		families Families
	}{
		{"families=ip4", "x.example", IP4},
		{"families=both", "x.example", Both},
		{"families=ip4/negative", "n.example", IP4},
	} {
		b.Run(bm.name, func(b *testing.B) {
			r, _ := newScripted(b, Config{Families: bm.families}, benchScript)
			ctx := b.Context()
			r.Lookup(ctx, bm.host)
			b.ReportAllocs()
			for b.Loop() {
				r.Lookup(ctx, bm.host)
			}
		})
	}
}

// BenchmarkLookupHitParallel measures the same from every processor at once: on one
// name, where all meet at one read lock, and on many. With -cpu it shows what the
// locks cost.
//
//	go test -run=^$ -bench=HitParallel -cpu=1,2,4 ./internal/resolve
func BenchmarkLookupHitParallel(b *testing.B) {
	for _, names := range []int{1, 1024} {
		b.Run(fmt.Sprintf("names=%d", names), func(b *testing.B) {
			plays, hosts := script{}, make([]string, names)
			for i := range hosts {
				hosts[i] = fmt.Sprintf("n%d.example", i)
				plays[hosts[i]+". A"] = reply{answer: hosts[i] + ". 3600 IN A 192.0.2.1"}
			}
			r, _ := newScripted(b, Config{Families: IP4}, plays)
			ctx := b.Context()
			for _, host := range hosts {
				r.Lookup(ctx, host)
			}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					r.Lookup(ctx, hosts[i%names])
				}
			})
		})
	}
}

// BenchmarkExchangeHit measures the same for records, and with it the copies that
// the caller gets. It leaves out their packing into a message.
//
//	go test -run=^$ -bench=ExchangeHit ./internal/resolve
func BenchmarkExchangeHit(b *testing.B) {
	r, _ := newScripted(b, Config{}, benchScript)
	q := dns.Question{Name: "x.example.", Qtype: dns.TypeA, Qclass: dns.ClassINET}
	ctx := b.Context()
	r.Exchange(ctx, q, false)
	b.ReportAllocs()
	for b.Loop() {
		r.Exchange(ctx, q, false)
	}
}

// BenchmarkLookupMiss measures a lookup that one upstream on loopback answers, with a TTL
// of 0: the socket, the question, the answer and its parsing, and what the upstream of the
// test does for it, which is the same before and after a change. Read allocs/op.
//
//	go test -run=^$ -bench=LookupMiss ./internal/resolve
func BenchmarkLookupMiss(b *testing.B) {
	s, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	go func() {
		buf := make([]byte, 512)
		// An answer behind the question of 27 bytes: one address, TTL 0.
		record := []byte{0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 192, 0, 2, 1}
		for {
			_, from, err := s.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			buf[2], buf[3], buf[7], buf[11] = 0x81, 0x80, 1, 0
			_, _ = s.WriteToUDPAddrPort(append(buf[:27:27], record...), from)
		}
	}()
	r, err := New(Config{Upstreams: []netip.AddrPort{s.LocalAddr().(*net.UDPAddr).AddrPort()}, Hosts: b.TempDir() + "/hosts", Families: IP4})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Lookup(b.Context(), "x.example"); err != nil {
			b.Fatal(err)
		}
	}
}
