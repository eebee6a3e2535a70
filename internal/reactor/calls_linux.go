package reactor

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls of this file are those that a loop makes all the time, on sockets
// that do not block. The runtime is not told of them: it would look after each
// that lasts twenty microseconds, and give the loop's processor away.

// Read reads what there is. It returns 0 at the end, and unix.EAGAIN where there
// is nothing.
func Read(fd int, b []byte) (int, error) {
	return call(unix.SYS_READ, fd, unsafe.Pointer(unsafe.SliceData(b)), len(b))
}

// Write writes what the socket takes, and returns unix.EAGAIN where that is
// nothing.
func Write(fd int, b []byte) (int, error) {
	return call(unix.SYS_WRITE, fd, unsafe.Pointer(unsafe.SliceData(b)), len(b))
}

// Splice moves at most n bytes from a socket into a pipe, or out of a pipe into a socket,
// as splice(2) does. It returns 0 at the end, and unix.EAGAIN where there is nothing or no
// room.
func Splice(from, to, n int) (int, error) {
	for {
		r, _, errno := unix.RawSyscall6(unix.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(n), unix.SPLICE_F_NONBLOCK)
		switch errno {
		case 0:
			return int(r), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// CloseWrite tells the peer that no more will come.
func CloseWrite(fd int) error {
	if _, _, errno := unix.RawSyscall(unix.SYS_SHUTDOWN, uintptr(fd), unix.SHUT_WR, 0); errno != 0 {
		return errno
	}
	return nil
}

// Close closes a descriptor. What close(2) says of it changes nothing.
func Close(fd int) { _, _, _ = unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

// call makes a system call, again if a signal has interrupted it.
func call(number uintptr, fd int, p unsafe.Pointer, n int) (int, error) {
	for {
		r, _, errno := unix.RawSyscall(number, uintptr(fd), uintptr(p), uintptr(n))
		switch errno {
		case 0:
			return int(r), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// Accept accepts one connection, which does not block either, and says whose it
// is; an IPv4-mapped address is unmapped.
func Accept(fd int) (accepted int, from netip.AddrPort, err error) {
	var sa unix.RawSockaddrAny
	size := uint32(unix.SizeofSockaddrAny)
	r, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size)),
		unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	if errno != 0 {
		return -1, netip.AddrPort{}, errno
	}
	switch sa.Addr.Family {
	case unix.AF_INET:
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(&sa))
		from = netip.AddrPortFrom(netip.AddrFrom4(in.Addr), ntohs(in.Port))
	case unix.AF_INET6:
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(&sa))
		from = netip.AddrPortFrom(netip.AddrFrom16(in.Addr).Unmap(), ntohs(in.Port))
	}
	return int(r), from, nil
}

// ntohs turns a port as the kernel has it around.
func ntohs(port uint16) uint16 {
	return binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, port))
}

// Connect begins a TCP connection to a, and returns a socket that becomes
// writable when that has ended, or an error. TCP_NODELAY is set. A zone is
// ignored.
func Connect(a netip.AddrPort) (fd int, err error) {
	var v4 unix.RawSockaddrInet4
	var v6 unix.RawSockaddrInet6
	family, to, size := unix.AF_INET6, unsafe.Pointer(&v6), unix.SizeofSockaddrInet6
	if ip := a.Addr().Unmap(); ip.Is4() {
		v4 = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: ntohs(a.Port()), Addr: ip.As4()}
		family, to, size = unix.AF_INET, unsafe.Pointer(&v4), unix.SizeofSockaddrInet4
	} else {
		v6 = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: ntohs(a.Port()), Addr: ip.As16()}
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("opening a socket: %w", err)
	}
	if err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err == nil {
		if _, _, errno := unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(to), uintptr(size)); errno != 0 {
			err = errno
		}
	}
	// An interrupted connect(2) goes on by itself.
	if err != nil && err != unix.EINPROGRESS && err != unix.EINTR {
		Close(fd)
		return -1, fmt.Errorf("connecting to %s: %w", a, err)
	}
	return fd, nil
}
