//go:build torture

package torture

import (
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// The flags of TestWeather stand behind -args.
var (
	weatherRuns = flag.Int("weatherruns", 1, "how often TestWeather measures each weather; the table has the middle of them")
	weatherTime = flag.Duration("weathertime", 20*time.Second, "how long each weather lasts")
	weatherOnly = flag.String("weather", "", "the one weather that TestWeather measures")
	weatherOut  = flag.String("weatherout", "", "a file for the table of TestWeather")
)

const (
	weatherRate  = 200             // questions, or CONNECTs, a second
	weatherNames = 40              // of which each is asked for in turn, at random
	weatherTTL   = 10              // seconds; of less the tenth that Unbound fetches ahead in is all of it
	clientWait   = 5 * time.Second // after which a client has gone (glibc, Go)
	fairWeather  = 3 * time.Second // before the weather turns bad
)

// says is what a server does with one question.
type says struct {
	drop     bool
	after    time.Duration
	rcode    int
	referral bool
	truncate bool
}

// weather is how the servers of a set behave: the server of that number, asked a question
// that has EDNS or not, so long after the weather began.
type weather struct {
	name    string
	servers int
	says    func(server int, plain bool, since time.Duration) says
}

// lossy drops so many of a hundred packets.
func lossy(percent int) func(int, bool, time.Duration) says {
	return func(int, bool, time.Duration) says { return says{drop: rand.IntN(100) < percent} }
}

// slow answers after up to so long.
func slow(most time.Duration) func(int, bool, time.Duration) says {
	return func(int, bool, time.Duration) says { return says{after: rand.N(most)} }
}

// first makes the first servers so, and leaves the others well.
func first(n int, bad says) func(int, bool, time.Duration) says {
	return func(server int, _ bool, _ time.Duration) says {
		if server < n {
			return bad
		}
		return says{}
	}
}

// weathers are all of them.
var weathers = []weather{
	{"fine", 2, func(int, bool, time.Duration) says { return says{} }},
	{"all silent", 2, first(2, says{drop: true})},
	{"first of two silent", 2, first(1, says{drop: true})},
	{"two of three dead", 3, first(2, says{drop: true})},
	{"1% lost", 2, lossy(1)},
	{"10% lost", 2, lossy(10)},
	{"50% lost", 2, lossy(50)},
	{"0.2 s slow", 2, slow(200 * time.Millisecond)},
	{"2 s slow", 2, slow(2 * time.Second)},
	{"10 s slow", 2, slow(10 * time.Second)},
	{"first lame (REFUSED)", 2, first(1, says{rcode: dns.RcodeRefused})},
	{"first lame (referral)", 2, first(1, says{referral: true})},
	{"first SERVFAIL", 2, first(1, says{rcode: dns.RcodeServerFailure})},
	{"truncating", 2, func(int, bool, time.Duration) says { return says{truncate: true} }},
	{"FORMERR to EDNS", 2, func(_ int, plain bool, _ time.Duration) says {
		if plain {
			return says{}
		}
		return says{rcode: dns.RcodeFormatError}
	}},
	{"changing", 2, func(server int, _ bool, since time.Duration) says { // one is silent, then the other
		return says{drop: int(since/(2*time.Second))%2 == server}
	}},
	{"flapping", 2, func(_ int, _ bool, since time.Duration) says { // both are, a second of two
		return says{drop: int(since/time.Second)%2 == 1}
	}},
}

// stubs are the servers of one resolver.
type stubs struct {
	addrs     []netip.AddrPort
	weather   atomic.Pointer[weather]
	since     atomic.Int64 // when it began, in nanoseconds of Unix time
	questions atomic.Int64 // in the weather that is measured
	close     []func() error
}

// newStubs opens servers at addresses of their own.
func newStubs(t *testing.T, set, n int) *stubs {
	s := &stubs{}
	s.set(&weathers[0])
	for i := range n {
		ip := net.IPv4(127, 9, byte(set), byte(i+1))
		udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: ip})
		if err != nil {
			t.Fatal(err)
		}
		at := udp.LocalAddr().(*net.UDPAddr).AddrPort()
		tcp, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
		if err != nil {
			t.Fatal(err)
		}
		s.addrs, s.close = append(s.addrs, at), append(s.close, udp.Close, tcp.Close)
		_ = udp.SetReadBuffer(4 << 20)
		go s.serveUDP(udp, i)
		go s.serveTCP(tcp, i)
	}
	t.Cleanup(func() {
		for _, end := range s.close {
			_ = end()
		}
	})
	return s
}

// set changes the weather, and begins to count.
func (s *stubs) set(w *weather) {
	s.since.Store(time.Now().UnixNano())
	s.weather.Store(w)
	s.questions.Store(0)
}

// serveUDP answers what comes over UDP.
func (s *stubs) serveUDP(c *net.UDPConn, server int) {
	buf := make([]byte, 4096)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		q := new(dns.Msg)
		if q.Unpack(buf[:n]) != nil || len(q.Question) != 1 {
			continue
		}
		s.questions.Add(1)
		does := s.weather.Load().says(server, q.IsEdns0() == nil, time.Duration(time.Now().UnixNano()-s.since.Load()))
		if does.drop {
			continue
		}
		wire, err := answerOf(q, does).Pack()
		if err != nil {
			continue
		}
		time.AfterFunc(does.after, func() { _, _ = c.WriteToUDPAddrPort(wire, from) })
	}
}

// serveTCP answers what comes over TCP, whole.
func (s *stubs) serveTCP(l *net.TCPListener, server int) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			co := &dns.Conn{Conn: c}
			for {
				_ = c.SetDeadline(time.Now().Add(clientWait))
				q, err := co.ReadMsg()
				if err != nil || len(q.Question) != 1 {
					return
				}
				s.questions.Add(1)
				does := s.weather.Load().says(server, q.IsEdns0() == nil, time.Duration(time.Now().UnixNano()-s.since.Load()))
				does.truncate = false
				if does.drop || co.WriteMsg(answerOf(q, does)) != nil {
					return
				}
			}
		}()
	}
}

// answerOf makes the answer: nN.weather.test has 1 + N addresses, of which every third
// one takes no connection.
func answerOf(q *dns.Msg, does says) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable, m.Rcode, m.Truncated = true, does.rcode, does.truncate
	name := q.Question[0].Name
	switch {
	case does.rcode != 0 || does.truncate:
	case does.referral:
		m.Ns = []dns.RR{&dns.NS{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeNS, Class: dns.ClassINET, Ttl: 60}, Ns: "a.root-servers.net."}}
	case q.Question[0].Qtype == dns.TypeA:
		var n int
		_, _ = fmt.Sscanf(strings.ToLower(name), "n%d.weather.test.", &n)
		for i := range 1 + n {
			m.Answer = append(m.Answer, &dns.A{
				Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: weatherTTL}, A: addressOf(n, i),
			})
		}
	default:
		m.Ns = []dns.RR{&dns.SOA{Hdr: dns.RR_Header{Name: "weather.test.", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 60}, Ns: ".", Mbox: ".", Minttl: 60}}
	}
	if q.IsEdns0() != nil && does.rcode != dns.RcodeFormatError {
		m.SetEdns0(1232, false)
	}
	return m
}

// addressOf is one of a name's addresses; those of 127.8 have a listener, those of 127.7
// refuse.
func addressOf(name, i int) net.IP {
	if i%3 == 2 {
		return net.IPv4(127, 7, byte(name), byte(1+i))
	}
	return net.IPv4(127, 8, byte(name), byte(1+i))
}

// measured is what a load of one weather came to.
type measured struct {
	answered float64 // the share, in percent
	p50, p99 float64 // milliseconds; those without an answer count as clientWait
	upstream float64 // questions
}

// sample gathers how long requests took; clientWait for those without an answer.
type sample struct {
	mu    sync.Mutex
	times []time.Duration
	good  int
}

// add adds one.
func (s *sample) add(took time.Duration, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ok {
		s.good++
	} else {
		took = clientWait
	}
	s.times = append(s.times, took)
}

// measure returns what they come to.
func (s *sample) measure(questions int64) measured {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.Sort(s.times)
	at := func(percent int) float64 {
		return float64(s.times[min(len(s.times)*percent/100, len(s.times)-1)].Microseconds()) / 1000
	}
	return measured{100 * float64(s.good) / float64(len(s.times)), at(50), at(99), float64(questions)}
}

// load makes requests at weatherRate for so long and waits for their ends.
func load(lasts time.Duration, request func(name string) bool) *sample {
	var s sample
	var all sync.WaitGroup
	ticker := time.NewTicker(time.Second / weatherRate)
	defer ticker.Stop()
	for end := time.Now().Add(lasts); time.Now().Before(end); <-ticker.C {
		name := fmt.Sprintf("n%d.weather.test", rand.IntN(weatherNames))
		all.Go(func() {
			began := time.Now()
			ok := request(name)
			s.add(time.Since(began), ok)
		})
	}
	all.Wait()
	return &s
}

// lookup asks a server for the addresses of a name, once.
func lookup(server netip.AddrPort) func(string) bool {
	return func(name string) bool {
		c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(server))
		if err != nil {
			return false
		}
		defer c.Close()
		q := new(dns.Msg).SetQuestion(name+".", dns.TypeA)
		q.SetEdns0(1232, false)
		wire, err := q.Pack()
		if err != nil {
			return false
		}
		_ = c.SetDeadline(time.Now().Add(clientWait))
		buf := make([]byte, 4096)
		if _, err := c.Write(wire); err != nil {
			return false
		}
		n, err := c.Read(buf)
		return err == nil && n > 12 && buf[3]&15 == 0 && binary.BigEndian.Uint16(buf[6:]) > 0
	}
}

// connect opens a tunnel by the proxy.
func connect(proxy string, port uint16) func(string) bool {
	return func(name string) bool {
		c, err := net.DialTimeout("tcp", proxy, clientWait)
		if err != nil {
			return false
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(clientWait))
		if _, err := fmt.Fprintf(c, "CONNECT %s:%d HTTP/1.1\r\nHost: %s\r\n\r\n", name, port, name); err != nil {
			return false
		}
		buf := make([]byte, 64)
		n, err := c.Read(buf)
		return err == nil && strings.HasPrefix(string(buf[:n]), "HTTP/1.1 200")
	}
}

// TestWeather measures lookups and CONNECTs in bad weather, beside Unbound and dnsdist, and
// prints the table that benchmarks/weather.md has. All are driven at once, each with servers
// of its own that behave alike, so that what the machine does falls on all alike. It fails
// where a load could not be made, and judges no figure: those are for the page.
func TestWeather(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "proxy")
	if err := build(t.Context(), binary, *patched, *race); err != nil {
		t.Fatal(err)
	}
	table := newWeatherTable()
	for i := range weathers {
		w := &weathers[i]
		if *weatherOnly != "" && w.name != *weatherOnly {
			continue
		}
		for range max(1, *weatherRuns) {
			measureWeather(t, binary, w, table)
		}
		for _, line := range table.lines(w.name) {
			fmt.Print(line)
		}
	}
	if *weatherOut != "" {
		if err := os.WriteFile(*weatherOut, []byte(table.page()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// measureWeather measures one weather once, for all that the machine has.
func measureWeather(t *testing.T, binary string, w *weather, table *weatherTable) {
	origin, err := net.Listen("tcp", "127.8.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := netip.MustParseAddrPort(origin.Addr().String()).Port()
	_ = origin.Close()
	var open []net.Listener
	for name := range weatherNames {
		for i := range 1 + name {
			if ip := addressOf(name, i); ip[13] == 8 {
				l, err := net.Listen("tcp", netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip.To4())), port).String())
				if err != nil {
					t.Fatal(err)
				}
				open = append(open, l)
				go acceptAll(l)
			}
		}
	}
	var peers []*peer
	for i, start := range []func(*testing.T, string, *stubs, uint16) *peer{startFilter, startTunnels, startUnbound, startDNSDist} {
		s := newStubs(t, i+1, w.servers)
		if p := start(t, binary, s, port); p != nil {
			p.stubs = s
			peers = append(peers, p)
		}
	}
	var all sync.WaitGroup
	for _, p := range peers {
		all.Go(func() {
			load(fairWeather, p.request)
			p.stubs.set(w)
			s := load(*weatherTime, p.request)
			table.add(w.name, p.name, s.measure(p.stubs.questions.Load()))
		})
	}
	all.Wait()
	for _, p := range peers {
		p.stop()
	}
	for _, l := range open {
		_ = l.Close()
	}
}

// acceptAll takes connections and lets them go when their clients do.
func acceptAll(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_, _ = c.Read(make([]byte, 1))
		}()
	}
}

// weatherTable is what has been measured, by weather and by who was measured.
type weatherTable struct {
	mu   sync.Mutex
	rows map[string]map[string][]measured
	who  []string
}

func newWeatherTable() *weatherTable {
	return &weatherTable{rows: map[string]map[string][]measured{}, who: []string{"filter", "CONNECT", "Unbound", "dnsdist"}}
}

// add adds one measurement.
func (w *weatherTable) add(weather, who string, m measured) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.rows[weather] == nil {
		w.rows[weather] = map[string][]measured{}
	}
	w.rows[weather][who] = append(w.rows[weather][who], m)
}

// middle returns the middle of one figure.
func middle(all []measured, of func(measured) float64) float64 {
	values := make([]float64, len(all))
	for i, m := range all {
		values[i] = of(m)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// lines are the rows of one weather.
func (w *weatherTable) lines(weather string) (all []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, who := range w.who {
		if m := w.rows[weather][who]; len(m) > 0 {
			all = append(all, fmt.Sprintf("| %s | %s | %.2f | %.1f | %.0f | %.0f |\n", weather, who,
				middle(m, func(m measured) float64 { return m.answered }), middle(m, func(m measured) float64 { return m.p50 }),
				middle(m, func(m measured) float64 { return m.p99 }), middle(m, func(m measured) float64 { return m.upstream })))
		}
	}
	return all
}

// page is the whole table.
func (w *weatherTable) page() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Lookups in bad weather\n\nWritten by `benchmarks/weather`, which [benchmarks](../README.md#lookups-in-bad-weather) explains: %d runs of %v each, of which these are the middle.\n\n",
		max(1, *weatherRuns), *weatherTime)
	b.WriteString("| weather | who | answered, % | p50, ms | p99, ms | questions upstream |\n|---|---|---|---|---|---|\n")
	for _, one := range weathers {
		b.WriteString(strings.Join(w.lines(one.name), ""))
	}
	return b.String()
}
