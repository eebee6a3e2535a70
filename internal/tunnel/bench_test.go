package tunnel_test

import (
	"io"
	"net"
	"sync"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/tunnel"
)

// relays are what the benchmarks compare: the tunnel, and the two io.Copy that anyone would write first.
func relays(b *testing.B) map[string]func(client, origin net.Conn) {
	group := newGroup(b, tunnel.Options{})
	return map[string]func(client, origin net.Conn){
		"relay=tunnel": func(client, origin net.Conn) {
			group.Start(tunnel.Params{Client: client, Origin: origin, Done: func(tunnel.Result) {}})
		},
		"relay=iocopy": func(client, origin net.Conn) {
			go func() {
				var both sync.WaitGroup
				both.Go(func() { copyHalf(origin, client) })
				both.Go(func() { copyHalf(client, origin) })
				both.Wait()
				client.Close()
				origin.Close()
			}()
		},
	}
}

func copyHalf(dst, src net.Conn) {
	_, _ = io.Copy(dst, src)
	_ = dst.(*net.TCPConn).CloseWrite()
}

// BenchmarkSmall measures one tunnel that moves 64 bytes each way and closes, with the four sockets that belong to it: dial and
// accept are in the figure, and so are both peers. It leaves out the handshake of a proxy.
func BenchmarkSmall(b *testing.B) {
	for name, relay := range relays(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			buf := make([]byte, 64)
			for b.Loop() {
				client, front := egresstest.Pair(b)
				back, origin := egresstest.Pair(b)
				relay(front, back)
				roundTrip(b, client, origin, buf)
				must(b, client.Close())
				if _, err := origin.Read(buf); err != io.EOF {
					b.Fatalf("origin read %v, want EOF", err)
				}
				must(b, origin.Close())
			}
		})
	}
}

// BenchmarkRoundTrip measures 64 bytes there and 64 bytes back through one open tunnel, peers included.
func BenchmarkRoundTrip(b *testing.B) {
	for name, relay := range relays(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			buf := make([]byte, 64)
			client, front := egresstest.Pair(b)
			back, origin := egresstest.Pair(b)
			relay(front, back)
			for b.Loop() {
				roundTrip(b, client, origin, buf)
			}
			client.Close()
			origin.Close()
		})
	}
}

// BenchmarkBulk measures one direction at full speed, 1 MiB an iteration. Sender and receiver share the processors with
// the relay, so the figure is a floor and not what the relay alone can do.
func BenchmarkBulk(b *testing.B) {
	for name, relay := range relays(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			client, front := egresstest.Pair(b)
			back, origin := egresstest.Pair(b)
			relay(front, back)
			go func() {
				_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{client}, make([]byte, 256<<10))
			}()
			chunk := make([]byte, 1<<20)
			b.SetBytes(int64(len(chunk)))
			for b.Loop() {
				if _, err := origin.Write(chunk); err != nil {
					b.Fatal(err)
				}
			}
			client.Close()
			origin.Close()
		})
	}
}
