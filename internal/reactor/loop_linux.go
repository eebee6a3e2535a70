package reactor

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Events are what a descriptor is ready for, or is watched for.
type Events uint32

const (
	// Readable: there are bytes, a connection to accept, or an end.
	Readable Events = unix.EPOLLIN
	// Writable: bytes can be written, or a connect(2) has ended.
	Writable Events = unix.EPOLLOUT
	// HangUp: the peer has ended its direction (FIN), or the connection is
	// broken. It is always watched for, together with Readable.
	HangUp Events = unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
	// Failed: the connection is broken, or connect(2) has failed.
	Failed Events = unix.EPOLLHUP | unix.EPOLLERR
	// Shared is for listeners that several loops watch: level-triggered, and
	// not all of the loops need be told of one connection.
	Shared Events = unix.EPOLLEXCLUSIVE
)

// batch is how many ready descriptors are taken from the kernel at once.
const batch = 128

// Loop is one epoll descriptor and its goroutine. Make one with New. Only Post
// and Close may be called by others than its handlers.
type Loop struct {
	epoll     *os.File
	raw       syscall.RawConn
	fd        int
	wakeFD    int // eventfd(2)
	handlers  []entry
	afterPoll []func()
	ready     [batch]unix.EpollEvent
	buffer    [BufferSize]byte
	done      chan struct{} // closed when Run has returned

	asleep atomic.Bool
	mu     sync.Mutex
	posted []func()
	closed bool
}

// entry is who handles a descriptor. The generation tells events of the
// descriptor from those of an earlier one with the same number.
type entry struct {
	handler    Handler
	generation int32
}

// New returns a loop that watches nothing. It is Run by a goroutine of the
// caller, and holds two descriptors until Run has returned.
func New() (*Loop, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making an epoll descriptor: %w", err)
	}
	// Non-blocking tells os that the runtime's poller can wait for it.
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("making an epoll descriptor: %w", err)
	}
	l := &Loop{epoll: os.NewFile(uintptr(fd), "epoll"), fd: fd, done: make(chan struct{})}
	if l.raw, err = l.epoll.SyscallConn(); err != nil {
		_ = l.epoll.Close()
		return nil, fmt.Errorf("making an epoll descriptor: %w", err)
	}
	if l.wakeFD, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		_ = l.epoll.Close()
		return nil, fmt.Errorf("making an event descriptor: %w", err)
	}
	if err := l.Watch(l.wakeFD, Readable, wakeHandler{}); err != nil {
		_ = unix.Close(l.wakeFD)
		_ = l.epoll.Close()
		return nil, err
	}
	return l, nil
}

// wakeHandler handles the event descriptor: being woken is all that it is for.
type wakeHandler struct{}

// Ready implements Handler.
func (wakeHandler) Ready(fd int, _ Events) {
	var count [8]byte
	_, _ = Read(fd, count[:])
}

// Buffer returns room that a handler may use until it returns.
func (l *Loop) Buffer() *[BufferSize]byte { return &l.buffer }

// Watch calls h when fd is ready for e. A descriptor is watched once.
func (l *Loop) Watch(fd int, e Events, h Handler) error {
	for fd >= len(l.handlers) {
		l.handlers = append(l.handlers, make([]entry, 1+len(l.handlers))...)
	}
	slot := &l.handlers[fd]
	slot.generation++
	slot.handler = h
	how := uint32(e)
	if e&Shared == 0 {
		how |= unix.EPOLLRDHUP | unix.EPOLLET
	}
	ev := unix.EpollEvent{Events: how, Fd: int32(fd), Pad: slot.generation}
	if err := unix.EpollCtl(l.fd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		slot.handler = nil
		return fmt.Errorf("watching a descriptor: %w", err)
	}
	return nil
}

// SetHandler gives a descriptor that is watched to another handler. It costs no
// system call, and what has been reported already is not reported again.
func (l *Loop) SetHandler(fd int, h Handler) { l.handlers[fd].handler = h }

// Unwatch ends the watching of a descriptor that stays open.
func (l *Loop) Unwatch(fd int) {
	l.Detach(fd)
	_ = unix.EpollCtl(l.fd, unix.EPOLL_CTL_DEL, fd, nil)
}

// Detach is Unwatch for a descriptor that is closed next, which ends its watching
// in the kernel.
func (l *Loop) Detach(fd int) {
	if fd < len(l.handlers) {
		l.handlers[fd].handler = nil
	}
}

// AfterPoll adds a func that is called whenever all descriptors that were ready
// have been handled: what handlers have gathered can be done there at once.
func (l *Loop) AfterPoll(f func()) { l.afterPoll = append(l.afterPoll, f) }

// Post has the loop call f, in the order of the posts. It returns false, and
// f is not called, once the loop has been closed.
func (l *Loop) Post(f func()) bool {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return false
	}
	l.posted = append(l.posted, f)
	l.wake()
	l.mu.Unlock()
	return true
}

// wake wakes the loop where it sleeps. The mutex is held, so that the loop, which
// looks under it whether it has been closed, does not end and close the event
// descriptor before that is written to: its number may be another's then.
func (l *Loop) wake() {
	if l.asleep.CompareAndSwap(true, false) {
		one := [8]byte{1}
		_, _ = Write(l.wakeFD, one[:])
	}
}

// Close ends the loop: Run returns once it has called what was posted before.
// Descriptors that are still watched stay open.
func (l *Loop) Close() {
	l.mu.Lock()
	l.closed = true
	l.wake()
	l.mu.Unlock()
}

// Wait returns when Run has.
func (l *Loop) Wait() { <-l.done }

// Run handles what is ready until Close. It is called once.
func (l *Loop) Run() {
	defer close(l.done)
	defer unix.Close(l.wakeFD)
	defer l.epoll.Close()
	n := 0
	poll := func(uintptr) bool {
		n = l.poll()
		return n > 0 || !l.sleep()
	}
	var again []func()
	for {
		if l.raw.Read(poll) != nil {
			return // nobody else closes the descriptor
		}
		for i := range l.ready[:n] {
			e := &l.ready[i]
			if s := l.handlers[e.Fd]; s.handler != nil && s.generation == e.Pad {
				s.handler.Ready(int(e.Fd), Events(e.Events))
			}
		}
		l.mu.Lock()
		todo, closed := l.posted, l.closed
		l.posted = again[:0]
		l.mu.Unlock()
		for i, f := range todo {
			f()
			todo[i] = nil
		}
		again = todo
		for _, f := range l.afterPoll {
			f()
		}
		if closed {
			return
		}
	}
}

// poll asks the kernel what is ready, without waiting, so that the runtime
// need not be told of a system call.
func (l *Loop) poll() int {
	l.asleep.Store(false)
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(l.fd), uintptr(unsafe.Pointer(&l.ready[0])), batch, 0, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// sleep reports whether the loop may wait: nothing has been posted, and who
// posts from now on will wake it.
func (l *Loop) sleep() bool {
	l.asleep.Store(true)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.posted) > 0 || l.closed {
		l.asleep.Store(false)
		return false
	}
	return true
}
