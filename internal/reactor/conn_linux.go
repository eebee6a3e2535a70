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

// Conn makes a net.Conn of a socket, for a goroutine to go on with: a
// *net.TCPConn, or where there is no descriptor left, because net makes a second
// one on the way, a plainer one that can be served all the same.
func Conn(fd int) net.Conn {
	f := os.NewFile(uintptr(fd), "socket")
	c, err := net.FileConn(f)
	if err != nil {
		return fileConn{f}
	}
	_ = f.Close()
	return c
}

// fileConn is a connection over a file, which the runtime's poller waits for
// just as well. It knows no addresses.
type fileConn struct{ *os.File }

// LocalAddr and RemoteAddr return an address that says nothing.
func (fileConn) LocalAddr() net.Addr  { return &net.UnixAddr{} }
func (fileConn) RemoteAddr() net.Addr { return &net.UnixAddr{} }

// CloseWrite tells the peer that no more will come.
func (c fileConn) CloseWrite() error { return c.control(CloseWrite) }

// SetLinger is that of *net.TCPConn: after 0, Close resets the connection.
func (c fileConn) SetLinger(sec int) error {
	return c.control(func(fd int) error {
		return unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: int32(sec)})
	})
}

// control calls f with the descriptor, which stays open meanwhile.
func (c fileConn) control(f func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return fmt.Errorf("using a socket: %w", err)
	}
	if cerr := raw.Control(func(fd uintptr) { err = f(int(fd)) }); cerr != nil {
		return fmt.Errorf("using a socket: %w", cerr)
	}
	return err
}
