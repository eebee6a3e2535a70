package proxy_test

import (
	"bufio"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// lingerers are requests that end their connection, by who is told so.
var lingerers = []struct{ name, function, raw string }{
	{"refused by its list", "billing", connectAs("billing", "evil.test:443")},
	{"refused by its list, plain", "billing", "GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n" + auth("billing") + "\r\n"},
	{"without a token", "", "CONNECT evil.test:443 HTTP/1.1\r\n\r\n"},
	{"with a wrong token", "", "CONNECT evil.test:443 HTTP/1.1\r\n" + credential("billing:wrong") + "\r\n"},
	{"malformed", "", "CONNECT evil.test:443 HTTP/1.1\r\nA : b\r\n\r\n"},
}

// refuseAll sends the request on n connections that the client leaves open, and
// returns them when all have their reply.
func (r *rig) refuseAll(raw string, n int) []net.Conn {
	r.t.Helper()
	var conns []net.Conn
	var replies []*bufio.Reader
	for i := range n {
		c, br := r.send(raw)
		conns, replies = append(conns, c), append(replies, br)
		// Fewer at a time than a source may have that nobody has heard yet.
		if len(replies) < 8 && i < n-1 {
			continue
		}
		for _, br := range replies {
			readReply(r.t, br)
		}
		replies = replies[:0]
	}
	return conns
}

// What a client has sent must not be held for as long as it likes to read on.
func TestRefusedConnectionHoldsLittleWhileItsClientLeavesItOpen(t *testing.T) {
	for _, row := range lingerers {
		t.Run(row.name, func(t *testing.T) {
			r := newRig(t, rigOptions{functions: []function{{name: "billing"}}, options: func(o *proxy.Options) { o.Files = -1 }})
			raw := padded(row.raw)
			const n = 100
			r.server.LingerFor(patience)
			before := heap()
			conns := r.refuseAll(raw, n)
			if each := (int64(heap()) - int64(before)) / n; each > 12<<10 { // its head alone has 15 KiB
				t.Errorf("each holds %d bytes of the heap, with what the test has of it", each)
			}
			eventually(t, "they count to their caller", func() bool {
				return r.server.Lingering(row.function, netip.MustParseAddr("127.0.0.1")) == n
			})
			closes(t, conns)
		})
	}
}

// padded returns a request with a head as large as may be.
func padded(raw string) string {
	return strings.TrimSuffix(raw, "\r\n") + "X-Padding: " + strings.Repeat("x", 15<<10) + "\r\n\r\n"
}

// Nor for as long as its record is waited for.
func TestRefusedConnectionHoldsLittleWhileItsRecordIsWaitedFor(t *testing.T) {
	var asked atomic.Int64
	sink := &gateSink{gate: make(chan struct{})}
	r := newRig(t, rigOptions{
		functions: []function{{name: "billing"}}, sink: sink,
		options: func(o *proxy.Options) {
			current := o.Policy
			o.Policy = func() (*policy.Policy, *identity.Table) { asked.Add(1); return current() }
		},
	})
	t.Cleanup(func() { close(sink.gate) })
	raw := padded(connectAs("billing", "evil.test:443"))
	const n = 100
	var conns []net.Conn
	before := heap()
	for range n {
		c, _ := r.send(raw)
		conns = append(conns, c)
	}
	eventually(t, "all judged", func() bool { return asked.Load() == n })
	eventually(t, "little held for each", func() bool { return (int64(heap())-int64(before))/n <= 16<<10 })
	closes(t, conns)
}

// heap returns how many bytes of the heap are in use.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A caller that leaves its refused connections open has its share of them, and the
// oldest go for the newest; those of another stay.
func TestOldestLingeringConnectionOfACallerGoesForTheNewest(t *testing.T) {
	for _, row := range lingerers {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, rigOptions{
				functions: []function{{name: "billing"}, {name: "other"}},
				options:   func(o *proxy.Options) { o.Files = 1024 },
			})
			who, share := netip.MustParseAddr("127.0.0.1"), r.server.LingerShare()
			r.server.LingerFor(patience)
			conns := r.refuseAll(row.raw, share)
			conns = append(conns, r.refuseAll(connectAs("other", "evil.test:443"), 1)...)
			cut := r.value("egress_lingering_closed_total")
			conns = append(conns, r.refuseAll(row.raw, share)...)
			if n := r.server.Lingering(row.function, who); n > share {
				t.Errorf("%d linger, the share is %d", n, share)
			}
			if cut != 0 {
				t.Errorf("%v were cut within the share", cut)
			}
			eventually(t, "the oldest are cut", func() bool { return r.value("egress_lingering_closed_total") == float64(share) })
			closes(t, conns)
			eventually(t, "none lingers", func() bool {
				return r.server.Lingering(row.function, who)+r.server.Lingering("other", who) == 0 && r.server.Seats() == 0
			})
		})
	}
}

// A source that takes its answers and closes nothing must not hold the places of those
// that have yet to show who they are.
func TestLingeringConnectionTakesNoPlaceBeforeIdentity(t *testing.T) {
	o := newOrigin(t, echo)
	r := openRig(t, o, rigOptions{limits: proxy.Limits{Unidentified: 8}})
	r.server.LingerFor(10 * patience)
	conns := r.refuseAll("CONNECT evil.test:443 HTTP/1.1\r\n\r\n", 8)
	eventually(t, "answered connections hold no place", func() bool { return r.server.Unidentified() == 0 })
	c, br := r.send(connectAs("billing", o.at("any.test")))
	wantEstablished(t, br)
	closes(t, append(conns, c))
}
