package hello_test

import (
	"bytes"
	"strconv"
	"testing"
	"testing/iotest"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hello"
)

// BenchmarkParse measures the parsing of a hello that has arrived, and the
// comparison of its name: in one record as clients send it, split as the more
// hostile ones may, and near the limit. It leaves out all reading.
//
//	go test -bench Parse ./internal/hello | benchstat -col /hello -
func BenchmarkParse(b *testing.B) {
	for name, in := range map[string][]byte{
		"curl":         recorded(b)["curl-7.88.hex"],
		"curl-by-byte": records(unwrap(b, recorded(b)["curl-7.88.hex"]), 1),
		"large":        large(),
	} {
		b.Run("hello="+name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(in)))
			for b.Loop() {
				var p hello.Parser
				if h, err := p.Parse(in); err != nil || !h.Matches(host) {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRead measures Read on a reader in memory, with and without room in
// the buffer. It leaves out the system calls of a connection, which cost more.
func BenchmarkRead(b *testing.B) {
	in := recorded(b)["curl-7.88.hex"]
	for _, room := range []int{0, 4 << 10} {
		b.Run("room="+strconv.Itoa(room), func(b *testing.B) {
			b.ReportAllocs()
			buf := make([]byte, 0, room)
			r := bytes.NewReader(in)
			for b.Loop() {
				r.Reset(in)
				if _, h, err := hello.Read(r, buf); err != nil || !h.Matches(host) {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkReadDrip measures Read on hellos that come a byte a segment: the time
// for each byte must not grow with the length of the hello. It leaves out the
// system calls.
func BenchmarkReadDrip(b *testing.B) {
	for _, n := range []int{1 << 10, 1 << 13, 1 << 16} {
		b.Run("bytes="+strconv.Itoa(n), func(b *testing.B) {
			b.ReportAllocs()
			in := wire(sni(host), extension{0xff00, make([]byte, n-200)})
			b.SetBytes(int64(len(in)))
			buf := make([]byte, 0, hello.MaxBytes)
			for b.Loop() {
				if _, _, err := hello.Read(iotest.OneByteReader(bytes.NewReader(in)), buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
