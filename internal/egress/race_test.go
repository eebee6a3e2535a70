package egress

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// network is addresses that answer, by how long that takes; others are silent.
type network struct {
	answers map[netip.Addr]time.Duration
	refuses map[netip.Addr]bool

	mu    sync.Mutex
	dials []netip.Addr
}

// dial is Dial in the network.
func (n *network) dial(ctx context.Context, a netip.AddrPort, _ Permits) (net.Conn, error) {
	n.mu.Lock()
	n.dials = append(n.dials, a.Addr())
	n.mu.Unlock()
	if n.refuses[a.Addr()] {
		return nil, syscall.ECONNREFUSED
	}
	after, ok := n.answers[a.Addr()]
	if !ok {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	select {
	case <-time.After(after):
		c, other := net.Pipe()
		_ = other.Close()
		return c, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// few is a number of attempts beside a first.
type few struct{ left atomic.Int64 }

func (f *few) AcquireExtra() bool {
	if f.left.Add(-1) < 0 {
		f.left.Add(1)
		return false
	}
	return true
}

func (f *few) ReleaseExtra() { f.left.Add(1) }

var (
	deadAddr  = netip.MustParseAddr("192.0.2.1")
	liveAddr  = netip.MustParseAddr("192.0.2.2")
	otherAddr = netip.MustParseAddr("192.0.2.3")
)

// reach dials the addresses within five seconds and returns how long that took.
func reach(d *Dialer, extra ExtraDials, addrs ...netip.Addr) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	began := time.Now()
	c, err := d.Dial(ctx, Host{Addresses: d.Order(addrs, 443, 0), Extra: extra})
	if err == nil {
		_ = c.Close()
	}
	return time.Since(began), err
}

// The first who meets a dead address waits a quarter of a second for the next; those who
// come after do not meet it, until it may have come back.
func TestAddressThatDoesNotAnswerIsTriedLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{answers: map[netip.Addr]time.Duration{liveAddr: time.Millisecond}}
		d := &Dialer{dial: n.dial}
		for _, row := range []struct {
			wait, want time.Duration
			dials      []netip.Addr
		}{
			{0, AttemptDelay + time.Millisecond, []netip.Addr{deadAddr, liveAddr}},
			{0, time.Millisecond, []netip.Addr{liveAddr}},
			{FailingFor / 2, time.Millisecond, []netip.Addr{liveAddr}},
			{FailingFor, AttemptDelay + time.Millisecond, []netip.Addr{deadAddr, liveAddr}},
		} {
			time.Sleep(row.wait)
			n.dials = nil
			if took, err := reach(d, nil, deadAddr, liveAddr); err != nil || took != row.want || !slices.Equal(n.dials, row.dials) {
				t.Errorf("took %v, %v by %v; want %v by %v", took, err, n.dials, row.want, row.dials)
			}
		}
		d.Worked(netip.AddrPortFrom(deadAddr, 443))
		if got := d.Order([]netip.Addr{deadAddr, liveAddr}, 443, 0); got[0].Addr() != deadAddr {
			t.Errorf("tried first after it has answered: %v", got)
		}
	})
}

// Where all attempts beside a first are others', the one that is silent gives way in time.
func TestHostWithADeadAddressIsReachedWithoutAnAttemptBeside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{answers: map[netip.Addr]time.Duration{liveAddr: time.Millisecond}}
		d := &Dialer{dial: n.dial}
		if took, err := reach(d, &few{}, deadAddr, liveAddr); err != nil || took > 3*time.Second {
			t.Errorf("took %v, %v", took, err)
		}
		if took, err := reach(d, &few{}, deadAddr, liveAddr); err != nil || took != time.Millisecond {
			t.Errorf("the second time it took %v, %v", took, err)
		}
		var beside few
		beside.left.Store(1)
		d = &Dialer{dial: n.dial}
		if took, err := reach(d, &beside, deadAddr, otherAddr, liveAddr); err != nil || took > 4*time.Second || beside.left.Load() != 1 {
			t.Errorf("with one beside it took %v, %v; %d are left", took, err, beside.left.Load())
		}
	})
}

// An attempt that has begun elsewhere is the first, and is not begun again.
func TestAttemptThatIsUnderWayIsTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{answers: map[netip.Addr]time.Duration{liveAddr: time.Millisecond}}
		d := &Dialer{dial: n.dial}
		to := netip.AddrPortFrom(deadAddr, 443)
		h := Host{Addresses: d.Order([]netip.Addr{deadAddr, liveAddr}, 443, 0), Under: &Inflight{To: to, Began: time.Now(),
			Wait: func(context.Context) (net.Conn, error) { return nil, syscall.EHOSTUNREACH }}}
		c, err := d.Dial(t.Context(), h)
		if err != nil || !slices.Equal(n.dials, []netip.Addr{liveAddr}) {
			t.Fatalf("%v, dialed %v", err, n.dials)
		}
		_ = c.(io.Closer).Close()
		if got := d.Order([]netip.Addr{deadAddr, liveAddr}, 443, 0); got[0].Addr() != liveAddr {
			t.Errorf("the order afterwards: %v", got)
		}
	})
}

// What is not the address's doing is not held against it.
func TestWhatIsNoFaultOfTheAddressIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d Dialer
		a := netip.AddrPortFrom(deadAddr, 443)
		now := time.Now()
		for _, err := range []error{ErrNotPermitted, context.Canceled, syscall.EMFILE, syscall.EADDRNOTAVAIL, context.DeadlineExceeded} {
			if d.ended(a, now, err); d.failing.n.Load() != 0 {
				t.Errorf("%v is held against the address", err)
			}
		}
		for _, err := range []error{syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ETIMEDOUT, context.DeadlineExceeded} {
			if d.ended(a, now.Add(-2*time.Second), err); d.failing.n.Load() != 1 {
				t.Errorf("%v is not", err)
			}
			d.ended(a, now, nil)
		}
		if _, err := d.Dial(t.Context(), Host{}); !errors.Is(err, ErrNotPermitted) {
			t.Errorf("no address: %v", err)
		}
	})
}

// Whoever fills the table costs others the order of their addresses and no more.
func TestTableOfFailingAddressesIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d Dialer
		for i := range 3 * mostFailing {
			d.failing.failed(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 443))
		}
		if n := len(d.failing.until); n > mostFailing || d.failing.n.Load() != int64(n) {
			t.Errorf("%d addresses are remembered", n)
		}
		all := []netip.Addr{deadAddr, liveAddr, otherAddr}
		for _, a := range all {
			d.failing.failed(netip.AddrPortFrom(a, 443))
		}
		if got := d.Order(all, 443, 0); len(got) != len(all) {
			t.Errorf("of a host whose addresses all fail %v are tried", got)
		}
		time.Sleep(FailingFor)
		d.failing.failed(netip.AddrPortFrom(deadAddr, 443))
		if n := len(d.failing.until); n > mostFailing {
			t.Errorf("%d addresses are remembered", n)
		}
	})
}

// Connections spread over the addresses of a host, within each family: there all of them
// are as good as the first. Which family comes first, and which addresses last, stays.
func TestConnectionsSpreadOverTheAddressesOfAHost(t *testing.T) {
	var all []netip.Addr
	for i := range byte(8) {
		all = append(all, netip.AddrFrom4([4]byte{192, 0, 2, 1 + i}))
	}
	six := []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")}
	var d Dialer
	first, second := map[netip.Addr]int{}, map[netip.Addr]int{}
	for from := range uint32(80) {
		first[d.Order(all, 443, from)[0].Addr()]++
		order := d.Order(append(six, all...), 443, from)
		if len(order) != MaxAttempts || !order[0].Addr().Is6() || !order[1].Addr().Is4() || !order[2].Addr().Is6() || order[0] == order[2] || order[1] == order[3] {
			t.Errorf("from %d: %v", from, order)
		}
		second[order[0].Addr()]++
	}
	for _, a := range all {
		if first[a] != 10 {
			t.Errorf("of 80 times %v is first %d times", a, first[a])
		}
	}
	if second[six[0]] != 40 || second[six[1]] != 40 {
		t.Errorf("of two addresses of IPv6: %v", second)
	}
	d.failing.failed(netip.AddrPortFrom(all[3], 443))
	for from := range uint32(80) {
		if d.Order(all, 443, from)[0].Addr() == all[3] {
			t.Errorf("from %d: an address that did not answer is first", from)
		}
	}
	if d.Order(all, 443, 1<<32-1)[0].Addr() == (netip.Addr{}) {
		t.Error("the greatest number of all has no address")
	}
}
