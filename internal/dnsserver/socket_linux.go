package dnsserver

import (
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sendTimeout is how long, in seconds, an answer may wait for room in the
// socket.
const sendTimeout = 1

// socket is a UDP socket outside of Go's poller: its reader waits in the kernel.
// The poller would wake a thread for each packet that comes while others are
// being answered, which costs more than the answers do. A reader that waits may
// hold a processor of Go's for some milliseconds, see Listen.
type socket struct {
	file         *os.File // keeps the descriptor open while a call uses it
	raw          syscall.RawConn
	any          bool // bound to all addresses
	readsStopped atomic.Bool
}

// newSocket takes c over.
func newSocket(c *net.UDPConn) (*socket, error) {
	defer c.Close()
	local, _ := c.LocalAddr().(*net.UDPAddr)
	s := &socket{any: local != nil && local.IP.IsUnspecified()}
	pooled, err := c.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("taking a socket over: %w", err)
	}
	var own int
	var failed error
	err = pooled.Control(func(fd uintptr) {
		if own, failed = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0); failed != nil {
			return
		}
		if failed = unix.SetNonblock(own, false); failed == nil {
			failed = unix.SetsockoptTimeval(own, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: sendTimeout})
		}
		s.file = os.NewFile(uintptr(own), "udp")
	})
	if err == nil {
		err = failed
	}
	if err == nil {
		s.raw, err = s.file.SyscallConn()
	}
	if err != nil {
		_ = s.file.Close() // of a nil file: an error
		return nil, fmt.Errorf("taking a socket over: %w", err)
	}
	return s, nil
}

// stopReads ends the reading. A shutdown wakes the reader also where a socket has no
// peer, though the call says that it failed.
func (s *socket) stopReads() {
	s.readsStopped.Store(true)
	_ = s.raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RD) })
}

// close ends the reading and closes the socket.
func (s *socket) close() {
	s.stopReads()
	_ = s.file.Close()
}

// origin is where an answer goes, and which address it leaves from.
type origin struct {
	name    unix.RawSockaddrInet6 // of either family
	nameLen uint32
	control []byte
}

// write sends an answer. Where that fails the client asks again or is gone.
func (s *socket) write(answer []byte, to *origin) {
	vec := unix.Iovec{Base: &answer[0]}
	vec.SetLen(len(answer))
	h := unix.Msghdr{Name: (*byte)(unsafe.Pointer(&to.name)), Namelen: to.nameLen, Iov: &vec}
	h.SetIovlen(1)
	if len(to.control) > 0 {
		h.Control = &to.control[0]
		h.SetControllen(len(to.control))
	}
	_ = s.raw.Control(func(fd uintptr) {
		_, _, _ = unix.Syscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&h)), 0)
	})
}
