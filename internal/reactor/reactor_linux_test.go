package reactor_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/reactor"
)

// handler makes a Handler of a func.
type handler func(fd int, e reactor.Events)

func (h handler) Ready(fd int, e reactor.Events) { h(fd, e) }

// run runs a loop until the test ends.
func run(t testing.TB) *reactor.Loop {
	t.Helper()
	l, err := reactor.New()
	if err != nil {
		t.Fatal(err)
	}
	go l.Run()
	t.Cleanup(func() {
		l.Close()
		l.Wait()
	})
	return l
}

// on calls f on the loop and waits for it.
func on(t testing.TB, l *reactor.Loop, f func()) {
	t.Helper()
	done := make(chan struct{})
	if !l.Post(func() { f(); close(done) }) {
		t.Fatal("the loop is closed")
	}
	<-done
}

// pair returns two connected sockets that do not block.
func pair(t testing.TB) (a, b int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fds[0], fds[1]
}

func write(t testing.TB, fd int) {
	t.Helper()
	if _, err := unix.Write(fd, []byte("x")); err != nil {
		t.Error(err)
	}
}

func TestAHandlerIsToldOnceOfWhatComes(t *testing.T) {
	l := run(t)
	near, far := pair(t)
	defer unix.Close(near)
	defer unix.Close(far)
	told := make(chan reactor.Events, 8)
	on(t, l, func() {
		if err := l.Watch(near, reactor.Readable, handler(func(_ int, e reactor.Events) { told <- e })); err != nil {
			t.Error(err)
		}
	})
	for range 3 {
		write(t, far) // nothing is read, and yet each is told of
		if e := <-told; e&reactor.Readable == 0 || e&reactor.HangUp != 0 {
			t.Errorf("events %x, want readable alone", e)
		}
	}
	_ = unix.Shutdown(far, unix.SHUT_WR)
	if e := <-told; e&reactor.HangUp == 0 || e&reactor.Failed != 0 {
		t.Errorf("events %x, want the end of one direction", e)
	}
	on(t, l, func() { l.Unwatch(near) })
	write(t, near)
	on(t, l, func() {})
	if len(told) != 0 {
		t.Error("a handler is called after Unwatch")
	}
}

// A number that the kernel gives again while events of its last owner wait to
// be handled must not bring these to the new one.
func TestEventsOfAClosedDescriptorDoNotReachItsSuccessor(t *testing.T) {
	l := run(t)
	one, farOne := pair(t)
	two, farTwo := pair(t)
	defer unix.Close(farOne)
	defer unix.Close(farTwo)
	wrong, handled := 0, make(chan struct{}, 2)
	// Whichever of the two is handled first closes the other and watches a
	// silent socket under its number.
	replace := func(victim int) {
		silent, other := pair(t)
		t.Cleanup(func() { unix.Close(other) })
		l.Detach(victim)
		if err := unix.Dup3(silent, victim, unix.O_CLOEXEC); err != nil {
			t.Error(err)
		}
		_ = unix.Close(silent)
		if err := l.Watch(victim, reactor.Readable, handler(func(int, reactor.Events) { wrong++ })); err != nil {
			t.Error(err)
		}
	}
	on(t, l, func() {
		for fd, victim := range map[int]int{one: two, two: one} {
			err := l.Watch(fd, reactor.Readable, handler(func(int, reactor.Events) {
				replace(victim)
				handled <- struct{}{}
			}))
			if err != nil {
				t.Error(err)
			}
		}
		write(t, farOne) // both are ready in one batch
		write(t, farTwo)
	})
	<-handled
	on(t, l, func() {})
	on(t, l, func() {
		if wrong != 0 || len(handled) != 0 {
			t.Errorf("the successor was told %d times, the closed one %d times", wrong, len(handled))
		}
		l.Detach(one)
		l.Detach(two)
	})
	unix.Close(one)
	unix.Close(two)
}

func TestPostsAreCalledInTheirOrderAndBeforeTheEnd(t *testing.T) {
	l, err := reactor.New()
	if err != nil {
		t.Fatal(err)
	}
	var got []int
	for i := range 100 {
		l.Post(func() { got = append(got, i) })
	}
	turns := 0
	l.AfterPoll(func() { turns++ })
	l.Close()
	if l.Post(func() { t.Error("called after Close") }) {
		t.Error("Post took a func after Close")
	}
	l.Run()
	l.Wait()
	if len(got) != 100 || !slices.IsSorted(got) || turns == 0 {
		t.Errorf("called %v, %d turns", got, turns)
	}
}

func TestPostsOfManyGoroutinesAllWakeTheLoop(t *testing.T) {
	l := run(t)
	const each = 2000
	n, done := 0, make(chan struct{})
	for range 4 {
		go func() {
			for range each {
				l.Post(func() {
					if n++; n == 4*each {
						close(done)
					}
				})
			}
		}()
	}
	<-done
}

func TestSetHandlerGivesADescriptorToAnotherHandler(t *testing.T) {
	l := run(t)
	near, far := pair(t)
	defer unix.Close(near)
	defer unix.Close(far)
	told := make(chan string, 2)
	on(t, l, func() {
		if err := l.Watch(near, reactor.Readable, handler(func(int, reactor.Events) { told <- "first" })); err != nil {
			t.Error(err)
		}
		l.SetHandler(near, handler(func(int, reactor.Events) { told <- "second" }))
	})
	write(t, far)
	if got := <-told; got != "second" {
		t.Errorf("the %s handler was called", got)
	}
	on(t, l, func() { l.Unwatch(near) })
}

// listen returns a listener, and a port of 127.0.0.1 that refuses.
func listen(t testing.TB) (ln *net.TCPListener, refuses netip.AddrPort) {
	t.Helper()
	ln, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	_, refuses = bound(t)
	return ln, refuses
}

// bound returns a socket at a port of 127.0.0.1 that is nobody else's while the
// test lasts. It does not listen.
func bound(t testing.TB) (fd int, at netip.AddrPort) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	local := [4]byte{127, 0, 0, 1}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: local}); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fd, netip.AddrPortFrom(netip.AddrFrom4(local), uint16(sa.(*unix.SockaddrInet4).Port))
}

func TestConnectEndsAsWritableOrAsFailed(t *testing.T) {
	l := run(t)
	ln, refuses := listen(t)
	for _, row := range []struct {
		name string
		to   netip.AddrPort
		want error
	}{
		{"a port that listens", ln.Addr().(*net.TCPAddr).AddrPort(), nil},
		{"a port that refuses", refuses, unix.ECONNREFUSED},
	} {
		t.Run(row.name, func(t *testing.T) {
			fd, err := reactor.Connect(row.to)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			ended := make(chan error, 8)
			on(t, l, func() {
				err := l.Watch(fd, reactor.Writable, handler(func(fd int, e reactor.Events) {
					switch {
					case e&reactor.Failed != 0:
						ended <- reactor.ConnectError(fd)
					case e&reactor.Writable != 0:
						ended <- nil
					}
				}))
				if err != nil {
					t.Error(err)
				}
			})
			if err := <-ended; !errors.Is(err, row.want) {
				t.Errorf("connecting ended with %v, want %v", err, row.want)
			}
			on(t, l, func() { l.Unwatch(fd) })
		})
	}
}

func TestConnectedWaitsForAConnectionAsNetDoes(t *testing.T) {
	ln, refuses := listen(t)
	connect := func(to netip.AddrPort) int {
		fd, err := reactor.Connect(to)
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	c, err := reactor.Connected(t.Context(), connect(ln.Addr().(*net.TCPAddr).AddrPort()))
	if err != nil {
		t.Fatal(err)
	}
	if c.RemoteAddr().String() != ln.Addr().String() {
		t.Errorf("connected to %v", c.RemoteAddr())
	}
	c.Close()
	if _, err := reactor.Connected(t.Context(), connect(refuses)); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a refused connection is %v", err)
	}
}

// A listener whose queue is full answers nobody: the connection neither comes
// to be nor fails.
func TestConnectedEndsWithItsContext(t *testing.T) {
	fd, to := bound(t)
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	held, err := reactor.Connect(to) // the queue takes one more than it says
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(held)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("the queue is not full: %v", err)
		}
		if info.Unacked == 1 { // of a listener, the length of its queue
			break
		}
	}
	waits, err := reactor.Connect(to)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := reactor.Connected(ctx, waits); !errors.Is(err, context.Canceled) {
		t.Errorf("the end of the context gives %v", err)
	}
}

// BenchmarkWakeUp measures one event from write(2) to the handler and back: the
// wake-up of a goroutine through a channel is in it, a socket's TCP is not.
func BenchmarkWakeUp(b *testing.B) {
	l := run(b)
	near, far := pair(b)
	defer unix.Close(near)
	defer unix.Close(far)
	told := make(chan struct{})
	on(b, l, func() {
		_ = l.Watch(near, reactor.Readable, handler(func(fd int, _ reactor.Events) {
			_, _ = unix.Read(fd, l.Buffer()[:])
			told <- struct{}{}
		}))
	})
	b.ReportAllocs()
	for b.Loop() {
		write(b, far)
		<-told
	}
	on(b, l, func() { l.Unwatch(near) })
}
