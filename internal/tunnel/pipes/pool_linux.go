package pipes

import (
	"sync"

	"golang.org/x/sys/unix"
)

// Size is what a pipe is asked to hold, in bytes, and what one splice(2) moves at most. 128
// of them stay below the 64 MiB that the kernel lets one unprivileged user have; a pipe that
// is refused the size works with its own.
const Size = 256 << 10

// Pipe is the two ends of one pipe as descriptors that do not block. It is empty unless
// somebody holds it.
type Pipe struct{ R, W int }

// close closes both ends.
func (p *Pipe) close() {
	_ = unix.Close(p.R)
	_ = unix.Close(p.W)
}

// Pool lends pipes, at most Max at the same time; with less than one, none. Unlike the pool
// of io.Copy it is bounded, and it is emptied by Trim and not by the garbage collector, which
// may not run for hours. Its methods may be called from any goroutine.
type Pool struct {
	Max int

	mu   sync.Mutex
	free []*Pipe
	open int // lent and free
	low  int // the fewest that were free since the last trim
}

// Acquire returns nil if Max pipes are lent or the kernel gives none.
func (p *Pool) Acquire() *Pipe {
	p.mu.Lock()
	if last := len(p.free) - 1; last >= 0 {
		got := p.free[last]
		p.free = p.free[:last]
		p.low = min(p.low, last)
		p.mu.Unlock()
		return got
	}
	if p.open >= p.Max {
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
	_, _ = unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, Size)
	return &Pipe{R: fds[0], W: fds[1]}
}

// Len returns how many pipes there are, and how many of them are not lent.
func (p *Pool) Len() (open, free int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open, len(p.free)
}

// Release takes a pipe back. One that is not empty is closed: the next borrower would send
// a stranger's bytes.
func (p *Pool) Release(got *Pipe, empty bool) {
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

// Trim closes the pipes that nobody has needed since the last Trim.
func (p *Pool) Trim() {
	p.mu.Lock()
	unused := p.free[:p.low]
	p.free = append([]*Pipe(nil), p.free[p.low:]...)
	p.open -= len(unused)
	p.low = len(p.free)
	p.mu.Unlock()
	for _, u := range unused {
		u.close()
	}
}

// Close closes the pipes that are not lent.
func (p *Pool) Close() {
	p.Trim()
	p.Trim()
}
