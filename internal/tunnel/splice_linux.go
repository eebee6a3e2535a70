package tunnel

import (
	"errors"
	"io"
	"sync"

	"golang.org/x/sys/unix"
)

// pipeSize is what a pipe is asked to hold, and what one splice(2) moves at most. 128 of them stay below the 64 MiB that the
// kernel lets one unprivileged user have; a pipe that is refused the size works with its own.
const pipeSize = 256 << 10

// pipe is what splice(2) needs between two sockets. It is empty unless a direction holds it.
type pipe struct{ r, w int }

func (p *pipe) close() {
	_ = unix.Close(p.r)
	_ = unix.Close(p.w)
}

// pipePool lends pipes, at most max at the same time. Unlike the pool of io.Copy it is bounded, and it is emptied by
// sweeps and not by the garbage collector, which may not run for hours.
type pipePool struct {
	max int

	mu   sync.Mutex
	free []*pipe
	open int // lent and free
	low  int // the fewest that were free since the last trim
}

// acquire returns nil if max pipes are lent or the kernel gives none.
func (p *pipePool) acquire() *pipe {
	p.mu.Lock()
	if last := len(p.free) - 1; last >= 0 {
		got := p.free[last]
		p.free = p.free[:last]
		p.low = min(p.low, last)
		p.mu.Unlock()
		return got
	}
	if p.open >= p.max {
		p.mu.Unlock()
		return nil
	}
	p.open++
	p.mu.Unlock()

	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		p.mu.Lock()
		p.open--
		p.mu.Unlock()
		return nil
	}
	_, _ = unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, pipeSize)
	return &pipe{r: fds[0], w: fds[1]}
}

// release takes a pipe back. One that is not empty is closed: the next borrower would send a stranger's bytes.
func (p *pipePool) release(got *pipe, empty bool) {
	p.mu.Lock()
	if empty {
		p.free = append(p.free, got)
	} else {
		p.open--
	}
	p.mu.Unlock()
	if !empty {
		got.close()
	}
}

// trim closes the pipes that nobody has needed since the last trim.
func (p *pipePool) trim() {
	p.mu.Lock()
	unused := p.free[:p.low]
	p.free = append([]*pipe(nil), p.free[p.low:]...)
	p.open -= len(unused)
	p.low = len(p.free)
	p.mu.Unlock()
	for _, u := range unused {
		u.close()
	}
}

// close closes the pipes that are not lent.
func (p *pipePool) close() {
	p.trim()
	p.trim()
}

// takePipe reports whether the direction holds a pipe.
func (d *direction) takePipe() bool {
	if d.pipe == nil {
		d.pipe = d.t.group.pipes.acquire()
		d.dropBuffer()
	}
	return d.pipe != nil
}

// spliceIn moves what the source has into the pipe, which is empty: EAGAIN is the socket's.
func (d *direction) spliceIn(fd int) bool {
	n, err := retry(func() (int, error) { return splice(fd, d.pipe.w, d.most(pipeSize)) })
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
		n, err := retry(func() (int, error) { return splice(d.pipe.r, fd, d.piped) })
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

func splice(from, to, size int) (int, error) {
	n, err := unix.Splice(from, nil, to, nil, size, unix.SPLICE_F_NONBLOCK)
	return int(n), err
}
