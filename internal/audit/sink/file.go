package sink

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// pipeBuf is how much a pipe takes in one piece, and surely takes without
// blocking when poll(2) calls it writable (PIPE_BUF on Linux).
const pipeBuf = 4096

// file is the Writer over a file descriptor. It does not use os.File, whose
// Write cannot be bounded in time on a descriptor that is shared with others
// and therefore must not be made non-blocking, and which ends the process on
// EPIPE.
type file struct {
	fd       int
	stdout   bool // Close leaves it open
	regular  bool // never polled: poll(2) always calls it writable
	dev, ino uint64
	poll     [1]unix.PollFd
}

// standardOutput returns the file over descriptor 1.
func standardOutput() (*file, error) {
	f, _, err := newFile(1)
	if err != nil {
		return nil, fmt.Errorf("using standard output for records: %w", err)
	}
	f.stdout = true
	return f, nil
}

// openFile opens a path to append to, and reports whether it ends in the middle
// of a line.
func openFile(path string) (f *file, midLine bool, err error) {
	// O_NONBLOCK: on a FIFO without a reader open(2) would wait for one.
	fd, err := open(path, unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT|unix.O_NONBLOCK)
	if err != nil {
		return nil, false, fmt.Errorf("opening %s for records: %w", path, err)
	}
	f, size, err := newFile(fd)
	if err == nil && f.regular && size > 0 {
		midLine, err = f.endsMidLine(path, size)
	}
	if err != nil {
		unix.Close(fd)
		return nil, false, fmt.Errorf("looking at %s: %w", path, err)
	}
	return f, midLine, nil
}

// open is open(2) with close-on-exec and mode 0640, again on EINTR.
func open(path string, flags int) (int, error) {
	for {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0o640)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// newFile looks at an open descriptor.
func newFile(fd int) (f *file, size int64, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, 0, err
	}
	f = &file{fd: fd, regular: st.Mode&unix.S_IFMT == unix.S_IFREG, dev: uint64(st.Dev), ino: st.Ino}
	return f, st.Size, nil
}

// endsMidLine reports whether the last byte of the file at path, which is f, is
// not a newline.
func (f *file) endsMidLine(path string, size int64) (bool, error) {
	fd, err := open(path, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	var last [1]byte
	n, err := unix.Pread(fd, last[:], size-1)
	return n == 1 && last[0] != '\n', err
}

// Write writes p. To a regular file it is one write(2), elsewhere pieces of
// whole lines as poll(2) lets through.
func (f *file) Write(p []byte, until time.Time) (n int, err error) {
	for n < len(p) {
		chunk := p[n:]
		if !f.regular {
			if err := f.ready(until); err != nil {
				return n, err
			}
			chunk = wholeLines(chunk, pipeBuf)
		}
		m, err := unix.Write(f.fd, chunk)
		n += max(m, 0)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN && time.Now().Before(until):
		case err == unix.EAGAIN:
			return n, ErrTimeout
		case err != nil:
			return n, fmt.Errorf("writing records: %w", err)
		case m <= 0:
			return n, io.ErrShortWrite
		}
	}
	return n, nil
}

// ready waits until the descriptor takes pipeBuf bytes, or has an error for
// write(2) to return.
func (f *file) ready(until time.Time) error {
	for {
		left := max(0, time.Until(until))
		f.poll[0] = unix.PollFd{Fd: int32(f.fd), Events: unix.POLLOUT}
		n, err := unix.Poll(f.poll[:], int((left+time.Millisecond-1)/time.Millisecond))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return fmt.Errorf("polling the output: %w", err)
		case n > 0:
			return nil
		case left == 0:
			return ErrTimeout
		}
	}
}

// wholeLines returns the longest beginning of p of at most limit bytes that
// ends with a line, or limit bytes where the first line is longer. Whole lines
// are not split by another process that writes to the same pipe.
func wholeLines(p []byte, limit int) []byte {
	if len(p) <= limit {
		return p
	}
	if end := bytes.LastIndexByte(p[:limit], '\n'); end >= 0 {
		return p[:end+1]
	}
	return p[:limit]
}

// truncateTail removes the last n bytes of a regular file, if they are from this
// descriptor's last write and nobody has written after them. If it cannot, that is
// not an error: the whole line is then in the next file, and its beginning here.
func (f *file) truncateTail(n int) {
	var st unix.Stat_t
	if !f.regular || n == 0 || unix.Fstat(f.fd, &st) != nil {
		return
	}
	if pos, err := unix.Seek(f.fd, 0, io.SeekCurrent); err == nil && pos == st.Size {
		_ = unix.Ftruncate(f.fd, pos-int64(n))
	}
}

// same reports whether two descriptors are of one file.
func (f *file) same(g *file) bool { return f.dev == g.dev && f.ino == g.ino }

// at reports whether the path names the file. Where that cannot be found out it
// is taken to.
func (f *file) at(path string) bool {
	var st unix.Stat_t
	switch err := unix.Stat(path, &st); {
	case err == nil:
		return f.dev == uint64(st.Dev) && f.ino == st.Ino
	default:
		return !errors.Is(err, unix.ENOENT)
	}
}

// Close closes the descriptor, but for standard output.
func (f *file) Close() error {
	if f.stdout {
		return nil
	}
	if err := unix.Close(f.fd); err != nil {
		return fmt.Errorf("closing the records: %w", err)
	}
	return nil
}
