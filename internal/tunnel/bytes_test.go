package tunnel_test

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/tunnel"
)

// stream is the connection of one far end, as a bulk test needs it.
type stream interface {
	net.Conn
	CloseWrite() error
}

// size is what the bulk tests move each way.
func size(t *testing.T) int64 {
	if testing.Short() {
		return 16 << 20
	}
	return 100 << 20
}

// chunk returns how much to write next: single bytes, packets, and writes that fill every buffer on the way.
func chunk(r *rand.Rand) int64 {
	return 1 + r.Int64N([...]int64{1, 100, 20 << 10, 1 << 20}[r.IntN(4)])
}

// send writes total random bytes in random chunks, pausing now and then until delivered says that all of it is through, so that
// the direction parks; then it waits for its turn to half-close, and returns the hash.
func send(conn stream, seed uint64, total int64, delivered func() int64, turn <-chan struct{}) ([]byte, error) {
	r := rand.New(rand.NewPCG(seed, 1))
	noise := rand.NewChaCha8([32]byte{byte(seed)})
	sum := sha256.New()
	buf := make([]byte, 1<<20)
	for sent := int64(0); sent < total; {
		b := buf[:min(chunk(r), total-sent)]
		_, _ = noise.Read(b)
		_, _ = sum.Write(b)
		if _, err := conn.Write(b); err != nil {
			return nil, fmt.Errorf("writing after %d bytes: %w", sent, err)
		}
		sent += int64(len(b))
		for r.IntN(16) == 0 && delivered() < sent {
			runtime.Gosched()
		}
	}
	<-turn
	return sum.Sum(nil), conn.CloseWrite()
}

// receive reads in random chunks to the end, and returns the hash.
func receive(conn stream, seed uint64) ([]byte, int64, error) {
	r := rand.New(rand.NewPCG(seed, 2))
	sum := sha256.New()
	n, err := io.CopyBuffer(sum, randomReader{conn, r}, make([]byte, 1<<20))
	return sum.Sum(nil), n, err
}

type randomReader struct {
	io.Reader
	r *rand.Rand
}

func (rr randomReader) Read(b []byte) (int, error) {
	return rr.Reader.Read(b[:min(chunk(rr.r), int64(len(b)))])
}

// exchange sends up bytes from client and down bytes from origin at the same time and compares the hashes. The shorter leg closes
// first: the longer one waits with its own close until that has come through.
func exchange(t *testing.T, client, origin stream, tn *tunnel.Tunnel, up, down int64) {
	t.Helper()
	legs := []struct {
		name      string
		from, to  stream
		total     int64
		delivered func() int64
		first     bool
	}{
		{"up", client, origin, up, func() int64 { n, _ := tn.Bytes(); return n }, up < down},
		{"down", origin, client, down, func() int64 { _, n := tn.Bytes(); return n }, down <= up},
	}
	errs := make(chan error)
	now, second := make(chan struct{}), make(chan struct{})
	close(now)
	for i, leg := range legs {
		sums := make(chan []byte, 2)
		turn := second
		if leg.first {
			turn = now
		}
		go func() {
			sum, err := send(leg.from, uint64(i), leg.total, leg.delivered, turn)
			sums <- sum
			errs <- err
		}()
		go func() {
			sum, n, err := receive(leg.to, uint64(i))
			if leg.first {
				close(second)
			}
			if sent := <-sums; err == nil && (n != leg.total || string(sum) != string(sent)) {
				err = fmt.Errorf("%s: %d of %d bytes, sha256 %x, sent %x", leg.name, n, leg.total, sum, sent)
			}
			errs <- err
		}()
	}
	for range 2 * len(legs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestEveryByteArrivesEachWayWithHalfCloseOnEitherSide(t *testing.T) {
	byEachEngine(t, func(t *testing.T, newGroup groupMaker) {
		for _, row := range []struct {
			name     string
			up, down int64
			ended    tunnel.Cause
		}{
			{"client closes first", size(t) / 4, size(t), tunnel.Client},
			{"origin closes first", size(t), size(t) / 4, tunnel.Origin},
		} {
			t.Run(row.name, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, newGroup(t, tunnel.Options{}), nil)
				exchange(t, r.client, r.origin, r.tunnel, row.up, row.down)
				res := r.ended(t, row.ended)
				if res.Up != row.up || res.Down != row.down || res.Err != nil {
					t.Errorf("result %+v, want %d up, %d down", res, row.up, row.down)
				}
			})
		}
	})
}

func TestEveryByteArrivesThroughATunnelThatIsNotSpliced(t *testing.T) {
	byEachEngine(t, func(t *testing.T, newGroup groupMaker) {
		r := newRig(t, newGroup(t, tunnel.Options{Pipes: -1}), nil)
		exchange(t, r.client, r.origin, r.tunnel, size(t)/8, size(t)/4)
		r.ended(t, tunnel.Client)
	})
}

// A tunnel that is idle, small, bulk, and small again changes gear in both directions; each burst is compared by hash, and is
// awaited to the last byte before the next.
func TestEveryByteArrivesWhereTheGearsChange(t *testing.T) {
	byEachEngine(t, func(t *testing.T, newGroup groupMaker) {
		r := newRig(t, newGroup(t, tunnel.Options{}), nil)
		noise := rand.NewChaCha8([32]byte{9})
		var total int64
		for range 3 {
			for _, n := range []int{1, 64, 8 << 10, 255 << 10, 3 << 20, 1, 300 << 10, 64, 64, 64, 5 << 20, 7, 40 << 10} {
				burst := make([]byte, n)
				_, _ = noise.Read(burst)
				total += int64(n)
				for _, leg := range [][2]net.Conn{{r.client, r.origin}, {r.origin, r.client}} {
					if got, want := through(t, leg[0], leg[1], burst), sha256.Sum256(burst); string(got.Sum(nil)) != string(want[:]) {
						t.Fatalf("a burst of %d bytes arrived changed", n)
					}
				}
			}
		}
		must(t, r.client.Close())
		must(t, r.origin.Close())
		if res := <-r.result; res.Up != total || res.Down != total {
			t.Fatalf("result %+v, want %d each way", res, total)
		}
	})
}

func through(t *testing.T, from, to net.Conn, burst []byte) hash.Hash {
	t.Helper()
	wrote := make(chan error, 1)
	go func() {
		_, err := from.Write(burst)
		wrote <- err
	}()
	sum := sha256.New()
	_, err := io.CopyN(sum, to, int64(len(burst)))
	must(t, err)
	must(t, <-wrote)
	return sum
}
