package reactor

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ConnectError returns why a connection that has Failed did not come to be.
func ConnectError(fd int) error {
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	switch {
	case err != nil:
		return fmt.Errorf("asking a socket for its error: %w", err)
	case code != 0:
		return fmt.Errorf("connecting: %w", unix.Errno(code))
	default:
		return fmt.Errorf("connecting: %w", unix.ECONNRESET)
	}
}

// Connected waits, until ctx ends, for the end of what Connect began, with a
// goroutine instead of a loop. It takes the socket over also where it fails.
func Connected(ctx context.Context, fd int) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("waiting for a connection: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = f.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	var failed error
	err = raw.Write(func(fd uintptr) bool {
		ready := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		if n, _ := unix.Poll(ready[:], 0); n <= 0 {
			return false
		}
		if ready[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0 {
			failed = ConnectError(int(fd))
		}
		return true
	})
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, fmt.Errorf("waiting for a connection: %w", err)
	case failed != nil:
		return nil, failed
	}
	return net.FileConn(f)
}

// Conn makes a net.Conn of a socket, for a goroutine to go on with. It takes
// the socket over also where it fails.
func Conn(fd int) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close()
	return net.FileConn(f)
}
