package audit

import (
	"io"
	"math"
	"testing"
)

// BenchmarkRecord measures Record of a closed tunnel from one caller and from
// many, to an output that costs nothing and to a file. It leaves out contention
// for the disk.
func BenchmarkRecord(b *testing.B) {
	for _, output := range []string{"discard", "file"} {
		make := func(b *testing.B) *Log {
			if output == "discard" {
				return New(io.Discard, Options{})
			}
			l, err := Open(b.TempDir()+"/records", Options{})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = l.Close() })
			return l
		}
		b.Run("output="+output+"/callers=1", func(b *testing.B) {
			l, e := make(b), request(b)
			b.ReportAllocs()
			for b.Loop() {
				if err := l.Record(e); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("output="+output+"/callers=64", func(b *testing.B) {
			l, e := make(b), request(b)
			b.ReportAllocs()
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := l.Record(e); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

// BenchmarkRefusal measures Record of a refusal to an output that costs
// nothing, with no budget and with one that is never used up: what the budget
// costs who keeps to it. It leaves out refusals beyond the budget, which wait.
func BenchmarkRefusal(b *testing.B) {
	for name, records := range map[string]int{"budget=none": 0, "budget=plenty": math.MaxInt32} {
		b.Run(name+"/callers=1", func(b *testing.B) {
			l := New(io.Discard, Options{RefusalRecords: records})
			e := denial(l, "billing-webhook")
			b.ReportAllocs()
			for b.Loop() {
				if err := l.Record(e); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/callers=64", func(b *testing.B) {
			l := New(io.Discard, Options{RefusalRecords: records})
			b.ReportAllocs()
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				e := denial(l, "billing-webhook")
				for pb.Next() {
					if err := l.Record(e); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
