//go:build torture

package torture

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// crowding is one way to take what all share: a step, taken many times over by
// callers who mean no good. It is bounded in number and time and stops by itself.
type crowding struct {
	name string
	rate int // steps a second
	most int // steps at all
	from int // sources, at most
	step func(a *attackers, i int)
	// refused is the metric that counts what was refused to it, "" where the
	// program has room for all of it.
	refused string
}

// crowdings are one for each thing that callers share.
var crowdings = []crowding{
	{"crowding: silent connections", 900, 1500, 250, func(a *attackers, i int) {
		a.open(a.source(i), a.world.ports.proxy, "")
	}, `egress_over_share_total{share="unidentified"}`},
	{"crowding: refused connections left open, no token", 500, 900, 250, func(a *attackers, i int) {
		a.open(a.source(i), a.world.ports.proxy, a.head("CONNECT", a.target(i, "one", zoneCrowder, a.world.ports.tls), noToken, 0))
	}, `egress_over_share_total{share="lingering"}`},
	{"crowding: refused connections left open, long heads", 400, 700, 250, func(a *attackers, i int) {
		a.open(a.source(i), a.world.ports.proxy, a.head("CONNECT", a.target(i, "one", zoneNever, a.world.ports.tls), goodToken, longHead))
	}, `egress_over_share_total{share="lingering"}`},
	{"crowding: plain requests to a mute host", 800, 1100, 250, func(a *attackers, i int) {
		a.open(a.source(i), a.world.ports.proxy, a.head("GET", a.target(i, "mute", zoneCrowder, a.world.ports.web), goodToken, longHead))
	}, `egress_over_share_total{share="tunnels"}`},
	{"crowding: tunnels to names that DNS does not answer", 500, 900, 250, func(a *attackers, i int) {
		a.open(a.source(i), a.world.ports.proxy, a.head("CONNECT", a.target(i, "silent", zoneCrowder, a.world.ports.tls), goodToken, 0))
	}, `egress_lookups_refused_total{cause="function"}`},
	{"crowding: tunnels to hosts that are dead", 500, 900, 250, func(a *attackers, i int) {
		word := []string{"hole", "hole", "beside"}[i%3]
		a.open(a.source(i), a.world.ports.proxy, a.head("CONNECT", a.target(i, word, zoneCrowder, a.world.ports.tls), goodToken, 0))
	}, `egress_over_share_total{share="dials"}`},
	{"crowding: one name that DNS does not answer", 1000, 2500, 2, func(a *attackers, i int) {
		a.ask(a.source(i), i, a.name(0, "silent", zoneCrowder))
	}, "egress_dns_questions_refused_total"},
	{"crowding: names that DNS does not answer", 500, 1000, 8, func(a *attackers, i int) {
		a.ask(a.source(i), i, a.name(i, "silent", zoneCrowder))
	}, `egress_lookups_refused_total{cause="source"}`},
	{"crowding: idle connections to the DNS filter", 500, 800, 8, func(a *attackers, i int) {
		a.open(a.source(i), a.world.ports.dns, "")
	}, "egress_dns_connections_refused_total"},
	{crowdingForged, 500, 1000, 100, func(a *attackers, i int) {
		from := a.source(i).As4()
		a.ask(addrOf(seekerNet.Addr().As4()[1], from[2], from[3]), i, a.name(i, "silent", zoneBoth))
	}, `egress_lookups_refused_total{cause="function"}`},
	{"crowding: forged tokens of AWS", 800, 2000, 8, func(a *attackers, i int) {
		a.show(i, a.world.issuer.function, a.world.issuer.stolen(true))
	}, `egress_identity_verifications_total{result="signature"}`},
	{"crowding: tokens of AWS by keys that are made up", 800, 2000, 8, func(a *attackers, i int) {
		a.show(i, a.world.fetched.function, a.world.fetched.stolen(false))
	}, `egress_identity_verifications_total{result="key"}`},
	{"crowding: refused questions", 800, 2000, 4, func(a *attackers, i int) {
		a.ask(a.source(i), i, a.name(i, "one", zoneNever))
	}, ""},
	{"crowding: names below a wildcard from many sources", 600, 1500, 100, func(a *attackers, i int) {
		a.ask(a.source(i), i, a.name(i, "one", zoneBoth))
	}, ""},
}

const (
	crowdingForged  = "crowding: names that DNS does not answer, from a function's sources"
	crowdingAll     = "crowding: all at once"
	longHead        = 15 << 10
	attackersAtOnce = 8
	// crowdingOver is how long a crowding may be felt when its attackers have gone.
	crowdingOver = time.Second
)

// strikeOf makes crowdings, all at the same time, a fault of the nemesis.
func strikeOf(name string, all ...crowding) strike {
	return strike{name, 1, "", func(n *nemesis, ctx context.Context) error {
		over := n.world.timeline.begin(faultCrowding)
		defer over(crowdingOver)
		if slices.ContainsFunc(all, func(one crowding) bool { return one.name == crowdingForged }) {
			forged := n.world.timeline.begin(faultForged)
			defer forged(crowdingOver)
		}
		ctx, stop := context.WithTimeout(ctx, n.between(800, 3000))
		defer stop()
		var running sync.WaitGroup
		for _, one := range all {
			n.crowdings++
			a := &attackers{world: n.world, number: n.crowdings, from: 1 + n.r.IntN(one.from)}
			running.Go(func() {
				defer a.leave()
				a.run(ctx, one)
			})
		}
		running.Wait()
		return nil
	}}
}

// crowdingStrikes are all crowdings as faults, and all of them at once.
func crowdingStrikes() (some []strike) {
	var all []crowding
	for _, one := range crowdings {
		some = append(some, strikeOf(one.name, one))
		one.rate, one.most = one.rate/5, one.most/3 // the machine has to serve the honest too
		all = append(all, one)
	}
	return append(some, strikeOf(crowdingAll, all...))
}

// attackers are the callers of one crowding while it lasts. They have a function
// and sources of their own, so that whatever is refused to them is refused to
// nobody else, and nobody counts what comes of them.
type attackers struct {
	world  *world
	number int // of the crowding: its names are new
	from   int // sources

	mu      sync.Mutex
	held    []net.Conn
	sockets map[netip.Addr]net.PacketConn
}

// run takes the steps, some at the same time, and holds what they opened until
// ctx ends.
func (a *attackers) run(ctx context.Context, one crowding) {
	var running sync.WaitGroup
	var taken atomic.Int64
	for range attackersAtOnce {
		running.Go(func() {
			tick := time.NewTicker(time.Second * attackersAtOnce / time.Duration(one.rate))
			defer tick.Stop()
			for i := taken.Add(1); i <= int64(one.most); i = taken.Add(1) {
				select {
				case <-tick.C:
					one.step(a, int(i))
				case <-ctx.Done():
					return
				}
			}
		})
	}
	running.Wait()
	<-ctx.Done()
}

// source returns where a step comes from.
func (a *attackers) source(i int) netip.Addr { return addrOf(71, byte(a.number), byte(1+i%a.from)) }

// name returns a name that no honest caller asks for.
func (a *attackers) name(i int, word, zone string) string {
	return fmt.Sprintf("c%d-%d-%s.%s", a.number, i, word, zone)
}

// target returns such a name with a port.
func (a *attackers) target(i int, word, zone string, port uint16) string {
	return fmt.Sprintf("%s:%d", a.name(i, word, zone), port)
}

// head returns the head of a request, in so many bytes at least.
func (a *attackers) head(method, target, credential string, size int) string {
	uri := target
	if method != "CONNECT" {
		uri = "http://" + target + "/"
	}
	o := operation{function: crowder, credential: credential}
	head := method + " " + uri + " HTTP/1.1\r\nHost: " + target + "\r\n" + o.authorization()
	for i := 0; len(head) < size; i++ {
		head += fmt.Sprintf("X%d: %s\r\n", i, padding(140))
	}
	return head + "\r\n"
}

// open opens a connection, sends the text on it and leaves it open.
func (a *attackers) open(from netip.Addr, port uint16, text string) {
	d := net.Dialer{Timeout: 500 * time.Millisecond, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
	conn, err := d.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return // there is no place for it
	}
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	_, _ = io.WriteString(conn, text)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.held = append(a.held, conn)
}

// show asks for a tunnel with a token of AWS.
func (a *attackers) show(i int, function, token string) {
	o := operation{function: function, credential: forgedToken, token: token, basic: i%2 == 0}
	target := a.target(i, "one", zoneCrowder, a.world.ports.tls)
	a.open(a.source(i), a.world.ports.proxy, "CONNECT "+target+" HTTP/1.1\r\nHost: "+target+"\r\n"+o.authorization()+"\r\n")
}

// ask asks the DNS filter and does not wait for the answer.
func (a *attackers) ask(from netip.Addr, id int, name string) {
	q := new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA)
	q.Id = uint16(id)
	packet, err := q.Pack()
	if err != nil {
		panic(err) // the name is of ours
	}
	if socket := a.socket(from); socket != nil {
		_, _ = socket.WriteTo(packet, net.UDPAddrFromAddrPort(netip.AddrPortFrom(addrOf(0, 0, 1), a.world.ports.dns)))
	}
}

// socket returns the socket of a source, nil where none can be had.
func (a *attackers) socket(from netip.Addr) net.PacketConn {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := a.sockets[from]; s != nil {
		return s
	}
	s, err := net.ListenPacket("udp", netip.AddrPortFrom(from, 0).String())
	if err != nil {
		return nil
	}
	if a.sockets == nil {
		a.sockets = map[netip.Addr]net.PacketConn{}
	}
	a.sockets[from] = s
	return s
}

// leave lets go of everything, of half the connections by a reset.
func (a *attackers) leave() {
	for i, c := range a.held {
		if i%2 == 0 {
			_ = c.(*net.TCPConn).SetLinger(0)
		}
		_ = c.Close()
	}
	for _, s := range a.sockets {
		_ = s.Close()
	}
}

// blame says why an operation may not have ended as it did, for a violation that
// nothing excuses: where attackers took what all share it is they who did it.
func (w *world) blame(o *operation, otherwise string) string {
	if w.timeline.during(o.start, o.end, faultCrowding) {
		return "refused for another's doing"
	}
	return otherwise
}

// failureBudget is how many bad credentials a source may show in a minute.
const failureBudget = 50

// failedBefore returns how many bad credentials the source of an operation had
// shown in the two minutes before its end, in which one window of a minute lies.
func (c *checker) failedBefore(o *operation) (n int) {
	for _, one := range c.failures[o.source] {
		if one != o && one.start.After(o.start.Add(-2*time.Minute)) && !one.start.After(o.end) {
			n++
		}
	}
	return n
}

// Each crowding takes what it may have and more of it, and no honest caller is
// refused for that.
func TestCrowdings(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "proxy")
	changed, err := overlay(t.TempDir(), *patched)
	if err != nil {
		t.Fatal(err)
	}
	if err := build(t.Context(), binary, changed, *race); err != nil {
		t.Fatal(err)
	}
	for _, one := range append(slices.Clone(crowdings), crowding{name: crowdingAll}) {
		t.Run(one.name, func(t *testing.T) {
			w, err := newWorld(t, settings{binary: binary, seed: max(1, *seed), rate: *rate, round: defectTime, faults: []string{one.name}})
			if err != nil {
				t.Fatal(err)
			}
			defer w.close()
			got, err := w.play(t.Context(), 1, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			n := got.last.sum(one.refused)
			if one.refused != "" && n == 0 {
				t.Errorf("%s is 0", one.refused)
			}
			t.Logf("%d times, %s %v, %d operations, %d violations: %s", w.timeline.struck[one.name], one.refused, n, got.all(), got.broken, got.line(1))
			for _, v := range got.violations {
				t.Error(v)
			}
		})
	}
}
