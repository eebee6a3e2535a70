package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// ioTimeout bounds every exchange of a load, so that a load ends.
const ioTimeout = 20 * time.Second

// target is a proxy under load.
type target struct {
	name    string
	version string
	proc    *process
	addr    string // of the proxy
	host    string // the name by which it reaches the origins
	refused string // a name that it refuses; "": it has no list
	auth    string // field line with CRLF; "": none
	raw     bool   // no CONNECT: whatever is sent reaches the reply origin
}

// outcome is what one run of one load cost.
type outcome struct {
	cpu       time.Duration   // of the proxy
	count     int             // of what the load counts
	latencies []time.Duration // of each, where the load takes them
}

// open dials the proxy and, unless it relays blindly, has it connect to port.
func (t *target) open(port uint16) (net.Conn, *bufio.Reader, error) {
	c, err := net.Dial("tcp", t.addr)
	if err != nil {
		return nil, nil, err
	}
	_ = c.SetDeadline(time.Now().Add(ioTimeout))
	br := bufio.NewReaderSize(c, 512)
	if t.raw {
		return c, br, nil
	}
	status, err := t.connect(c, br, t.host, port)
	if err == nil && !strings.Contains(status, " 200 ") {
		err = fmt.Errorf("%s answered %q", t.name, status)
	}
	if err != nil {
		c.Close()
		return nil, nil, err
	}
	return c, br, nil
}

// connect sends a CONNECT and returns the status line of the answer.
func (t *target) connect(c net.Conn, br *bufio.Reader, host string, port uint16) (string, error) {
	if _, err := fmt.Fprintf(c, "CONNECT %s:%d HTTP/1.1\r\nHost: %s:%d\r\n%s\r\n", host, port, host, port, t.auth); err != nil {
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

// parallel runs work on n items with the given number of workers; the first
// error ends it.
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
func (t *target) measured(o outcome, run func() error) (outcome, error) {
	before := t.proc.cpu()
	err := run()
	// What the proxy does behind the last reply belongs to it: closing, records.
	time.Sleep(50 * time.Millisecond)
	o.cpu = t.proc.cpu() - before
	return o, err
}

// allowed opens n connections of 64 bytes each way (the way up is a
// ClientHello), 16 at once.
func (t *target) allowed(o *origins, n int) (outcome, error) {
	out := outcome{count: n, latencies: make([]time.Duration, n)}
	return t.measured(out, func() error {
		return parallel(16, n, func(i int) error {
			began := time.Now()
			c, br, err := t.open(o.reply)
			if err != nil {
				return err
			}
			defer c.Close()
			if _, err := c.Write(o.hello); err != nil {
				return err
			}
			if _, err := io.CopyN(io.Discard, br, replyBytes); err != nil {
				return err
			}
			out.latencies[i] = time.Since(began)
			return nil
		})
	})
}

// refusals asks n times for a name that is not on the list.
func (t *target) refusals(o *origins, n int) (outcome, error) {
	return t.measured(outcome{count: n}, func() error {
		return parallel(16, n, func(int) error {
			c, err := net.Dial("tcp", t.addr)
			if err != nil {
				return err
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(ioTimeout))
			status, err := t.connect(c, bufio.NewReaderSize(c, 512), t.refused, o.reply)
			if err == nil && !strings.Contains(status, " 403 ") {
				err = fmt.Errorf("%s answered %q to a name that is not allowed", t.name, status)
			}
			return err
		})
	})
}

// gets sends n plain GETs over 16 kept connections.
func (t *target) gets(o *origins, n int) (outcome, error) {
	request := fmt.Appendf(nil, "GET http://%s:%d/ HTTP/1.1\r\nHost: %s:%d\r\n%s\r\n", t.host, o.http, t.host, o.http, t.auth)
	const workers = 16
	return t.measured(outcome{count: n}, func() error {
		return parallel(workers, workers, func(int) error {
			c, err := net.Dial("tcp", t.addr)
			if err != nil {
				return err
			}
			defer c.Close()
			br := bufio.NewReader(c)
			for range n / workers {
				_ = c.SetDeadline(time.Now().Add(ioTimeout))
				if _, err := c.Write(request); err != nil {
					return err
				}
				if err := skipResponse(br); err != nil {
					return fmt.Errorf("%s: %w", t.name, err)
				}
			}
			return nil
		})
	})
}

// skipResponse reads a response with a Content-Length.
func skipResponse(br *bufio.Reader) error {
	status, err := br.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.Contains(status, []byte(" 200 ")) {
		return fmt.Errorf("answered %q", status)
	}
	length := -1
	for {
		line, err := br.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) == 2 {
			break
		}
		if name, value, _ := bytes.Cut(line, []byte(":")); strings.EqualFold(string(name), "Content-Length") {
			if _, err := fmt.Sscan(string(value), &length); err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return errors.New("no Content-Length")
	}
	_, err = br.Discard(length)
	return err
}

// handshakes makes n tunnels with a TLS handshake and one request each.
func (t *target) handshakes(o *origins, n int) (outcome, error) {
	request := "GET / HTTP/1.1\r\nHost: " + allowedName + "\r\nConnection: close\r\n\r\n"
	out := outcome{count: n, latencies: make([]time.Duration, n)}
	return t.measured(out, func() error {
		return parallel(8, n, func(i int) error {
			began := time.Now()
			c, _, err := t.open(o.tls)
			if err != nil {
				return err
			}
			defer c.Close()
			tc := tls.Client(c, &tls.Config{ServerName: allowedName, InsecureSkipVerify: true}) // a self-signed origin of our own
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
func (t *target) openTunnels(o *origins, port uint16, n int) ([]net.Conn, error) {
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

func closeAll(conns []net.Conn) {
	for _, c := range conns {
		if c != nil {
			c.Close()
		}
	}
}

// roundTrips sends 64 bytes there and back n times over 64 open tunnels.
func (t *target) roundTrips(o *origins, n int) (outcome, error) {
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
func (t *target) bulk(o *origins, n int64, up bool) (outcome, error) {
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
		if !up {
			for left := n; left > 0; {
				got, err := c.Read(b)
				if err != nil {
					return err
				}
				left -= int64(got)
			}
			return nil
		}
		for left := n; left > 0; {
			put, err := c.Write(b[:min(left, int64(len(b)))])
			if err != nil {
				return err
			}
			left -= int64(put)
		}
		_, err := io.CopyN(io.Discard, c, replyBytes)
		return err
	})
}

// idle opens n tunnels that then do nothing, and returns what each holds.
func (t *target) idle(o *origins, n int) (bytesEach, descriptorsEach float64, err error) {
	rss, fds := t.proc.rss(), t.proc.descriptors()
	conns, err := t.openTunnels(o, o.echo, n)
	defer closeAll(conns)
	if err != nil {
		return 0, 0, err
	}
	time.Sleep(3 * time.Second)
	return float64(t.proc.rss()-rss) / float64(n), float64(t.proc.descriptors()-fds) / float64(n), nil
}

// percentile returns the p-th part of the latencies, p from 0 to 1.
func percentile(latencies []time.Duration, p float64) time.Duration {
	if len(latencies) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(latencies))
	return sorted[min(int(p*float64(len(sorted))), len(sorted)-1)]
}
