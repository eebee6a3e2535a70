package resolve

import (
	"fmt"
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
