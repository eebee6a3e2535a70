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
	"os"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

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
	headerBytes = 12
	flagsAt     = 2
	countAt     = 4
	bitQR       = 0x8000
	bitTC       = 0x0200
	maskOpcode  = 0x7800
)

// Transport puts questions to servers, each over a socket of its own: the port is
// as fresh and random as the id.
type Transport struct {
	// Timeout bounds one try, over UDP and again over TCP.
	Timeout time.Duration
	// Seconds has how long each try took, whatever came of it.
	Seconds prometheus.Observer

	dialer net.Dialer
}

// Query puts one question to one upstream, over UDP, and over TCP where UDP cannot
// carry the answer.
func (t *Transport) Query(ctx context.Context, server netip.AddrPort, q Question) (*dns.Msg, error) {
	began := time.Now()
	defer func() { t.Seconds.Observe(time.Since(began).Seconds()) }()
	reply, err := t.exchange(ctx, "udp", server, q)
	if errors.Is(err, errTruncated) || errors.Is(err, errGuessed) {
		reply, err = t.exchange(ctx, "tcp", server, q)
	}
	if err != nil {
		return nil, fmt.Errorf("asking %v: %w", server, err)
	}
	return reply, nil
}

// exchange puts one question over one socket. The socket is connected, so that the
// kernel drops what comes from other addresses and ports, and reports a port where
// nobody listens.
func (t *Transport) exchange(ctx context.Context, network string, server netip.AddrPort, q Question) (*dns.Msg, error) {
	sent, err := newQuery(q)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, t.Timeout)
	defer cancel()
	conn, err := t.dialer.DialContext(ctx, network, server.String())
	if err != nil {
		return nil, fmt.Errorf("connecting by %s: %w", network, err)
	}
	defer conn.Close()
	// Both the deadline and a cancelled ctx end whatever the socket is doing.
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()

	co := &dns.Conn{Conn: conn, UDPSize: udpBuffer}
	if _, err := co.Write(sent.wire); err != nil {
		return nil, fmt.Errorf("writing by %s: %w", network, err)
	}
	wire, err := sent.read(co, network == "udp")
	if err != nil {
		return nil, fmt.Errorf("reading by %s: %w", network, err)
	}
	return parse(wire)
}

// query is a question in wire format: header, question, and an OPT record.
type query struct {
	wire []byte
	end  int // of the question
}

// newQuery packs q with a fresh id, RD, and EDNS. Ids come from crypto/rand: whoever
// has seen some of them, which any allowed name's server may, can tell nothing of
// the next.
func newQuery(q Question) (query, error) {
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(q.Name), q.Type)
	var id [2]byte
	rand.Read(id[:])
	m.Id = binary.BigEndian.Uint16(id[:])
	end := m.Len()
	m.SetEdns0(ednsSize, q.DNSSEC)
	wire, err := m.Pack()
	if err != nil {
		return query{}, fmt.Errorf("packing the question: %w", err)
	}
	return query{wire: wire, end: end}, nil
}

// read returns the first message that answers q. What does not answer it may be a
// guess, which must neither be believed nor end the wait for the real answer.
func (q query) read(co *dns.Conn, udp bool) ([]byte, error) {
	for range maxGuesses {
		wire, err := co.ReadMsgHeader(nil)
		switch {
		case err == nil && q.answeredBy(wire):
			if udp && binary.BigEndian.Uint16(wire[flagsAt:])&bitTC != 0 {
				return nil, errTruncated
			}
			return wire, nil
		case err != nil && !errors.Is(err, dns.ErrShortRead):
			return nil, err
		}
	}
	return nil, errGuessed
}

// answeredBy compares bytes, not names: an upstream repeats the question as it
// got it, so letters in another case are a guess like any other.
func (q query) answeredBy(wire []byte) bool {
	if len(wire) < q.end || !bytes.Equal(wire[:flagsAt], q.wire[:flagsAt]) {
		return false
	}
	flags := binary.BigEndian.Uint16(wire[flagsAt:])
	return flags&(bitQR|maskOpcode) == bitQR &&
		binary.BigEndian.Uint16(wire[countAt:]) == 1 &&
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

// timedOut reports whether err is an upstream's silence, and not its refusal.
func timedOut(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
}
