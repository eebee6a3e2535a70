package tunnel

import (
	"errors"
	"io"
	"sync/atomic"
	"syscall"
)

const (
	// bufferSize is what one read takes at most. Two TLS records fit.
	bufferSize = 32 << 10

	// waiterSize is the buffer that a connection which cannot be parked without one waits with. Anything a peer
	// sends to keep a session alive fits.
	waiterSize = 1 << 10

	// A direction streams when streamAfter bytes have come in chunks of streamChunk or more. The credit is capped, and
	// halved by each smaller chunk: two of those in a row end the streaming, one does not.
	streamAfter = 256 << 10
	streamChunk = 8 << 10
)

// half is one direction: whatever can be read from src is written to dst.
//
// The goroutine of the direction owns all fields but moved.
type half struct {
	moved atomic.Int64 // bytes that dst has accepted

	t        *Tunnel
	src, dst *end
	side     Cause  // who has ended the tunnel if src closes first
	prefix   []byte // to be written first

	turn    func(fd uintptr) bool // step, bound once: a method value allocates each time it is taken
	buf     *[bufferSize]byte     // nil while parked
	pending []byte                // read and not yet written: of buf, of prefix
	pipe    *pipe                 // nil while parked
	piped   int                   // bytes in pipe
	credit  int                   // see streamAfter
	copies  bool                  // splice(2) does not take these sockets
	ioErr   error                 // of the last step

	undelivered bool  // ended with bytes in hand that dst had not accepted
	err         error // why it ended; nil: src closed in order
}

func (h *half) init(t *Tunnel, src, dst *end, side Cause) {
	h.t, h.src, h.dst, h.side = t, src, dst, side
	h.turn = h.step
	h.copies = src.raw == nil || dst.raw == nil
}

// run is the goroutine of the direction.
func (h *half) run() {
	err := h.deliver(h.prefix)
	h.prefix = nil
	switch {
	case err != nil:
	case h.src.raw != nil:
		err = h.park()
	default:
		err = h.relay()
	}
	h.undelivered = h.piped+len(h.pending) > 0
	h.pending = nil
	h.drop()
	h.t.halfEnded(h, err)
}

// park moves bytes from a TCP socket until it ends. RawConn.Read calls step, and waits when step returns false.
func (h *half) park() error {
	for {
		if err := h.src.raw.Read(h.turn); err != nil {
			return err
		}
		if h.ioErr != nil {
			return h.ioErr
		}
		if h.piped+len(h.pending) == 0 {
			return nil
		}
		if err := h.flush(); err != nil {
			return err
		}
	}
}

// relay moves bytes from a connection that has to be read to learn whether there is anything. It waits with a small buffer
// and takes a large one while reads come back larger than the small one.
func (h *half) relay() error {
	small := h.t.group.waiters.Get().(*[waiterSize]byte)
	defer h.t.group.waiters.Put(small)
	b := small[:]
	for {
		n, err := h.src.conn.Read(b)
		if n > 0 {
			if werr := h.deliver(b[:n]); werr != nil {
				return werr
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil // the latter is a FIN without close_notify, which is how many TLS clients close
		}
		if err != nil {
			return err
		}
		switch {
		case n < waiterSize:
			h.dropBuffer()
			b = small[:]
		case h.buf == nil:
			h.buf = h.t.group.buffers.Get().(*[bufferSize]byte)
			b = h.buf[:]
		}
	}
}

// deliver writes all of b to dst.
func (h *half) deliver(b []byte) error {
	h.pending = b
	return h.flush()
}

// flush writes what is in hand to dst.
func (h *half) flush() error {
	if h.piped+len(h.pending) == 0 {
		return nil
	}
	if h.dst.raw != nil {
		if err := h.dst.raw.Write(h.turn); err != nil {
			return err
		}
		return h.ioErr
	}
	n, err := h.dst.conn.Write(h.pending)
	h.accept(n)
	return err
}

// accept counts the first n pending bytes as written. An empty slice would keep the buffer behind it from being freed.
func (h *half) accept(n int) {
	if h.pending = h.pending[n:]; len(h.pending) == 0 {
		h.pending = nil
	}
	h.moved.Add(int64(n))
}

// step does what comes next on the socket that RawConn has locked: it writes if something is in hand, and reads
// otherwise. False means that the socket is not ready, and that RawConn shall wait for it.
//
// RawConn.Read forgets earlier readiness before it calls step, and the poller is edge-triggered: a socket may be waited
// for only after it has answered EAGAIN. A short read is no substitute: a FIN or a reset that arrived together with the
// data raises no second event.
func (h *half) step(fd uintptr) bool {
	h.ioErr = nil
	switch {
	case len(h.pending) > 0:
		return h.write(int(fd))
	case h.piped > 0:
		return h.spliceOut(int(fd))
	case h.credit >= streamAfter && !h.copies && h.takePipe():
		return h.spliceIn(int(fd))
	default:
		return h.read(int(fd))
	}
}

func (h *half) read(fd int) bool {
	if h.buf == nil {
		h.buf = h.t.group.buffers.Get().(*[bufferSize]byte)
	}
	n, err := retry(func() (int, error) { return syscall.Read(fd, h.buf[:]) })
	if errors.Is(err, syscall.EAGAIN) {
		h.drop()
		return false
	}
	if err != nil {
		h.ioErr = err
		return true
	}
	h.pending = h.buf[:n]
	h.earn(n)
	return true
}

func (h *half) write(fd int) bool {
	for len(h.pending) > 0 {
		n, err := retry(func() (int, error) { return syscall.Write(fd, h.pending) })
		if errors.Is(err, syscall.EAGAIN) {
			return false
		}
		if err != nil {
			h.ioErr = err
			return true
		}
		h.accept(n)
	}
	return true
}

// earn keeps the account that decides between copying and splicing.
func (h *half) earn(n int) {
	if n < streamChunk {
		h.credit /= 2
		return
	}
	h.credit = min(h.credit+n, 2*streamAfter)
}

// drop gives back what a parked direction does not need.
func (h *half) drop() {
	h.dropBuffer()
	if h.pipe != nil {
		h.t.group.pipes.put(h.pipe, h.piped == 0)
		h.pipe, h.piped = nil, 0
	}
}

func (h *half) dropBuffer() {
	if h.buf != nil {
		h.t.group.buffers.Put(h.buf)
		h.buf = nil
	}
}

// retry repeats a system call that a signal has interrupted.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, syscall.EINTR) {
			return n, err
		}
	}
}
