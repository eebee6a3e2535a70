package dnsserver_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/dnsserver"
)

// testTimeout is how long a test waits for what must happen.
const testTimeout = 30 * time.Second

// start serves on loopback until the test ends, and returns the address.
func start(t *testing.T, o dnsserver.Options) (*dnsserver.Server, netip.AddrPort) {
	t.Helper()
	s := dnsserver.New(o)
	socks, err := dnsserver.Listen(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"), 1)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(socks) }()
	t.Cleanup(func() {
		s.Shutdown(context.Background())
		if err := <-served; err != nil {
			t.Errorf("serving: %v", err)
		}
	})
	return s, socks.Addr()
}

// dial connects to the server.
func dial(t *testing.T, network string, to netip.AddrPort) net.Conn {
	t.Helper()
	c, err := net.DialTimeout(network, to.String(), testTimeout)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(testTimeout))
	return c
}

// send writes a packet as the network frames it.
func send(t *testing.T, c net.Conn, pkt []byte) {
	t.Helper()
	if c.RemoteAddr().Network() == "tcp" {
		pkt = append(binary.BigEndian.AppendUint16(nil, uint16(len(pkt))), pkt...)
	}
	if _, err := c.Write(pkt); err != nil {
		t.Fatal(err)
	}
}

// receive reads an answer.
func receive(t *testing.T, c net.Conn) []byte {
	t.Helper()
	buf := make([]byte, 4096)
	if c.RemoteAddr().Network() == "tcp" {
		if _, err := io.ReadFull(c, buf[:2]); err != nil {
			t.Fatal(err)
		}
		buf = buf[:binary.BigEndian.Uint16(buf)]
		if _, err := io.ReadFull(c, buf); err != nil {
			t.Fatal(err)
		}
		return buf
	}
	n, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}

// packet is a header with text behind it.
func packet(text string) []byte { return append(make([]byte, 12), text...) }

// local are clients of this machine.
var local = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// upper answers with upper case: at once, or later what begins with "later". What
// begins with "silence" has no answer.
func upper() dnsserver.Handler {
	return func(packets []dnsserver.Packet) {
		for i := range packets {
			p := &packets[i]
			text := p.Data[12:]
			switch {
			case bytes.HasPrefix(text, []byte("silence")):
			case bytes.HasPrefix(text, []byte("later")):
				own := bytes.ToUpper(p.Data)
				p.Later(func(context.Context) []byte { return own })
			default:
				p.Answer = append(p.Answer, bytes.ToUpper(p.Data)...)
			}
		}
	}
}

func TestPacketsAreAnsweredAtOnceLaterOrNotAtAll(t *testing.T) {
	_, addr := start(t, dnsserver.Options{NewHandler: upper, Clients: local})
	for _, network := range []string{"udp", "tcp"} {
		c := dial(t, network, addr)
		for _, text := range []string{"now", "later", "once more"} {
			send(t, c, packet("silence"))
			send(t, c, packet(text))
			if got, want := receive(t, c), bytes.ToUpper(packet(text)); !bytes.Equal(got, want) {
				t.Errorf("%s: the answer to %q is %q", network, text, got)
			}
		}
	}
}

// What is dropped reaches no handler: the one that follows is the first it sees.
func TestHandlerSeesOnlyQuestionsOfClients(t *testing.T) {
	var seen atomic.Int64
	counting := func() dnsserver.Handler {
		answer := upper()
		return func(packets []dnsserver.Packet) {
			seen.Add(int64(len(packets)))
			answer(packets)
		}
	}
	_, addr := start(t, dnsserver.Options{NewHandler: counting, Clients: local})
	c := dial(t, "udp", addr)
	response := packet("response")
	response[2] |= 0x80
	for _, pkt := range [][]byte{{}, {1, 2, 3}, response, packet(string(bytes.Repeat([]byte("x"), 2048)))} {
		send(t, c, pkt)
	}
	send(t, c, packet("last"))
	receive(t, c)
	if n := seen.Load(); n != 1 {
		t.Errorf("%d packets were handled, want the last alone", n)
	}
	elsewhere, addr := start(t, dnsserver.Options{NewHandler: counting, Clients: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	stranger := dial(t, "tcp", addr)
	if _, err := stranger.Read(make([]byte, 1)); err == nil {
		t.Error("a stranger's connection stays open")
	}
	if elsewhere.Eligible(packet("x"), netip.MustParseAddr("127.0.0.1")) || !elsewhere.Eligible(packet("x"), netip.MustParseAddr("192.0.2.1")) {
		t.Error("who may ask is not who is in Clients")
	}
	if dnsserver.New(dnsserver.Options{NewHandler: upper}).Eligible(packet("x"), netip.MustParseAddr("127.0.0.1")) {
		t.Error("without clients somebody may ask")
	}
}

func TestShutdownWaitsForAnswersUntilItsContextEnds(t *testing.T) {
	began := make(chan struct{}, 2)
	s, addr := start(t, dnsserver.Options{Clients: local, NewHandler: func() dnsserver.Handler {
		return func(packets []dnsserver.Packet) {
			for i := range packets {
				own := bytes.Clone(packets[i].Data)
				packets[i].Later(func(ctx context.Context) []byte {
					began <- struct{}{}
					<-ctx.Done()
					return own
				})
			}
		}
	}})
	udp, tcp := dial(t, "udp", addr), dial(t, "tcp", addr)
	send(t, udp, packet("u"))
	<-began
	send(t, tcp, packet("t"))
	<-began
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		s.Shutdown(ctx)
		close(ended)
	}()
	select {
	case <-ended:
		t.Error("Shutdown has not waited")
	case <-time.After(50 * time.Millisecond):
	}
	cancel()
	select {
	case <-ended:
	case <-time.After(testTimeout):
		t.Fatal("Shutdown does not give up")
	}
	if got := receive(t, udp); !bytes.Equal(got, packet("u")) {
		t.Errorf("the last answer is %q", got)
	}
}
