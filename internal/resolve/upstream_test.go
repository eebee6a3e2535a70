package resolve

import (
	"context"
	"encoding/binary"
	"math/bits"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egresstest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/resolve/upstream"
)

// server is a real upstream on loopback: what it gets over UDP and TCP goes to its
// funcs, whole packets in and out.
type server struct {
	addr netip.AddrPort
	udp  *net.UDPConn
	// onUDP may send any number of packets; onTCP returns one message, nil to hang up.
	onUDP func(query []byte, from netip.AddrPort)
	onTCP func(query []byte) []byte

	mu       sync.Mutex
	overUDP  int
	overTCP  int
	tcp      net.Listener
	finished sync.WaitGroup
}

// serve starts s on one port of ip for both transports.
func (s *server) serve(t *testing.T, ip string) netip.AddrPort {
	t.Helper()
	s.tcp, s.udp = egresstest.ListenBoth(t, ip)
	s.addr = s.tcp.Addr().(*net.TCPAddr).AddrPort()
	s.finished.Go(s.readUDP)
	s.finished.Go(s.acceptTCP)
	t.Cleanup(s.stop)
	return s.addr
}

// stop ends s and waits, so that what its funcs wrote can be read. Twice is once.
func (s *server) stop() {
	s.udp.Close()
	s.tcp.Close()
	s.finished.Wait()
}

func (s *server) readUDP() {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := s.udp.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		s.mu.Lock()
		s.overUDP++
		s.mu.Unlock()
		if s.onUDP != nil {
			s.onUDP(slices.Clone(buf[:n]), from)
		}
	}
}

func (s *server) acceptTCP() {
	for {
		c, err := s.tcp.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.overTCP++
		s.mu.Unlock()
		co := &dns.Conn{Conn: c}
		if query, err := co.ReadMsgHeader(nil); err == nil && s.onTCP != nil {
			if reply := s.onTCP(query); reply != nil {
				co.Write(reply)
			}
		}
		c.Close()
	}
}

func (s *server) send(to netip.AddrPort, packet []byte) { s.udp.WriteToUDPAddrPort(packet, to) }

// counts returns the questions that came over UDP and over TCP.
func (s *server) counts() (udp, tcp int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.overUDP, s.overTCP
}

// answering is a reply to query with the records of text, and whatever edit does.
func answering(query []byte, text string, edit func(*dns.Msg)) []byte {
	q := new(dns.Msg)
	if err := q.Unpack(query); err != nil {
		panic(err)
	}
	m := new(dns.Msg).SetReply(q)
	m.Answer = zone(text)
	if edit != nil {
		edit(m)
	}
	wire, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return wire
}

// newReal makes a resolver of real sockets.
func newReal(t *testing.T, timeout time.Duration, upstreams ...netip.AddrPort) *Resolver {
	t.Helper()
	r, err := New(Config{Upstreams: upstreams, Hosts: t.TempDir() + "/hosts", Families: IP4, Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// long is a timeout that a test on loopback does not reach.
const long = time.Minute

func TestForgedAnswersAreIgnoredAndTheRealOneIsUsed(t *testing.T) {
	const evil = "x.example. 60 IN A 10.6.6.6"
	for _, tt := range []struct {
		name  string
		from  string // another source; empty for the upstream's own
		forge func(query []byte) []byte
	}{
		{name: "from another port", from: "127.0.0.1", forge: func(q []byte) []byte { return answering(q, evil, nil) }},
		{name: "from another address", from: "127.0.0.2", forge: func(q []byte) []byte { return answering(q, evil, nil) }},
		{name: "with another id", forge: func(q []byte) []byte {
			return answering(q, evil, func(m *dns.Msg) { m.Id++ })
		}},
		{name: "with another name in the question", forge: func(q []byte) []byte {
			return answering(q, evil, func(m *dns.Msg) { m.Question[0].Name = "y.example." })
		}},
		{name: "with letters of another case in the question", forge: func(q []byte) []byte {
			return answering(q, evil, func(m *dns.Msg) { m.Question[0].Name = "X.example." })
		}},
		{name: "with another type in the question", forge: func(q []byte) []byte {
			return answering(q, evil, func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAAAA })
		}},
		{name: "with another class in the question", forge: func(q []byte) []byte {
			return answering(q, evil, func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS })
		}},
		{name: "without a question", forge: func(q []byte) []byte {
			return answering(q, evil, func(m *dns.Msg) { m.Question = nil })
		}},
		{name: "with two questions", forge: func(q []byte) []byte {
			return answering(q, evil, func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) })
		}},
		{name: "that is a query", forge: func(q []byte) []byte {
			return answering(q, evil, func(m *dns.Msg) { m.Response = false })
		}},
		{name: "that is a NOTIFY", forge: func(q []byte) []byte {
			return answering(q, evil, func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify })
		}},
		{name: "of three bytes", forge: func(q []byte) []byte { return q[:3] }},
		{name: "of a header alone", forge: func(q []byte) []byte {
			head := slices.Clone(q[:12])
			head[2] |= 0x80
			return head
		}},
		{name: "of nothing", forge: func([]byte) []byte { return nil }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &server{}
			forger := &server{}
			if tt.from != "" {
				forger.serve(t, tt.from)
			}
			s.onUDP = func(query []byte, from netip.AddrPort) {
				if tt.from == "" {
					s.send(from, tt.forge(query))
				} else {
					forger.send(from, tt.forge(query))
				}
				s.send(from, answering(query, "x.example. 60 IN A 192.0.2.1", nil))
			}
			r := newReal(t, long, s.serve(t, "127.0.0.1"))
			mustLookup(t, r, "x.example", "192.0.2.1")
			if udp, tcp := s.counts(); udp != 1 || tcp != 0 {
				t.Errorf("asked %d times over UDP and %d over TCP, want once over UDP", udp, tcp)
			}
		})
	}
}

func TestQuestionThatIsGuessedAtGoesOverTCP(t *testing.T) {
	s := &server{}
	s.onUDP = func(query []byte, from netip.AddrPort) {
		for i := range 200 {
			s.send(from, answering(query, "x.example. 60 IN A 10.6.6.6", func(m *dns.Msg) { m.Id += uint16(i + 1) }))
		}
	}
	s.onTCP = func(query []byte) []byte { return answering(query, "x.example. 60 IN A 192.0.2.1", nil) }
	r := newReal(t, long, s.serve(t, "127.0.0.1"))
	mustLookup(t, r, "x.example", "192.0.2.1")
}

func TestMalformedAnswerIsAFailureOfItsUpstream(t *testing.T) {
	record := func(tail string) func([]byte) []byte {
		return func(query []byte) []byte {
			end := new(dns.Msg).SetQuestion("x.example.", dns.TypeA).Len()
			wire := append(slices.Clone(query[:end]), tail...)
			wire[2], wire[3] = 0x81, 0x80
			binary.BigEndian.PutUint16(wire[6:], 1)
			binary.BigEndian.PutUint16(wire[10:], 0)
			return wire
		}
	}
	counting := func(answers, authorities, additional uint16) func([]byte) []byte {
		return func(query []byte) []byte {
			wire := record("\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01")(query)
			for i, n := range []uint16{answers, authorities, additional} {
				binary.BigEndian.PutUint16(wire[6+2*i:], n)
			}
			return wire
		}
	}
	for _, tt := range []struct {
		name string
		make func(query []byte) []byte
		want error
	}{
		{"a record cut short", record("\xc0\x0c\x00\x01\x00"), ErrFailed},
		{"a record longer than the message", record("\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x40\x00\x01\x02"), ErrFailed},
		{"an address of three bytes", record("\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x03\x01\x02\x03"), ErrFailed},
		{"an address of no bytes", record("\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x00"), ErrNotFound},
		{"a CNAME of no bytes", record("\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x00"), ErrNotFound},
		{"a name that points at itself", record("\xc0\x1b\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x7f\x00\x00\x01"), ErrFailed},
		{"a name that points ahead", record("\xc0\xff\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x7f\x00\x00\x01"), ErrFailed},
		{"a name of no bytes, the root", record("\x00\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x7f\x00\x00\x01"), ErrNotFound},
		{"65,535 records in each section, one there", counting(65535, 65535, 65535), ErrFailed},
		{"65,535 answers, one there", counting(65535, 0, 0), ErrFailed},
		{"two answers, one there", counting(2, 0, 0), ErrFailed},
		{"no answer, one there", counting(0, 0, 0), ErrFailed},
		{"an authority that is not there", counting(1, 1, 0), ErrFailed},
		{"an additional record that is not there", counting(1, 0, 1), ErrFailed},
		{"an additional record that is not counted", func(query []byte) []byte {
			wire := answering(query, "x.example. 60 IN A 192.0.2.1", nil)
			return append(wire, wire[len(wire)-16:]...)
		}, ErrFailed},
		{"bytes behind the last record", func(query []byte) []byte {
			return append(answering(query, "x.example. 60 IN A 192.0.2.1", nil), "more"...)
		}, ErrFailed},
		{"a CNAME to a name of no bytes", record("\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x01\x00"), ErrFailed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &server{}
			s.onUDP = func(query []byte, from netip.AddrPort) { s.send(from, tt.make(query)) }
			r := newReal(t, long, s.serve(t, "127.0.0.1"))
			mustFail(t, r, "x.example", tt.want)
		})
	}
}

func TestUpstreamAfterAMalformedOneIsUsed(t *testing.T) {
	bad, good := &server{}, &server{}
	bad.onUDP = func(query []byte, from netip.AddrPort) {
		wire := answering(query, "x.example. 60 IN A 10.6.6.6", nil)
		bad.send(from, wire[:len(wire)-2])
	}
	good.onUDP = func(query []byte, from netip.AddrPort) {
		good.send(from, answering(query, "x.example. 60 IN A 192.0.2.1", nil))
	}
	r := newReal(t, long, bad.serve(t, "127.0.0.1"), good.serve(t, "127.0.0.2"))
	mustLookup(t, r, "x.example", "192.0.2.1")
}

func TestTruncatedAnswerIsAskedForAgainOverTCP(t *testing.T) {
	var many strings.Builder
	for range 40 {
		many.WriteString("x.example. 60 IN TXT " + strings.Repeat("x", 200) + "\n")
	}
	var size uint16
	var dnssec bool
	s := &server{}
	s.onUDP = func(query []byte, from netip.AddrPort) {
		m := new(dns.Msg)
		m.Unpack(query)
		size, dnssec = m.IsEdns0().UDPSize(), m.IsEdns0().Do()
		// A truncated answer is not an answer, and its records must not become one.
		s.send(from, answering(query, "x.example. 60 IN TXT evil", func(m *dns.Msg) { m.Truncated = true }))
	}
	s.onTCP = func(query []byte) []byte { return answering(query, many.String(), nil) }
	r := newReal(t, long, s.serve(t, "127.0.0.1"))
	for range 2 {
		got, err := r.Exchange(t.Context(), dns.Question{Name: "x.example.", Qtype: dns.TypeTXT, Qclass: 1}, true)
		if err != nil || len(got.Answer) != 40 {
			t.Fatalf("%d records, %v; want the 40 that TCP carries", len(got.Answer), err)
		}
	}
	if udp, tcp := s.counts(); udp != 1 || tcp != 1 {
		t.Errorf("asked %d times over UDP and %d over TCP, want once each", udp, tcp)
	}
	s.stop()
	if size != 1232 || !dnssec {
		t.Errorf("asked for at most %d bytes, DO %v; want 1232 and true", size, dnssec)
	}
}

func TestWrongAnswerOverTCPIsAFailure(t *testing.T) {
	for name, edit := range map[string]func(*dns.Msg){
		"another id":       func(m *dns.Msg) { m.Id++ },
		"another question": func(m *dns.Msg) { m.Question[0].Name = "y.example." },
	} {
		t.Run(name, func(t *testing.T) {
			s := &server{}
			s.onUDP = func(query []byte, from netip.AddrPort) {
				s.send(from, answering(query, "", func(m *dns.Msg) { m.Truncated = true }))
			}
			s.onTCP = func(query []byte) []byte { return answering(query, "x.example. 60 IN A 10.6.6.6", edit) }
			r := newReal(t, long, s.serve(t, "127.0.0.1"))
			mustFail(t, r, "x.example", ErrFailed)
		})
	}
}

// The bounds are six standard deviations wide: chance crosses one of them less
// than once in ten million runs. Counters and a fixed port cross them all.
func TestIDsAndSourcePortsAreRandom(t *testing.T) {
	const questions = 2000
	var ids, ports []uint16
	s := &server{}
	s.onUDP = func(query []byte, from netip.AddrPort) {
		ids = append(ids, binary.BigEndian.Uint16(query))
		ports = append(ports, from.Port())
		s.send(from, answering(query, "", nil))
	}
	r := newReal(t, long, s.serve(t, "127.0.0.1"))
	for range questions {
		if _, err := r.upstreams.Query(t.Context(), upstream.Try{Server: s.addr, Question: key{Name: "x.example", Type: dns.TypeA}}); err != nil {
			t.Fatal(err)
		}
	}
	s.stop()
	for bit := range 16 {
		ones := 0
		for _, id := range ids {
			ones += int(id >> bit & 1)
		}
		if ones < questions/2-134 || ones > questions/2+134 {
			t.Errorf("bit %d of the id is set in %d of %d questions", bit, ones, questions)
		}
	}
	for what, values := range map[string][]uint16{"ids": ids, "ports": ports} {
		distinct, steps := make(map[uint16]bool), 0
		for i, v := range values {
			distinct[v] = true
			if i > 0 && bits.Len16(v-values[i-1]) <= 3 { // the next few numbers up
				steps++
			}
		}
		t.Logf("%s: %d distinct of %d, %d small steps", what, len(distinct), questions, steps)
		if len(distinct) < questions*9/10 || steps > 30 {
			t.Errorf("%s: %d distinct of %d, %d small steps", what, len(distinct), questions, steps)
		}
	}
}

func TestSilentUpstreamIsATimeoutAndADeadOneAFailure(t *testing.T) {
	silent := &server{}
	mustFail(t, newReal(t, 20*time.Millisecond, silent.serve(t, "127.0.0.1")), "x.example", ErrTimeout)

	// What is connected takes nothing from others, and keeps its port.
	local := net.IPv4(127, 0, 0, 1)
	refusing, err := net.DialUDP("udp", &net.UDPAddr{IP: local}, &net.UDPAddr{IP: local, Port: 9})
	if err != nil {
		t.Fatal(err)
	}
	defer refusing.Close()
	port := refusing.LocalAddr().(*net.UDPAddr).AddrPort()
	mustFail(t, newReal(t, long, port), "x.example", ErrFailed)
}

// Datagrams get lost: the question is sent again, over the same socket.
func TestQuestionThatIsLostIsSentAgain(t *testing.T) {
	var from []netip.AddrPort
	var queries [][]byte
	s := &server{}
	s.onUDP = func(query []byte, client netip.AddrPort) {
		from, queries = append(from, client), append(queries, query)
		if len(from) == 3 {
			s.send(client, answering(query, "x.example. 60 IN A 192.0.2.1", nil))
		}
	}
	s.serve(t, "127.0.0.1")
	try := upstream.Try{Server: s.addr, Question: key{Name: "x.example", Type: dns.TypeA}, Again: time.Millisecond}
	reply, err := new(upstream.Transport).Query(t.Context(), try)
	if err != nil || len(reply.Answer) != 1 {
		t.Fatalf("%v, %v", reply, err)
	}
	s.stop()
	for i := range from {
		if from[i] != from[0] || !slices.Equal(queries[i], queries[0]) {
			t.Errorf("transmission %d is from %v, %x; the first from %v, %x", i, from[i], queries[i], from[0], queries[0])
		}
	}
}

// Who does not understand EDNS may answer by a header alone. That is believed of a failure.
func TestServerThatAnswersEDNSByAHeaderAloneIsAskedWithoutIt(t *testing.T) {
	s := &server{}
	s.onUDP = func(query []byte, client netip.AddrPort) {
		m := new(dns.Msg)
		if err := m.Unpack(query); err != nil {
			t.Error(err)
		}
		if m.IsEdns0() != nil {
			head := make([]byte, 12)
			copy(head, query[:2])
			head[2], head[3] = 0x81, 0x80|dns.RcodeFormatError
			s.send(client, head)
			return
		}
		s.send(client, answering(query, "x.example. 60 IN A 192.0.2.1", nil))
	}
	r := newReal(t, long, s.serve(t, "127.0.0.1"))
	mustLookup(t, r, "x.example", "192.0.2.1")
	if udp, _ := s.counts(); udp != 2 {
		t.Errorf("asked %d times", udp)
	}
}

func TestCancelledContextInterruptsARead(t *testing.T) {
	asked := make(chan struct{})
	s := &server{onUDP: func([]byte, netip.AddrPort) { close(asked) }}
	s.serve(t, "127.0.0.1")
	ctx, cancel := context.WithCancel(t.Context())
	tr := new(upstream.Transport)
	failed := make(chan error)
	go func() {
		_, err := tr.Query(ctx, upstream.Try{Server: s.addr, Question: key{Name: "x.example", Type: dns.TypeA}})
		failed <- err
	}()
	<-asked
	cancel()
	if err := <-failed; err == nil {
		t.Error("an answer came from nowhere")
	}
}
