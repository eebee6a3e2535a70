package reactor

import (
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Stream reads and writes a connection with the calls that a loop makes, for a goroutine
// that waits in the runtime's poller: net's own calls are told to the runtime, which gives
// the processor away under each that lasts twenty microseconds, as a write to a peer on the
// same machine does, and wakes threads for that. Deadlines are those of the connection. One
// goroutine at a time may read, and one may write.
type Stream struct {
	conn    net.Conn
	raw     syscall.RawConn // nil: the connection is no socket, or one with layers above
	in, out transfer
}

// transfer is one call of Read or Write.
type transfer struct {
	b    []byte
	n    int
	err  error
	step func(fd uintptr) (done bool) // of Read or Write, made once
}

// Init takes the connection, instead of the one before.
func (s *Stream) Init(c net.Conn) {
	s.conn, s.raw = c, nil
	if t, ok := c.(*net.TCPConn); ok {
		if raw, err := t.SyscallConn(); err == nil {
			s.raw, s.in.step, s.out.step = raw, s.in.read, s.out.write
		}
	}
}

// Read implements io.Reader.
func (s *Stream) Read(b []byte) (int, error) {
	if s.raw == nil || len(b) == 0 {
		return s.conn.Read(b)
	}
	s.in.b = b
	return s.in.done(s.raw.Read(s.in.step), "read", s.conn)
}

// Write implements io.Writer.
func (s *Stream) Write(b []byte) (int, error) {
	if s.raw == nil || len(b) == 0 {
		return s.conn.Write(b)
	}
	s.out.b = b
	return s.out.done(s.raw.Write(s.out.step), "write", s.conn)
}

// done returns what a call that has been made returns. Its errors are those of package net.
func (t *transfer) done(err error, op string, c net.Conn) (int, error) {
	n := t.n
	if err == nil {
		err = t.err
	}
	t.b, t.n, t.err = nil, 0, nil
	if errno, ok := err.(unix.Errno); ok {
		err = &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: os.NewSyscallError(op, errno)}
	}
	return n, err
}

// read reads once.
func (t *transfer) read(fd uintptr) bool {
	n, err := Read(int(fd), t.b)
	if err == unix.EAGAIN {
		return false
	}
	if t.n, t.err = n, err; n == 0 && err == nil {
		t.err = io.EOF
	}
	return true
}

// write writes until all is taken.
func (t *transfer) write(fd uintptr) bool {
	for t.n < len(t.b) {
		n, err := Write(int(fd), t.b[t.n:])
		if err == unix.EAGAIN {
			return false
		}
		if err != nil {
			t.err = err
			return true
		}
		t.n += n
	}
	return true
}
