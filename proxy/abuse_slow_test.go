package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// Memory that runs short refuses new requests before anything is looked up, and
// what is open goes on.
func TestWhileMemoryRunsShortNewRequestsAreRefusedAndOpenTunnelsGoOn(t *testing.T) {
	o := newOrigin(t, echo)
	var mu sync.Mutex
	used := uint64(0)
	set := func(n uint64) { mu.Lock(); used = n; mu.Unlock() }
	r := openRig(t, o, rigOptions{options: func(opt *proxy.Options) {
		opt.Memory = func(uint64) (uint64, uint64) { mu.Lock(); defer mu.Unlock(); return used, 1 << 30 }
	}})
	before := hold()
	c, br := r.send(connectAs("billing", o.at("any.test")))
	wantEstablished(t, br)
	set(1 << 30 / 100 * 95)
	eventually(t, "the state", func() bool { return r.value("egress_memory_short") == 1 })
	lookups := r.lookups.Load()
	for _, raw := range []string{
		connectAs("billing", o.at("any.test")),
		"GET http://" + o.at("any.test") + "/ HTTP/1.1\r\nHost: x\r\n" + auth("billing") + "\r\n",
	} {
		got := r.ask(raw)
		r.wantRefusal(got, http.StatusServiceUnavailable, "limit_total", "connection_limit_reached")
		if got.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	if r.lookups.Load() != lookups || o.connections(t) != 1 {
		t.Error("a refused request was looked up or dialed")
	}
	if n := r.shed("memory"); n != 2 {
		t.Errorf("%v counted as shed for memory, want 2", n)
	}
	if _, err := io.WriteString(c, "still here"); err != nil {
		t.Fatal(err)
	}
	wantExactly(t, br, "still here")
	set(0)
	eventually(t, "the end of it", func() bool { return r.value("egress_memory_short") == 0 })
	_ = c.Close()
	r.unharmed(before, o.at("any.test"))
}

// A client of plain HTTP that takes nothing of a long answer holds its origin's
// connection no longer than the idle time, and others are served meanwhile.
func TestClientThatDoesNotTakeItsAnswerIsGivenUp(t *testing.T) {
	body := strings.Repeat("x", 1<<20)
	r := newPlainRigFor(t, newOrigin(t, func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", 64<<20)
			for range 64 {
				if _, err := io.WriteString(c, body); err != nil {
					return
				}
			}
		}
	}), proxy.Limits{IdleTimeout: 200 * time.Millisecond})
	before := hold()
	// An origin that is slow to begin is given up itself, and has no such record.
	for n := 1; len(r.of("closed")) == 0; n++ {
		c, _ := r.send(r.request("GET", "/", "", ""))
		_ = c.SetReadBuffer(4 << 10)
		eventually(t, "an end", func() bool { return len(r.of("closed"))+len(r.of("refused")) == n })
		_ = c.Close()
	}
	if m := r.one("closed"); m["ended"] != "idle" {
		t.Errorf("record: %v", m)
	}
	r.unharmed(before, r.host)
}

// Connections that wait for their next plain request are idle for nobody's good
// when many do: beyond the share of their function the answer says that the connection
// ends, and another function's are kept.
func TestConnectionsKeptForTheNextRequestAreBounded(t *testing.T) {
	o := newOrigin(t, answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")) // no connection to it stays
	rules := []rule{{host: "any.test", ports: []uint16{o.port}, any: true, addresses: loopback}}
	r := newRig(t, rigOptions{
		functions: []function{{name: "billing", rules: rules}, {name: "partner", rules: rules}},
		options:   func(opt *proxy.Options) { opt.Files = 256 },
	})
	r.resolves("any.test", "127.0.0.1")
	before := hold()
	const most = 6 // of 256 descriptors
	ask := func(c net.Conn, br *bufio.Reader, function string) (kept bool) {
		_, _ = io.WriteString(c, "GET http://"+o.at("any.test")+"/ HTTP/1.1\r\nHost: x\r\n"+auth(function)+"\r\n")
		resp, err := http.ReadResponse(br, nil)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatal(resp, err)
		}
		_, _ = io.ReadAll(resp.Body)
		return !resp.Close
	}
	var conns []*net.TCPConn
	kept := map[string]int{}
	for _, function := range []string{"billing", "partner"} {
		for range 2 * most {
			c, br := r.send("")
			if ask(c, br, function) {
				kept[function]++
			}
			conns = append(conns, c)
		}
	}
	if kept["billing"] != most/2 || kept["partner"] == 0 || r.server.Kept() != int64(kept["billing"]+kept["partner"]) {
		t.Errorf("kept are %v, want half of %d for who is first", kept, most)
	}
	over := 0.0
	r.eachSeries("egress_over_share_total", func(labels map[string]string, n float64) {
		if labels["share"] == "kept_alive" {
			over += n
		}
	})
	if want := 2*2*most - kept["billing"] - kept["partner"]; int(over) != want {
		t.Errorf("%v times somebody was over its share, want %d", over, want)
	}
	closes(t, conns)
	r.unharmed(before, o.at("any.test"))
}

// Identified callers that are refused and do not read why hold a seat each, no
// more than there are, and nothing of what the tunnels need.
func TestRefusedClientsThatLingerTakeNothingFromTunnels(t *testing.T) {
	o := newOrigin(t, echo)
	r := openRig(t, o, rigOptions{options: func(opt *proxy.Options) { opt.Files = 256 }})
	before := hold()
	var conns []*net.TCPConn
	for range 100 {
		c, _ := r.send(connectAs("billing", "evil.test:443"))
		conns = append(conns, c)
	}
	isServed(t, r.dial(), o.at("any.test"))
	if now := hold(); now.files-before.files > 100+256 {
		t.Errorf("%d descriptors more than before", now.files-before.files)
	}
	closes(t, conns)
	r.unharmed(before, o.at("any.test"))
}

// Both sides send until the very end, in all four ways to end: the counts of the
// record are what arrived, or less where one side was cut.
func TestBytesThatArriveDuringACloseAreCountedOrDroppedAndNothingBreaks(t *testing.T) {
	flood := func(c net.Conn) {
		go func() { _, _ = io.Copy(io.Discard, c) }()
		for b := make([]byte, 32<<10); ; {
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	}
	o := newOrigin(t, flood)
	r := openRig(t, o, rigOptions{})
	before := hold()
	const tunnels = 60
	var wg sync.WaitGroup
	for i := range tunnels {
		c, br := r.send(connectAs("billing", o.at("any.test")))
		wg.Go(func() {
			wantEstablished(t, br)
			go func() {
				for b := make([]byte, 8<<10); ; {
					if _, err := c.Write(b); err != nil {
						return
					}
				}
			}()
			_, _ = io.CopyN(io.Discard, br, int64(i)*20<<10)
			switch i % 4 {
			case 0:
				_ = c.SetLinger(0)
			case 1:
				_ = c.CloseWrite()
			case 2:
				_ = c.CloseRead()
			}
			_ = c.Close()
		})
	}
	wg.Wait()
	eventually(t, "a record of every end", func() bool { return len(r.of("closed")) == tunnels })
	eventually(t, "everything counted", func() bool { return r.server.Open() == 0 })
	var up, down float64
	for _, m := range r.of("closed") {
		up, down = up+m["bytes_up"].(float64), down+m["bytes_down"].(float64)
	}
	counted := map[string]float64{}
	r.eachSeries("egress_bytes_total", func(labels map[string]string, n float64) { counted[labels["direction"]] += n })
	if counted["up"] != up || counted["down"] != down {
		t.Errorf("counted %v up and %v down, recorded %v and %v", counted["up"], counted["down"], up, down)
	}
	if got := float64(o.got.size()); up < got {
		t.Errorf("the origin has %v bytes, the records have %v", got, up)
	}
	// The origin of this test floods whoever comes, so another one is asked.
	quiet := newOrigin(t, echo)
	r.setPolicy([]function{{name: "billing", rules: []rule{{host: "any.test", ports: []uint16{quiet.port}, any: true, addresses: loopback}}}})
	r.unharmed(before, quiet.at("any.test"))
}

// Refused, served, broken off and reset connections, one after the other from
// many clients, leave nothing.
func TestChurnOfConnectionsLeavesNothingBehind(t *testing.T) {
	o := newOrigin(t, echo)
	r := openRig(t, o, rigOptions{})
	before := hold()
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 150 {
				c, err := net.Dial("tcp", r.addr)
				if err != nil {
					t.Error(err)
					return
				}
				churn(c.(*net.TCPConn), (worker+i)%6, o)
				_ = c.Close()
			}
		})
	}
	wg.Wait()
	r.unharmed(before, o.at("any.test"))
	eventually(t, "an end of each record opened", func() bool { return len(r.of("opened")) == len(r.of("closed")) })
}

// churn is one short life of a connection.
func churn(c *net.TCPConn, way int, o *origin) {
	good := connectAs("billing", o.at("any.test"))
	switch way {
	case 0: // a tunnel that is used
		_, _ = io.WriteString(c, good+"x")
		_, _ = io.ReadFull(c, make([]byte, 40))
	case 1: // a refusal that is read
		_, _ = io.WriteString(c, connectAs("billing", "evil.test:443"))
		_, _ = io.ReadAll(c)
	case 2: // a request and a reset
		_, _ = io.WriteString(c, good)
		_ = c.SetLinger(0)
	case 3: // half a head
		_, _ = io.WriteString(c, good[:30])
	case 4: // nothing
	case 5: // a refusal that is not read
		_, _ = io.WriteString(c, verdict.ReasonBadRequest.String()+"\r\n\r\n")
	}
}

// A tunnel that was let in while there was memory gets no more of it for a long
// ClientHello when there is none, in report mode too; a short one still passes.
func TestHelloThatGrowsWhileMemoryRunsShortIsRefused(t *testing.T) {
	o := newOrigin(t, echo)
	var used atomic.Uint64
	rules := []rule{{host: "tls.test", ports: []uint16{o.port}, addresses: loopback}}
	r := openRig(t, o, rigOptions{
		functions: []function{{name: "reports", report: time.Now().Add(time.Hour), rules: rules}},
		options: func(opt *proxy.Options) {
			opt.Memory = func(uint64) (uint64, uint64) { return used.Load(), 1 << 30 }
		},
	})
	before := hold()
	var conns []*net.TCPConn
	var readers []*bufio.Reader
	for _, name := range []string{"billing", "reports", "billing"} {
		c, br := r.send(connectAs(name, o.at("tls.test")))
		wantEstablished(t, br)
		conns, readers = append(conns, c), append(readers, br)
	}
	used.Store(1 << 30)
	eventually(t, "the state", func() bool { return r.value("egress_memory_short") == 1 })
	for i := range 2 {
		long := append([]byte{22, 3, 1, 0x3f, 0xff, 1, 0, 0x60, 0}, make([]byte, 12<<10)...)
		_, _ = conns[i].Write(long)
		wantEnd(t, readers[i])
	}
	hello := clientHello(names("tls.test"))
	_, _ = io.WriteString(conns[2], hello)
	wantExactly(t, readers[2], hello)
	if got := r.of("refused"); len(got) != 2 || got[0]["reason"] != "limit_total" || got[1]["reason"] != "limit_total" {
		t.Errorf("records: %v", got)
	}
	if n := r.shed("memory"); n != 2 || o.text() != hello {
		t.Errorf("%v counted as shed for memory, want 2; the origin has %d bytes", n, len(o.text()))
	}
	used.Store(0)
	eventually(t, "the end of it", func() bool { return r.value("egress_memory_short") == 0 })
	closes(t, conns)
	r.unharmed(before, o.at("any.test"))
}
