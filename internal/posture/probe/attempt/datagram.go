package attempt

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/probe"
)

// plainDNS asks a resolver by UDP or TCP.
func (p *Prober) plainDNS(ctx context.Context, t *probe.Try) probe.Outcome {
	network := "udp"
	if t.Method == probe.MethodDNSTCP {
		network = "tcp"
	}
	conn, o := open(ctx, network, t.Target)
	if conn == nil {
		return o
	}
	defer closed(conn)
	reply, err := exchange(conn, t.Question, network == "tcp")
	if err != nil {
		o.Detail = reason(err)
		return o
	}
	says := []dnsmessage.RCode{dnsmessage.RCodeSuccess, dnsmessage.RCodeNameError, dnsmessage.RCodeRefused}
	o.Answered, o.Denied = true, len(reply.addresses) == 0 && slices.Contains(says, reply.code) // a failure says nothing
	o.Match = len(reply.addresses) > 0 && t.Expect == ""
	for _, a := range reply.addresses {
		o.Match = o.Match || a.String() == t.Expect
	}
	o.Detail = fmt.Sprintf("%s with the addresses %v", strings.TrimPrefix(reply.code.String(), "RCode"), reply.addresses)
	return o
}

// reply is what a resolver said.
type reply struct {
	code      dnsmessage.RCode
	addresses []netip.Addr
}

// exchange asks for the IPv4 addresses of a name. Over a stream the message has its length
// before it (RFC 1035, section 4.2.2).
func exchange(conn net.Conn, name string, stream bool) (*reply, error) {
	id, question, err := newQuestion(name)
	if err != nil {
		return nil, err
	}
	if stream {
		question = append(binary.BigEndian.AppendUint16(nil, uint16(len(question))), question...)
	}
	if _, err := conn.Write(question); err != nil {
		return nil, err
	}
	for {
		message, err := readMessage(conn, stream)
		if err != nil {
			return nil, err
		}
		if r, err := parseReply(message, id); err == nil || stream {
			return r, err
		} // a datagram of somebody else is no answer, and the next may be
	}
}

// newQuestion writes a question with an id that nobody can guess.
func newQuestion(name string) (id uint16, message []byte, err error) {
	var random [2]byte
	_, _ = rand.Read(random[:]) // ends the program instead of failing
	id = binary.BigEndian.Uint16(random[:])
	full, err := dnsmessage.NewName(name + ".")
	if err != nil {
		return 0, nil, err
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: full, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	message, err = m.Pack()
	return id, message, err
}

// readMessage reads one message.
func readMessage(conn net.Conn, stream bool) ([]byte, error) {
	buf := make([]byte, 1<<16)
	if !stream {
		n, err := conn.Read(buf)
		return buf[:n], err
	}
	if _, err := io.ReadFull(conn, buf[:2]); err != nil {
		return nil, err
	}
	message := buf[:binary.BigEndian.Uint16(buf)]
	_, err := io.ReadFull(conn, message)
	return message, err
}

// errOther is returned for what does not answer the question.
var errOther = errors.New("what came does not answer the question")

// parseReply reads an answer to the question id.
func parseReply(message []byte, id uint16) (*reply, error) {
	var m dnsmessage.Message
	if err := m.Unpack(message); err != nil || m.ID != id || !m.Response {
		return nil, errOther
	}
	r := &reply{code: m.RCode}
	for i := range m.Answers {
		if a, ok := m.Answers[i].Body.(*dnsmessage.AResource); ok && m.RCode == dnsmessage.RCodeSuccess {
			r.addresses = append(r.addresses, netip.AddrFrom4(a.A))
		}
	}
	return r, nil
}

// askOverStream asks a resolver over a connection of TLS.
func askOverStream(conn net.Conn, t *probe.Try) error {
	_, err := exchange(conn, t.Question, true)
	return err
}

// askOverHTTPS asks a resolver by GET (RFC 8484, section 4.1).
func askOverHTTPS(conn net.Conn, t *probe.Try) error {
	_, question, err := newQuestion(t.Question)
	if err != nil {
		return err
	}
	response, err := get(conn, "https://"+t.Expect+"/dns-query?dns="+base64.RawURLEncoding.EncodeToString(question))
	if err != nil {
		return err
	}
	defer closedBody(response)
	if response.StatusCode != 200 {
		return fmt.Errorf("HTTP %d", response.StatusCode)
	}
	return nil
}

// ntp sends a client's packet of version 4. A server's answer has its mode, and what was
// sent as transmit time for its origin (RFC 5905, section 7.3).
func (p *Prober) ntp(ctx context.Context, t *probe.Try) probe.Outcome {
	conn, o := open(ctx, "udp", t.Target)
	if conn == nil {
		return o
	}
	defer closed(conn)
	packet := make([]byte, 48)
	packet[0] = 4<<3 | 3 // version 4, mode 3: client
	_, _ = rand.Read(packet[40:])
	if _, err := conn.Write(packet); err != nil {
		o.Detail = reason(err)
		return o
	}
	answer := make([]byte, 1<<10)
	n, err := conn.Read(answer)
	if err != nil {
		o.Detail = reason(err)
		return o
	}
	o.Answered, o.Detail = true, "what came is no time"
	if n >= 48 && answer[0]&7 == 4 && string(answer[24:32]) == string(packet[40:]) {
		o.Match, o.Detail = true, "a time server answers"
	}
	return o
}

// echo sends an echo request, and waits for the reply that has the same bytes.
func (p *Prober) echo(ctx context.Context, t *probe.Try) probe.Outcome {
	to, err := netip.ParseAddr(t.Target)
	if err != nil || !to.Is4() {
		return probe.Outcome{Untried: true, Detail: "write an IPv4 address"}
	}
	conn, raw, err := listenEcho()
	if err != nil {
		return probe.Outcome{Untried: true, Detail: "no socket for ICMP can be had here: " + reason(err)}
	}
	defer func() { _ = conn.Close() }() // nothing is written to it any more
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline) // fails on a closed socket alone, as the next call says
	}
	var destination net.Addr = &net.UDPAddr{IP: to.AsSlice()}
	if raw {
		destination = &net.IPAddr{IP: to.AsSlice()}
	}
	body := &icmp.Echo{Seq: 1, Data: make([]byte, 16)}
	_, _ = rand.Read(body.Data)
	request, err := (&icmp.Message{Type: ipv4.ICMPTypeEcho, Body: body}).Marshal(nil)
	if err == nil {
		_, err = conn.WriteTo(request, destination)
	}
	if err != nil {
		return probe.Outcome{Detail: reason(err)}
	}
	return readEcho(conn, body.Data)
}

// readEcho waits for the reply with the bytes of a request.
func readEcho(conn *icmp.PacketConn, want []byte) probe.Outcome {
	buf := make([]byte, 1<<11)
	for {
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			return probe.Outcome{Detail: reason(err)}
		}
		m, err := icmp.ParseMessage(ipv4.ICMPTypeEchoReply.Protocol(), buf[:n])
		if err != nil || m.Type != ipv4.ICMPTypeEchoReply {
			continue // a raw socket gets all that comes to the machine
		}
		if e, ok := m.Body.(*icmp.Echo); ok && string(e.Data) == string(want) {
			return probe.Outcome{Answered: true, Match: true, Detail: "an echo reply"}
		}
	}
}
