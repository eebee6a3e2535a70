package proxy_test

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

func TestBytesSentWithTheConnectAreKept(t *testing.T) {
	o := newOrigin(t, echo)
	r := openRig(t, o, rigOptions{})
	c, br := r.send(connectAs("billing", o.at("any.test")) + "first bytes")
	wantEstablished(t, br)
	wantExactly(t, br, "first bytes")
	_ = c.CloseWrite()
	wantEnd(t, br)
	if m := r.one("closed"); m["bytes_up"] != 11.0 || m["bytes_down"] != 11.0 || m["ended"] != "client" {
		t.Errorf("record: %v", m)
	}
}

// The client writes as soon as it has the 200, when the tunnel is being handed
// over.
func TestTheFirstByteAfterThe200IsNeverLost(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, echo)
	r := openRig(t, o, rigOptions{})
	const each = 250
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range each {
				c, err := net.Dial("tcp", r.addr)
				if err != nil {
					t.Error(err)
					return
				}
				_ = c.SetDeadline(time.Now().Add(patience))
				_, _ = io.WriteString(c, connectAs("billing", o.at("any.test")))
				br := bufio.NewReader(c)
				line, err := br.ReadString('\n')
				_, _ = br.ReadString('\n')
				_, _ = io.WriteString(c, "!")
				got, berr := br.ReadByte()
				c.Close()
				if err != nil || berr != nil || got != '!' {
					t.Errorf("%q %v, then %q %v", line, err, got, berr)
					return
				}
			}
		})
	}
	wg.Wait()
	eventually(t, "every tunnel closed", func() bool { return r.server.Tunnels() == 0 })
	eventually(t, "a last record of each", func() bool { return len(r.of("closed")) == 4*each })
	for _, m := range r.of("closed") {
		if m["bytes_up"] != 1.0 || m["bytes_down"] != 1.0 {
			t.Fatalf("record: %v", m)
		}
	}
}

// pour writes n random bytes in random chunks, half-closes, and returns their sum.
func pour(c io.Writer, n int, seed uint64) (sum [32]byte, err error) {
	rng := rand.New(rand.NewPCG(seed, 7))
	h := sha256.New()
	chunk := make([]byte, 200<<10)
	for i := range chunk {
		chunk[i] = byte(rng.Uint32())
	}
	for n > 0 {
		size := min(n, 1+rng.IntN(len(chunk)))
		if rng.IntN(3) == 0 {
			size = min(size, 100)
		}
		if _, err = c.Write(chunk[:size]); err != nil {
			return sum, err
		}
		h.Write(chunk[:size])
		n -= size
	}
	return [32]byte(h.Sum(nil)), c.(interface{ CloseWrite() error }).CloseWrite()
}

// drink reads to the end and returns length and sum.
func drink(r io.Reader) (n int64, sum [32]byte, err error) {
	h := sha256.New()
	n, err = io.Copy(h, r)
	return n, [32]byte(h.Sum(nil)), err
}

// Either side closes its direction when it is through, the other goes on.
func TestHalfCloseDeliversEverythingAndTheRecordCountsIt(t *testing.T) {
	for _, row := range []struct {
		name, host, first, ended string
		up, down                 int
	}{
		{"8 MiB both ways", "any.test", "", "", 8 << 20, 8 << 20},
		{"the client is through first", "any.test", "", "client", 10, 8 << 20},
		{"the origin is through first", "any.test", "", "origin", 8 << 20, 10},
		{"behind a hello", "tls.test", clientHello(names("tls.test")), "", 3 << 20, 3 << 20},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			var originSent, originGot [32]byte
			var originRead int64
			done := make(chan error, 1)
			o := newOrigin(t, func(c net.Conn) {
				read, sent := make(chan struct{}), make(chan error, 1)
				go func() {
					if row.ended == "client" {
						<-read
					}
					var err error
					originSent, err = pour(c, row.down, 1)
					sent <- err
				}()
				var err error
				originRead, originGot, err = drink(c.(*tapConn).Conn)
				close(read)
				done <- firstError(err, <-sent)
			})
			r := openRig(t, o, rigOptions{})
			c, br := r.send(connectAs("billing", o.at(row.host)) + row.first)
			wantEstablished(t, br)
			read, sums := make(chan struct{}), make(chan [32]byte, 1)
			go func() {
				if row.ended == "origin" {
					<-read
				}
				h := sha256.New()
				h.Write([]byte(row.first))
				_, err := pour(&both{c, h}, row.up, 2)
				if err != nil {
					t.Error(err)
				}
				sums <- [32]byte(h.Sum(nil))
			}()
			n, got, err := drink(br)
			close(read)
			if err != nil || n != int64(row.down) {
				t.Errorf("the client read %d bytes, %v", n, err)
			}
			sent := <-sums
			if err := <-done; err != nil {
				t.Error(err)
			}
			up := len(row.first) + row.up
			if got != originSent || sent != originGot || originRead != int64(up) {
				t.Errorf("bytes differ; the origin read %d of %d", originRead, up)
			}
			m := r.one("closed")
			if m["bytes_up"] != float64(up) || m["bytes_down"] != float64(row.down) {
				t.Errorf("the record says %v up and %v down, want %d and %d", m["bytes_up"], m["bytes_down"], up, row.down)
			}
			if row.ended != "" && m["ended"] != row.ended {
				t.Errorf("ended by %v, want %s", m["ended"], row.ended)
			}
			eventually(t, "everything counted", func() bool { return r.server.Open() == 0 })
			r.eachSeries("egress_bytes_total", func(labels map[string]string, n float64) {
				if want := map[string]int{"up": up, "down": row.down}[labels["direction"]]; n != float64(want) {
					t.Errorf("egress_bytes_total %v = %v, want %d", labels, n, want)
				}
			})
		})
	}
}

// both writes to the connection and to the hash.
type both struct {
	*net.TCPConn
	hash io.Writer
}

func (b *both) Write(p []byte) (int, error) {
	n, err := b.TCPConn.Write(p)
	_, _ = b.hash.Write(p[:n])
	return n, err
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// printf … | nc does it: the request, then the end, then the answer.
func TestAClientThatHalfClosesGetsItsAnswer(t *testing.T) {
	o := newOrigin(t, func(c net.Conn) {
		b, _ := io.ReadAll(c)
		fmt.Fprintf(c, "you said %s", b)
	})
	r := openRig(t, o, rigOptions{})
	c, br := r.send(connectAs("billing", o.at("any.test")) + "hello")
	_ = c.CloseWrite() // before the 200 has come
	wantEstablished(t, br)
	wantExactly(t, br, "you said hello")
	wantEnd(t, br)
	if m := r.one("closed"); m["ended"] != "client" || m["bytes_up"] != 5.0 || m["bytes_down"] != 14.0 {
		t.Errorf("record: %v", m)
	}
}

func TestAnOriginThatIsThroughStillTakesWhatTheClientSends(t *testing.T) {
	o := newOrigin(t, func(c net.Conn) {
		_ = c.(*tapConn).CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	})
	r := openRig(t, o, rigOptions{})
	c, br := r.send(connectAs("billing", o.at("any.test")))
	wantEstablished(t, br)
	wantEnd(t, br)
	_, _ = io.WriteString(c, "and another thing")
	eventually(t, "what the client sends on", func() bool { return o.text() == "and another thing" })
	c.Close()
	if m := r.one("closed"); m["ended"] != "origin" || m["bytes_up"] != 17.0 {
		t.Errorf("record: %v", m)
	}
}

func TestAnOriginThatClosesAtOnceEndsTheTunnel(t *testing.T) {
	o := newOrigin(t, func(net.Conn) {})
	r := openRig(t, o, rigOptions{})
	c, br := r.send(connectAs("billing", o.at("any.test")))
	wantEstablished(t, br)
	wantEnd(t, br)
	c.Close()
	if m := r.one("closed"); m["bytes_up"] != 0.0 || m["bytes_down"] != 0.0 {
		t.Errorf("record: %v", m)
	}
}

func TestAResetOfOneSideEndsTheOther(t *testing.T) {
	reset := make(chan struct{})
	ended := make(chan struct{}, 2)
	o := newOrigin(t, func(c net.Conn) {
		var first [1]byte
		_, _ = io.ReadFull(c, first[:])
		if first[0] == 'o' {
			<-reset
			_ = c.(*tapConn).Conn.(*net.TCPConn).SetLinger(0)
			return
		}
		_, _ = io.Copy(io.Discard, c)
		ended <- struct{}{}
	})
	r := openRig(t, o, rigOptions{})
	c, br := r.send(connectAs("billing", o.at("any.test")) + "client")
	wantEstablished(t, br)
	eventually(t, "the bytes", func() bool { return o.text() == "client" })
	_ = c.SetLinger(0)
	c.Close()
	<-ended
	if m := r.one("closed"); m["ended"] != "error" || m["bytes_up"] != 6.0 {
		t.Errorf("record: %v", m)
	}
	_, br = r.send(connectAs("billing", o.at("any.test")) + "o")
	wantEstablished(t, br)
	close(reset)
	wantEnd(t, br)
	eventually(t, "the second record", func() bool { return len(r.of("closed")) == 2 })
	if m := r.of("closed")[1]; m["ended"] != "error" || m["bytes_up"] != 1.0 {
		t.Errorf("record: %v", m)
	}
}

func TestASilentTunnelEndsAsIdle(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	r := openRig(t, o, rigOptions{limits: proxy.Limits{IdleTimeout: 300 * time.Millisecond}})
	c, br := r.send(connectAs("billing", o.at("any.test")) + "x")
	wantEstablished(t, br)
	wantEnd(t, br)
	c.Close()
	if m := r.one("closed"); m["ended"] != "idle" || m["bytes_up"] != 1.0 {
		t.Errorf("record: %v", m)
	}
}

// The origin is through and the client says nothing: nobody will end it.
func TestATunnelThatOneSideHasClosedEndsAsIdle(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, func(c net.Conn) {
		_ = c.(*tapConn).CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	})
	r := openRig(t, o, rigOptions{limits: proxy.Limits{IdleTimeout: 300 * time.Millisecond}})
	_, br := r.send(connectAs("billing", o.at("any.test")))
	wantEstablished(t, br)
	wantEnd(t, br)
	if m := r.one("closed"); m["ended"] != "idle" && m["ended"] != "origin" {
		t.Errorf("record: %v", m)
	}
	eventually(t, "the place given back", func() bool { return r.server.Open() == 0 })
}

func TestABusyTunnelEndsAtItsLifetime(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, echo)
	r := openRig(t, o, rigOptions{limits: proxy.Limits{Lifetime: 300 * time.Millisecond}})
	c, br := r.send(connectAs("billing", o.at("any.test")))
	wantEstablished(t, br)
	go func() {
		for {
			if _, err := io.WriteString(c, "x"); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	_, _ = io.Copy(io.Discard, br)
	if m := r.one("closed"); m["ended"] != "lifetime" {
		t.Errorf("record: %v", m)
	}
}

// What the client does not take is not activity, and does not pile up here.
func TestAClientThatDoesNotReadEndsAsIdleWhileTheOriginFloods(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, func(c net.Conn) {
		for b := make([]byte, 64<<10); ; {
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	})
	r := openRig(t, o, rigOptions{limits: proxy.Limits{IdleTimeout: 300 * time.Millisecond}})
	_, br := r.send(connectAs("billing", o.at("any.test")))
	wantEstablished(t, br)
	if m := r.one("closed"); m["ended"] != "idle" {
		t.Errorf("record: %v", m)
	}
}
