// Package load drives a proxy and a DNS filter with loads of a known count, to
// servers of its own on loopback, and says what each load cost the program that
// was driven. Measures and LookupMeasures are all that it can measure. It
// neither starts the program nor compares anything.
package load

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/benchmarks/internal/process"
)

// ioTimeout bounds every exchange of a load, so that a load ends.
const ioTimeout = 20 * time.Second

// Target is a proxy under load.
type Target struct {
	Name    string
	Version string
	Proc    *process.Process
	Addr    string        // of the proxy
	Host    string        // the name by which it reaches the origins
	Refused string        // a name that it refuses; "": it has no list
	Auth    string        // field line with CRLF; "": none
	Attest  func() string // makes a token of AWS that holds; nil: it knows nobody by one
	TLS     string        // where it takes the same by TLS; "": nowhere
	Raw     bool          // no CONNECT: whatever is sent reaches the reply origin
	Closes  bool          // it closes the client's connection behind a plain response, or forwards none
	Threads bool          // it needs a thread for each tunnel, so that it cannot hold many

	secure *tls.Config // connections to it begin with this handshake; nil: with none
}

// outcome is what one run of one load cost. The CPU is of the whole load; whoever
// reports it divides by the count.
type outcome struct {
	cpu       time.Duration   // of the proxy
	count     int             // of what the load counts
	latencies []time.Duration // of each, where the load takes them
}

// open dials the proxy and, unless it relays blindly, has it connect to port.
func (t *Target) open(port uint16) (net.Conn, *bufio.Reader, error) {
	c, err := t.dial()
	if err != nil {
		return nil, nil, err
	}
	_ = c.SetDeadline(time.Now().Add(ioTimeout))
	br := bufio.NewReaderSize(c, 512)
	if t.Raw {
		return c, br, nil
	}
	status, err := t.connect(c, br, t.Host, port)
	if err == nil && !strings.Contains(status, " 200 ") {
		err = fmt.Errorf("%s answered %q", t.Name, status)
	}
	if err != nil {
		c.Close()
		return nil, nil, err
	}
	return c, br, nil
}

// connect sends a CONNECT and returns the status line of the answer.
func (t *Target) connect(c net.Conn, br *bufio.Reader, host string, port uint16) (string, error) {
	if _, err := fmt.Fprintf(c, "CONNECT %s:%d HTTP/1.1\r\nHost: %s:%d\r\n%s\r\n", host, port, host, port, t.Auth); err != nil {
		return "", err
	}
	status, err := br.ReadString('\n')
	if err != nil {
		return "", err
	}
	for {
		line, err := br.ReadString('\n')
		if err != nil || line == "\r\n" {
			return strings.TrimSpace(status), err
		}
	}
}

// parallel runs work on n items with the given number of workers and waits for
// them. The first error is returned; items that nobody has begun are left out
// then.
func parallel(workers, n int, work func(i int) error) error {
	var next atomic.Int64
	var once sync.Once
	var first error
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := work(i); err != nil {
					once.Do(func() { first = err })
					next.Store(int64(n))
				}
			}
		})
	}
	wg.Wait()
	return first
}

// measured runs a load and takes the CPU that the proxy used meanwhile.
func (t *Target) measured(o outcome, drive func() error) (outcome, error) {
	before := t.Proc.CPU()
	err := drive()
	// What the proxy does behind the last reply belongs to it: closing, records.
	time.Sleep(50 * time.Millisecond)
	o.cpu = t.Proc.CPU() - before
	return o, err
}

// allowed opens n connections of 64 bytes each way (the way up is a
// ClientHello), 16 at once.
func (t *Target) allowed(o *Origins, n int) (outcome, error) {
	out := outcome{count: n, latencies: make([]time.Duration, n)}
	return t.measured(out, func() error {
		return parallel(16, n, func(i int) error {
			began := time.Now()
			err := t.one(o)
			out.latencies[i] = time.Since(began)
			return err
		})
	})
}

// refusals asks n times for a name that is not on the list.
func (t *Target) refusals(o *Origins, n int) (outcome, error) {
	return t.measured(outcome{count: n}, func() error {
		return parallel(16, n, func(int) error { return t.refused(o, t.Refused, " 403 ") })
	})
}

// refused asks once for what is refused, and wants one of the codes in the answer.
func (t *Target) refused(o *Origins, host string, codes ...string) error {
	c, err := net.Dial("tcp", t.Addr)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(ioTimeout))
	status, err := t.connect(c, bufio.NewReaderSize(c, 512), host, o.Reply)
	if err == nil && !slices.ContainsFunc(codes, func(code string) bool { return strings.Contains(status, code) }) {
		err = fmt.Errorf("%s answered %q to what it has to refuse", t.Name, status)
	}
	return err
}

// handshakes makes n tunnels with a TLS handshake and one request each.
func (t *Target) handshakes(o *Origins, n int) (outcome, error) {
	request := "GET / HTTP/1.1\r\nHost: " + AllowedName + "\r\nConnection: close\r\n\r\n"
	out := outcome{count: n, latencies: make([]time.Duration, n)}
	return t.measured(out, func() error {
		return parallel(8, n, func(i int) error {
			began := time.Now()
			c, _, err := t.open(o.tls)
			if err != nil {
				return err
			}
			defer c.Close()
			tc := tls.Client(c, &tls.Config{ServerName: AllowedName, InsecureSkipVerify: true}) // a self-signed origin of our own
			if _, err := io.WriteString(tc, request); err != nil {
				return err
			}
			if _, err := io.Copy(io.Discard, tc); err != nil {
				return err
			}
			out.latencies[i] = time.Since(began)
			return nil
		})
	})
}

// openTunnels opens n tunnels to port, with the ClientHello sent.
func (t *Target) openTunnels(o *Origins, port uint16, n int) ([]net.Conn, error) {
	conns := make([]net.Conn, n)
	err := parallel(32, n, func(i int) error {
		c, _, err := t.open(port)
		if err != nil {
			return err
		}
		conns[i] = c
		_ = c.SetDeadline(time.Time{})
		_, err = c.Write(o.hello)
		return err
	})
	return conns, err
}

// closeAll closes the connections that there are; openTunnels leaves nil where one
// could not be opened.
func closeAll(conns []net.Conn) {
	for _, c := range conns {
		if c != nil {
			c.Close()
		}
	}
}

// roundTrips sends 64 bytes there and back n times over 64 open tunnels.
func (t *Target) roundTrips(o *Origins, n int) (outcome, error) {
	const tunnels = 64
	conns, err := t.openTunnels(o, o.echo, tunnels)
	defer closeAll(conns)
	if err != nil {
		return outcome{}, err
	}
	time.Sleep(50 * time.Millisecond)
	return t.measured(outcome{count: n}, func() error {
		return parallel(tunnels, tunnels, func(i int) error {
			b := make([]byte, replyBytes)
			c := conns[i]
			_ = c.SetDeadline(time.Now().Add(ioTimeout))
			for range n / tunnels {
				if _, err := c.Write(b); err != nil {
					return err
				}
				if _, err := io.ReadFull(c, b); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// bulk moves n bytes through one tunnel, down or up. The outcome counts bytes.
func (t *Target) bulk(o *Origins, n int64, up bool) (outcome, error) {
	port := o.down
	if up {
		port = o.up
	}
	conns, err := t.openTunnels(o, port, 1)
	defer closeAll(conns)
	if err != nil {
		return outcome{}, err
	}
	c := conns[0]
	_ = c.SetDeadline(time.Now().Add(3 * ioTimeout))
	return t.measured(outcome{count: int(n)}, func() error {
		if _, err := fmt.Fprintf(c, "%d\n", n); err != nil {
			return err
		}
		b := make([]byte, 256<<10)
		for left := n; left > 0; {
			var moved int
			var err error
			if up {
				moved, err = c.Write(b[:min(left, int64(len(b)))])
			} else {
				moved, err = c.Read(b)
			}
			if err != nil {
				return err
			}
			left -= int64(moved)
		}
		if !up {
			return nil
		}
		_, err := io.CopyN(io.Discard, c, replyBytes)
		return err
	})
}

// held is what a program holds.
type held struct{ bytes, descriptors float64 }

// idle opens n tunnels that then do nothing, and returns what the program held
// before them and what with them.
func (t *Target) idle(o *Origins, n int) (before, with held, err error) {
	before = t.holding()
	conns, err := t.openTunnels(o, o.echo, n)
	defer closeAll(conns)
	if err != nil {
		return held{}, held{}, fmt.Errorf("holding %d tunnels: %w", n, err)
	}
	time.Sleep(3 * time.Second)
	return before, t.holding(), nil
}

// holding returns what the program holds now.
func (t *Target) holding() held {
	return held{float64(t.Proc.RSS()), float64(t.Proc.Descriptors())}
}
