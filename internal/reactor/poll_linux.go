package reactor

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Idle reports whether a socket has nothing to read, no end and no error.
func Idle(fd int) bool { return poll(fd, unix.POLLIN|unix.POLLRDHUP) == 0 }

// Ended reports whether the peer of a socket has closed its side of the connection, or
// reset it, whatever is there still to be read.
func Ended(fd int) bool { return poll(fd, unix.POLLRDHUP) != 0 }

// poll returns which of the events a descriptor has, or what is wrong with it.
func poll(fd int, events int16) int16 {
	query := unix.PollFd{Fd: int32(fd), Events: events}
	var now unix.Timespec
	for {
		_, _, errno := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&query)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
		switch errno {
		case 0:
			return query.Revents
		case unix.EINTR:
		default:
			return unix.POLLERR
		}
	}
}
