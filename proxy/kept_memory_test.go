package proxy_test

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// inUse is what the process holds on heap and stacks, when the collector has been there
// often enough for stacks to have shrunk.
func inUse() uint64 {
	for range 6 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// A connection that waits for its next request holds its socket and little else: no buffer
// for a head, and nothing of the request before. What the test's own side of it holds is in
// the figure.
func TestConnectionThatWaitsForARequestHoldsLittle(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector's own memory would be in the figure")
	}
	o := newOrigin(t, answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"))
	r := newRig(t, rigOptions{
		functions: []function{{name: "billing", rules: []rule{{host: "any.test", ports: []uint16{o.port}, any: true, addresses: loopback}}}},
		options:   func(opt *proxy.Options) { opt.Files = 1 << 20 },
		sink:      io.Discard, // records would be in the figure
	})
	r.resolves("any.test", "127.0.0.1")
	get := func(c net.Conn) {
		fmt.Fprintf(c, "GET http://%s/ HTTP/1.1\r\nHost: x\r\n%s\r\n", o.at("any.test"), auth("billing"))
		buf := make([]byte, 512)
		for n := 0; n < 2 || string(buf[n-2:n]) != "ok"; {
			m, err := c.Read(buf[n:])
			if n += m; err != nil && err != io.EOF {
				t.Fatal(err)
			}
		}
	}
	get(r.dial()) // what is made once is there
	before := inUse()
	const n = 300
	for range n {
		get(r.dial())
	}
	if kept := r.server.Kept(); kept < n {
		t.Fatalf("%d connections are kept, want %d", kept, n)
	}
	if each := (inUse() - before) / n; each > 8<<10 {
		t.Errorf("a kept connection holds %d bytes", each)
	} else {
		t.Logf("a kept connection holds %d bytes", each)
	}
}
