//go:build torture

package torture

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// ending says who ends a tunnel first once everything has come.
type ending string

const (
	endClient ending = "client" // the client closes when it has all
	endOrigin ending = "origin" // the origin does
	endHalf   ending = "half"   // the client says that no more comes, then the origin answers
)

// transfer is what moves through a tunnel. The client sends its line first.
type transfer struct {
	op       uint64
	up, down int64
	end      ending
}

// line is the plan as it goes over the wire.
func (t transfer) line() string { return fmt.Sprintf("T %d %d %d %s\n", t.op, t.up, t.down, t.end) }

// parseTransfer reads a plan.
func parseTransfer(line string) (t transfer, err error) {
	_, err = fmt.Sscanf(line, "T %d %d %d %s\n", &t.op, &t.up, &t.down, &t.end)
	return t, err
}

// The directions of a transfer, which have other bytes.
const (
	upward   = 'u'
	downward = 'd'
)

// pattern appends the bytes of a direction of an operation from an offset on:
// no other operation has the same, so that a byte in the wrong tunnel shows.
func pattern(dst []byte, op uint64, direction byte, from, n int64) []byte {
	salt := byte(op*151) ^ byte(op>>8)*31 ^ byte(op>>16) ^ direction
	for i := from; i < from+n; i++ {
		dst = append(dst, byte(i)*7^byte(i>>8)*13^byte(i>>16)^salt)
	}
	return dst
}

// errCrossed is bytes that are not of this transfer.
var errCrossed = errors.New("a byte is not the one that was sent")

// send writes n bytes of a direction in chunks with pauses.
func (t transfer) send(w io.Writer, r *rand.Rand, n int64, direction byte) (sent int64, err error) {
	chunk := int64(1) << (4 + r.IntN(13))
	pauses := r.IntN(4)
	for sent < n {
		m, err := w.Write(pattern(nil, t.op, direction, sent, min(1+r.Int64N(chunk), n-sent)))
		sent += int64(m)
		if err != nil {
			return sent, err
		}
		if n/chunk < 200 && r.IntN(8) < pauses {
			time.Sleep(time.Duration(r.IntN(4000)) * time.Microsecond)
		}
	}
	return sent, nil
}

// trickle is send upward that takes some seconds.
func (t transfer) trickle(w io.Writer, r *rand.Rand, n int64) (sent int64) {
	for step := n / int64(10+r.IntN(40)); sent < n; {
		m, err := w.Write(pattern(nil, t.op, upward, sent, min(step, n-sent)))
		sent += int64(m)
		if err != nil {
			return sent
		}
		time.Sleep(time.Duration(50+r.IntN(200)) * time.Millisecond)
	}
	return sent
}

// check reads n bytes and compares each.
func (t transfer) check(in *bufio.Reader, n int64, direction byte) error {
	buf := make([]byte, 16<<10)
	var want []byte
	for got := int64(0); got < n; {
		m, err := in.Read(buf[:min(int64(len(buf)), n-got)])
		want = pattern(want[:0], t.op, direction, got, int64(m))
		if string(want) != string(buf[:m]) {
			return fmt.Errorf("%w: between %d and %d of %d of operation %d", errCrossed, got, got+int64(m), n, t.op)
		}
		got += int64(m)
		if err != nil && got < n {
			return err
		}
	}
	return nil
}

// notTLS begins the stream of a client that speaks another protocol.
const notTLS = "SSH-2.0"

// clientHello returns the first flight of crypto/tls for a name.
func clientHello(name string) []byte {
	c := &recorder{}
	_ = tls.Client(c, &tls.Config{ServerName: name, InsecureSkipVerify: name == "", MinVersion: tls.VersionTLS12}).Handshake()
	return c.sent
}

// recorder is a connection that keeps what is written and reads nothing.
type recorder struct {
	net.Conn
	sent []byte
}

func (c *recorder) Write(p []byte) (int, error)      { c.sent = append(c.sent, p...); return len(p), nil }
func (c *recorder) Read([]byte) (int, error)         { return 0, io.EOF }
func (c *recorder) Close() error                     { return nil }
func (c *recorder) SetDeadline(time.Time) error      { return nil }
func (c *recorder) SetReadDeadline(time.Time) error  { return nil }
func (c *recorder) SetWriteDeadline(time.Time) error { return nil }

// closer lets a connection stand among listeners, to be closed with them.
type closer struct{ net.Conn }

// Accept is of no use.
func (closer) Accept() (net.Conn, error) { return nil, net.ErrClosed }

// Addr returns its own end.
func (c closer) Addr() net.Addr { return c.LocalAddr() }

// hole is a listener that nobody accepts from.
type hole struct {
	net.Listener
	fd int
}

// Close closes the descriptor.
func (h hole) Close() error { return unix.Close(h.fd) }

// listenWithoutRoom listens with a queue of one.
func listenWithoutRoom(at netip.AddrPort) (net.Listener, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("making a black hole: %w", err)
	}
	if err = unix.Bind(fd, &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())}); err == nil {
		err = unix.Listen(fd, 0)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("making a black hole at %s: %w", at, err)
	}
	return hole{fd: fd}, nil
}
