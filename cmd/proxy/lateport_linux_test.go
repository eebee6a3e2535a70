package main

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// latePort lets connect(2) choose the port and not bind(2), which cannot know
// where it goes and so takes none that any connection of the address has, or had
// a minute ago: thousands of connections would use them up.
func latePort(_, _ string, raw syscall.RawConn) (err error) {
	if failed := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	}); failed != nil {
		return failed
	}
	return err
}
