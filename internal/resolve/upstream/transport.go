package upstream

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/dnsmsg"
)

// Why one exchange came to nothing. The first two are worth a second one, over TCP.
var (
	errTruncated = errors.New("the answer did not fit")
	errGuessed   = errors.New("somebody guesses at answers")
	errMalformed = errors.New("the answer is malformed")
)

const (
	// ednsSize is the largest UDP answer asked for: what passes unfragmented, for
	// a fragment can be forged without knowing the id or the port.
	ednsSize = 1232
	// udpBuffer takes answers of upstreams that exceed ednsSize all the same.
	udpBuffer = 4096
	// maxGuesses is the number of wrong answers after which a socket is given up
	// and the question goes over TCP, where there is nothing to guess.
	maxGuesses = 100

	// The header of a message (RFC 1035 section 4.1.1), which is read before any
	// of it is parsed: what does not answer the question is not worth parsing.
	headerBytes  = 12
	flagsAt      = 2
	countAt      = 4
	additionalAt = 10
	bitQR        = 0x8000
	bitTC        = 0x0200
	bitRD        = 0x0100
	maskOpcode   = 0x7800
	maskRcode    = 0x000f

	// flagDO is the flag of an OPT record (RFC 6891, section 6.1.4).
	flagDO = 1 << 15
	// maxQuery is how long a question with an OPT record can be.
	maxQuery = headerBytes + 255 + 4 + 11
)

// Transport puts questions to servers, each over a socket of its own: the port is
// as fresh and random as the id. The zero Transport is ready.
type Transport struct{ dialer net.Dialer }

// Query puts one question to one server, over UDP, and over TCP where UDP cannot carry
// the answer.
func (t *Transport) Query(ctx context.Context, try Try) (*dns.Msg, error) {
	wire, err := t.overUDP(ctx, try)
	if errors.Is(err, errTruncated) || errors.Is(err, errGuessed) {
		wire, err = t.overTCP(ctx, try)
	}
	if err != nil {
		return nil, fmt.Errorf("asking %v: %w", try.Server, err)
	}
	return parse(wire)
}

// overUDP puts one question over one socket, and again where nothing comes. The socket is
// connected, so that the kernel drops what comes from other addresses and ports, and
// reports a port where nobody listens.
func (t *Transport) overUDP(ctx context.Context, try Try) ([]byte, error) {
	sent, err := newQuery(try)
	if err != nil {
		return nil, err
	}
	conn, err := t.dialer.DialUDP(ctx, "udp", netip.AddrPort{}, try.Server)
	if err != nil {
		return nil, fmt.Errorf("connecting by udp: %w", err)
	}
	defer conn.Close()
	defer endWith(ctx, conn)()
	if _, err := conn.Write(sent.wire); err != nil {
		return nil, fmt.Errorf("writing by udp: %w", err)
	}
	wire, err := sent.await(ctx, conn, try.Again)
	if err != nil {
		return nil, fmt.Errorf("reading by udp: %w", err)
	}
	if binary.BigEndian.Uint16(wire[flagsAt:])&bitTC != 0 {
		return nil, errTruncated
	}
	return wire, nil
}

// endWith ends whatever a socket is doing when ctx ends, by its deadline or before. What
// it returns ends that.
func endWith(ctx context.Context, conn net.Conn) (stop func() bool) {
	return context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
}

// overTCP puts one question over one connection.
func (t *Transport) overTCP(ctx context.Context, try Try) ([]byte, error) {
	sent, err := newQuery(try)
	if err != nil {
		return nil, err
	}
	conn, err := t.dialer.DialContext(ctx, "tcp", try.Server.String())
	if err != nil {
		return nil, fmt.Errorf("connecting by tcp: %w", err)
	}
	defer conn.Close()
	defer endWith(ctx, conn)()
	co := &dns.Conn{Conn: conn}
	if _, err := co.Write(sent.wire); err != nil {
		return nil, fmt.Errorf("writing by tcp: %w", err)
	}
	for range maxGuesses {
		wire, err := co.ReadMsgHeader(nil)
		switch {
		case err == nil && sent.answeredBy(wire):
			return wire, nil
		case err != nil && !errors.Is(err, dns.ErrShortRead):
			return nil, fmt.Errorf("reading by tcp: %w", err)
		}
	}
	return nil, errGuessed
}

// query is a question in wire format: header, question, and an OPT record.
type query struct {
	wire []byte
	end  int // of the question
}

// newQuery packs a question with a fresh id, RD, and EDNS unless it is to be plain. Ids
// come from crypto/rand: whoever has seen some of them, which any allowed name's server
// may, can tell nothing of the next.
func newQuery(try Try) (query, error) {
	wire := make([]byte, headerBytes, maxQuery)
	rand.Read(wire[:flagsAt])
	binary.BigEndian.PutUint16(wire[flagsAt:], bitRD)
	binary.BigEndian.PutUint16(wire[countAt:], 1)
	end, err := dns.PackDomainName(dns.Fqdn(try.Question.Name), wire[:maxQuery], headerBytes, nil, false)
	if err != nil {
		return query{}, fmt.Errorf("packing the question: %w", err)
	}
	wire = binary.BigEndian.AppendUint16(wire[:end], try.Question.Type)
	wire = binary.BigEndian.AppendUint16(wire, dns.ClassINET)
	q := query{wire: wire, end: len(wire)}
	if !try.Plain {
		flags := uint32(0)
		if try.Question.DNSSEC {
			flags = flagDO
		}
		binary.BigEndian.PutUint16(wire[additionalAt:], 1)
		q.wire = append(q.wire, 0, 0, byte(dns.TypeOPT)) // of the root
		q.wire = binary.BigEndian.AppendUint16(q.wire, ednsSize)
		q.wire = binary.BigEndian.AppendUint32(q.wire, flags)
		q.wire = append(q.wire, 0, 0) // no options
	}
	return q, nil
}

// await returns the first message that answers q, and sends q again when nothing has come
// for so long, for twice that, and so on.
func (q query) await(ctx context.Context, conn *net.UDPConn, again time.Duration) ([]byte, error) {
	buf, guesses := make([]byte, udpBuffer), maxGuesses
	for {
		if again > 0 {
			_ = conn.SetReadDeadline(time.Now().Add(again))
			if ctx.Err() != nil { // before or after the deadline was set: it ends the wait
				_ = conn.SetReadDeadline(time.Unix(1, 0))
			}
		}
		wire, err := q.read(conn, buf, &guesses)
		if err == nil || again == 0 || !timedOut(err) || ctx.Err() != nil {
			return wire, err
		}
		again *= 2
		if _, err := conn.Write(q.wire); err != nil {
			return nil, err
		}
	}
}

// read returns the first message that answers q. What does not answer it may be a guess,
// which must neither be believed nor end the wait for the real answer.
func (q query) read(conn *net.UDPConn, buf []byte, guesses *int) ([]byte, error) {
	for ; *guesses > 0; *guesses-- {
		n, err := conn.Read(buf)
		if err != nil || q.answeredBy(buf[:n]) {
			return buf[:n], err
		}
	}
	return nil, errGuessed
}

// answeredBy compares bytes, not names: an upstream repeats the question as it
// got it, so letters in another case are a guess like any other. Who does not understand
// a question may answer by a header alone, which has to be one that fails.
func (q query) answeredBy(wire []byte) bool {
	if len(wire) < headerBytes || !bytes.Equal(wire[:flagsAt], q.wire[:flagsAt]) {
		return false
	}
	flags := binary.BigEndian.Uint16(wire[flagsAt:])
	if flags&(bitQR|maskOpcode) != bitQR {
		return false
	}
	if len(wire) == headerBytes {
		rcode := flags & maskRcode
		return rcode != dns.RcodeSuccess && rcode != dns.RcodeNameError && binary.BigEndian.Uint64(wire[countAt:]) == 0
	}
	return len(wire) >= q.end && binary.BigEndian.Uint16(wire[countAt:]) == 1 &&
		bytes.Equal(wire[headerBytes:q.end], q.wire[headerBytes:q.end])
}

// parse takes a message apart. Counts and lengths in it are the sender's claims; the
// parser allocates by what is there.
func parse(wire []byte) (*dns.Msg, error) {
	if !dnsmsg.Whole(wire) {
		return nil, fmt.Errorf("%w: its counts do not fit its length", errMalformed)
	}
	reply := new(dns.Msg)
	if err := reply.Unpack(wire); err != nil {
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	return reply, nil
}
