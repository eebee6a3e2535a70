package tunnel

import (
	"cmp"
	"errors"
	"io"
	"sync/atomic"
	"syscall"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/reactor"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/tunnel/pipes"
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

// direction is one of a tunnel: whatever can be read from src is written to dst.
//
// The goroutine of the direction owns all fields but moved.
type direction struct {
	moved atomic.Int64 // bytes that dst has accepted

	t        *Tunnel
	src, dst *end
	limit    int64     // bytes that may still be read; less than zero: as many as come
	transfer *Transfer // whose it is; nil: a tunnel's
	side     Cause     // who has ended the tunnel if src closes first
	prefix   []byte    // to be written first

	stepFunc func(fd uintptr) bool // step, bound once: a method value allocates each time it is taken
	buf      *[bufferSize]byte     // nil while parked
	pending  []byte                // read and not yet written: of buf, of prefix
	pipe     *pipes.Pipe           // nil while parked
	piped    int                   // bytes in pipe
	credit   int                   // see streamAfter
	copies   bool                  // splice(2) does not take these sockets
	ioErr    error                 // of the last step

	undelivered int   // bytes in hand at the end, which dst had not accepted
	err         error // why it ended; nil: src closed in order
}

func (d *direction) init(t *Tunnel, src, dst *end, side Cause) {
	d.t, d.src, d.dst, d.side, d.limit = t, src, dst, side, -1
	d.stepFunc = d.step
	d.copies = src.raw == nil || dst.raw == nil
}

// run is the goroutine of the direction.
func (d *direction) run() {
	err := d.deliver(d.prefix)
	d.prefix = nil
	switch {
	case err != nil:
	case d.src.raw != nil:
		srcErr, dstErr := d.moveAll()
		err = cmp.Or(srcErr, dstErr)
	default:
		err = d.relay()
	}
	d.undelivered = d.piped + len(d.pending)
	d.pending = nil
	d.release()
	d.t.directionEnded(d, err)
}

// moveAll moves bytes from a TCP socket until it ends, or the limit is reached. RawConn.Read calls step, and waits
// when step returns false.
func (d *direction) moveAll() (srcErr, dstErr error) {
	for d.limit != 0 {
		if err := d.src.raw.Read(d.stepFunc); err != nil {
			return err, nil
		}
		if d.ioErr != nil {
			return d.ioErr, nil
		}
		if d.piped+len(d.pending) == 0 {
			return nil, nil
		}
		if err := d.flush(); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// most returns how many of so many bytes may be read.
func (d *direction) most(n int) int {
	return int(min(uint64(n), uint64(d.limit))) // less than zero is more than any
}

// came notes that so many bytes have been read; of nothing that the socket has to be waited for.
func (d *direction) came(n int) {
	if d.limit > 0 {
		d.limit -= int64(n)
	}
	if d.transfer != nil {
		d.transfer.SrcIdle.Store(n == 0)
	}
}

// count counts bytes that dst has accepted.
func (d *direction) count(n int) {
	d.moved.Add(int64(n))
	if d.transfer != nil {
		d.transfer.Moved.Add(int64(n))
	}
}

// relay moves bytes from a connection that has to be read to learn whether there is anything. It waits with a small buffer
// and takes a large one while reads come back larger than the small one.
func (d *direction) relay() error {
	small := d.t.group.waiters.Get().(*[waiterSize]byte)
	defer d.t.group.waiters.Put(small)
	b := small[:]
	for {
		n, err := d.src.conn.Read(b)
		if n > 0 {
			if werr := d.deliver(b[:n]); werr != nil {
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
			d.dropBuffer()
			b = small[:]
		case d.buf == nil:
			d.buf = d.t.group.buffers.Get().(*[bufferSize]byte)
			b = d.buf[:]
		}
	}
}

// deliver writes all of b to dst.
func (d *direction) deliver(b []byte) error {
	d.pending = b
	return d.flush()
}

// flush writes what is in hand to dst.
func (d *direction) flush() error {
	if d.piped+len(d.pending) == 0 {
		return nil
	}
	if d.dst.raw != nil {
		if err := d.dst.raw.Write(d.stepFunc); err != nil {
			return err
		}
		return d.ioErr
	}
	n, err := d.dst.conn.Write(d.pending)
	d.accept(n)
	return err
}

// accept counts the first n pending bytes as written. An empty slice would keep the buffer behind it from being freed.
func (d *direction) accept(n int) {
	if d.pending = d.pending[n:]; len(d.pending) == 0 {
		d.pending = nil
	}
	d.count(n)
}

// step does what comes next on the socket that RawConn has locked: it writes if something is in hand, and reads
// otherwise. False means that the socket is not ready, and that RawConn shall wait for it.
//
// RawConn.Read forgets earlier readiness before it calls step, and the poller is edge-triggered: a socket may be waited
// for only after it has answered EAGAIN. A short read is no substitute: a FIN or a reset that arrived together with the
// data raises no second event.
func (d *direction) step(fd uintptr) bool {
	d.ioErr = nil
	switch {
	case len(d.pending) > 0:
		return d.write(int(fd))
	case d.piped > 0:
		return d.spliceOut(int(fd))
	case d.credit >= streamAfter && !d.copies && d.takePipe():
		return d.spliceIn(int(fd))
	default:
		return d.read(int(fd))
	}
}

func (d *direction) read(fd int) bool {
	if d.buf == nil {
		d.buf = d.t.group.buffers.Get().(*[bufferSize]byte)
	}
	n, err := reactor.Read(fd, d.buf[:d.most(bufferSize)])
	if errors.Is(err, syscall.EAGAIN) {
		d.came(0)
		d.release()
		return false
	}
	if err != nil {
		d.ioErr = err
		return true
	}
	d.pending = d.buf[:n]
	d.came(n)
	d.earn(n)
	return true
}

func (d *direction) write(fd int) bool {
	for len(d.pending) > 0 {
		n, err := reactor.Write(fd, d.pending)
		if errors.Is(err, syscall.EAGAIN) {
			return false
		}
		if err != nil {
			d.ioErr = err
			return true
		}
		d.accept(n)
	}
	return true
}

// earn keeps the account that decides between copying and splicing.
func (d *direction) earn(n int) {
	if n < streamChunk {
		d.credit /= 2
		return
	}
	d.credit = min(d.credit+n, 2*streamAfter)
}

// release gives back what a parked direction does not need.
func (d *direction) release() {
	d.dropBuffer()
	if d.pipe != nil {
		d.t.group.pipes.Release(d.pipe, d.piped == 0)
		d.pipe, d.piped = nil, 0
	}
}

func (d *direction) dropBuffer() {
	if d.buf != nil {
		d.t.group.buffers.Put(d.buf)
		d.buf = nil
	}
}
