//go:build !linux

package reactor

import "syscall"

// Read reads what there is, again if a signal has interrupted it.
func Read(fd int, b []byte) (int, error) { return again(syscall.Read, fd, b) }

// Write writes what the socket takes, again if a signal has interrupted it.
func Write(fd int, b []byte) (int, error) { return again(syscall.Write, fd, b) }

// again repeats a system call that a signal has interrupted.
func again(call func(int, []byte) (int, error), fd int, b []byte) (int, error) {
	for {
		if n, err := call(fd, b); err != syscall.EINTR {
			return n, err
		}
	}
}
