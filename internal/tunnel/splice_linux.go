package tunnel

import (
	"errors"
	"io"

	"golang.org/x/sys/unix"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/reactor"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/tunnel/pipes"
)

// takePipe reports whether the direction holds a pipe.
func (d *direction) takePipe() bool {
	if d.pipe == nil {
		d.pipe = d.t.group.pipes.Acquire()
		d.dropBuffer()
	}
	return d.pipe != nil
}

// spliceIn moves what the source has into the pipe, which is empty: EAGAIN is the socket's.
func (d *direction) spliceIn(fd int) bool {
	n, err := reactor.Splice(fd, d.pipe.W, d.most(pipes.Size))
	switch {
	case errors.Is(err, unix.EAGAIN):
		d.came(0)
		d.release()
		return false
	case errors.Is(err, unix.EINVAL):
		d.copies = true // nothing was taken: copy what is there
		d.release()
		return d.read(fd)
	case err != nil:
		d.ioErr = err
		return true
	}
	d.piped = n
	d.came(n)
	d.earn(n)
	return true
}

func (d *direction) spliceOut(fd int) bool {
	for d.piped > 0 {
		n, err := reactor.Splice(d.pipe.R, fd, d.piped)
		if errors.Is(err, unix.EAGAIN) {
			return false
		}
		if err == nil && n == 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			d.ioErr = err
			return true
		}
		d.piped -= n
		d.count(n)
	}
	return true
}
