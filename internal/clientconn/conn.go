package clientconn

import (
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/admission"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/httphead"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/reactor"
)

const (
	// HeadBuffer is the room that a head gets at first; nearly all fit.
	HeadBuffer = 4 << 10
	// idleBuffer is the room that a connection has which waits for its next request; most
	// heads fit.
	idleBuffer = 512
	// keepAlive is how long a connection may wait for its next request.
	keepAlive = 60 * time.Second
	// keepAliveRefused is that time behind a request that was refused: who tries again does
	// so at once, and what was refused is no reason to hold a place for a minute.
	keepAliveRefused = 5 * time.Second
)

// Conn is one client connection until it is closed or becomes a tunnel. One goroutine,
// or event loop, serves it.
type Conn struct {
	net.Conn // what requests are read from: TCP, or TLS over it

	Client      netip.AddrPort  // as the PROXY header says, else the peer
	Certificate []string        // names of the verified client certificate; nil: none was shown
	Chain       *identity.Chain // of that; nil: none was shown, or it was not verified
	Reused      bool            // a request has been served on it
	Refused     bool            // the last one was refused, and the connection is kept

	stream   reactor.Stream // reads and writes Conn
	raw      net.Conn       // as it was accepted; the one field that others than its goroutine use
	set      *Set
	buf      *[]byte // pooled; what has been read and not been consumed; nil: nothing
	preAuth  bool    // its caller is not known, and it holds a place for that
	entry    admission.PreAuthEntry
	listed   bool                // has an entry among those of its source, or had one until it was evicted
	balanced bool                // its PROXY header has been read
	loop     admission.Evictable // what evicts it, where an event loop has it, or had; nil: a goroutine began
	idle     *admission.Usage    // the function for which it may wait for a next request; nil: it may not
	taken    bool                // a tunnel owns the connection now
	quiet    atomic.Bool         // it waits for its next request, with nothing under way
}

// Read reads what was buffered first, then from the connection.
func (c *Conn) Read(p []byte) (int, error) {
	if c.buf != nil && len(*c.buf) > 0 {
		n := copy(p, *c.buf)
		c.Consume(n)
		return n, nil
	}
	return c.stream.Read(p)
}

// Write implements net.Conn. One goroutine at a time may write.
func (c *Conn) Write(p []byte) (int, error) { return c.stream.Write(p) }

// Consume drops the first n bytes of the buffer.
func (c *Conn) Consume(n int) {
	b := *c.buf
	*c.buf = b[:copy(b, b[n:])]
}

// Unread puts bytes back in front of what is buffered.
func (c *Conn) Unread(b []byte) {
	if len(b) == 0 {
		return
	}
	own := c.buffer()
	*own = append(append(make([]byte, 0, len(b)+len(*own)), b...), *own...)
}

// buffer returns the buffer, a new one where there is none.
func (c *Conn) buffer() *[]byte {
	if c.buf == nil {
		c.buf = c.set.buffers.Get().(*[]byte)
	}
	return c.buf
}

// Buffered returns what has been read and not been consumed.
func (c *Conn) Buffered() []byte {
	if c.buf == nil {
		return nil
	}
	return *c.buf
}

// Unfilled returns where the next bytes of the connection go, for who reads them by itself
// and says with Filled how many have come. Empty: the buffer is full.
func (c *Conn) Unfilled() []byte {
	b := *c.buffer()
	return b[len(b):cap(b)]
}

// Filled says how many bytes of Unfilled have been read.
func (c *Conn) Filled(n int) { *c.buf = (*c.buf)[:len(*c.buf)+n] }

// Rebuffer calls read, which reads on behind what is buffered and returns all of it,
// in a larger buffer where it needs one.
func (c *Conn) Rebuffer(read func(b []byte) []byte) {
	before := *c.buffer()
	all := read(before)
	if cap(all) != cap(before) {
		c.Free()
		c.buf = &all
	}
	*c.buf = all
}

// Free gives the buffer back to the pool.
func (c *Conn) Free() {
	if c.buf != nil {
		switch cap(*c.buf) {
		case HeadBuffer:
			*c.buf = (*c.buf)[:0]
			c.set.buffers.Put(c.buf)
		case idleBuffer:
			*c.buf = (*c.buf)[:0]
			c.set.idleBuffers.Put(c.buf)
		}
	}
	c.buf = nil
}

// Identified gives back the place that a connection has until its caller is known.
func (c *Conn) Identified() {
	if c.preAuth {
		c.preAuth = false
		c.Unlist()
		c.set.conns.ReleasePreAuth()
	}
}

// TakeKeepAlive reports whether the connection may wait for its next request, now that one
// of the function has been answered. One that may goes on to count to the function until
// it is closed, or answers another one's request.
func (c *Conn) TakeKeepAlive(u *admission.Usage) bool {
	if c.idle != u {
		c.releaseKeepAlive()
		if u != nil && u.AcquireKeepAlive() {
			c.idle = u
		}
	}
	return c.idle != nil
}

// releaseKeepAlive gives back what TakeKeepAlive took.
func (c *Conn) releaseKeepAlive() {
	if c.idle != nil {
		c.idle.ReleaseKeepAlive()
		c.idle = nil
	}
}

// AwaitNext sets the time for the next request of a connection that has had one.
func (c *Conn) AwaitNext() {
	c.Reused = true
	wait := keepAlive
	if c.Refused {
		wait, c.Refused = keepAliveRefused, false
	}
	if len(c.Buffered()) == 0 {
		c.Free()
		c.buf = c.set.idleBuffers.Get().(*[]byte)
	}
	_ = c.SetReadDeadline(time.Now().Add(wait))
	c.quiet.Store(true)
}

// OnLoop says that an event loop has the connection, and what evicts it there.
func (c *Conn) OnLoop(e admission.Evictable) { c.loop = e }

// Attach gives a connection that an event loop had to a goroutine, with a net.Conn.
func (c *Conn) Attach(client net.Conn) {
	c.Conn, c.raw = client, client
	c.stream.Init(client)
	if !c.set.track(c) {
		_ = client.Close()
	}
}

// Attached reports whether Attach has been called.
func (c *Conn) Attached() bool { return c.raw != nil }

// ToTunnel ends the connection's time here: a tunnel has its socket from now on, and gives
// its place back by [Set.Release].
func (c *Conn) ToTunnel() {
	c.taken = true
	c.Free()
	c.set.untrack(c)
}

// IsTunnel reports whether a tunnel has the connection.
func (c *Conn) IsTunnel() bool { return c.taken }

// Served says that an event loop no longer has the connection, because a tunnel has it.
func (c *Conn) Served() { c.set.serving.Done() }

// Abandon lets go of a connection whose socket an event loop has closed.
func (c *Conn) Abandon() {
	c.Identified()
	c.Free()
	c.set.conns.Release()
	c.set.serving.Done()
}

// Finish closes the connection, unless a tunnel has it, and gives back all that it has.
// It is called once, by the goroutine that serves it.
func (c *Conn) Finish() {
	c.Identified()
	c.Free()
	if !c.taken {
		_ = c.Close()
		c.set.conns.Release()
	}
	c.releaseKeepAlive()
	c.set.untrack(c)
	c.set.serving.Done()
}

// Abort resets the connection: an orderly end, or TLS's close_notify, would make what
// has been sent look whole.
func (c *Conn) Abort() {
	if t, ok := c.raw.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.raw.Close()
}

// ReadHead reads until the empty line that ends a head, within the deadline that is set
// and the bytes that are allowed. One empty line before it is ignored. The error is
// httphead.ErrTooLarge, ErrMalformed, or one of the connection.
func (c *Conn) ReadHead() (string, error) {
	defer c.quiet.Store(false)
	if err := c.skipEmptyLine(); err != nil {
		return "", err
	}
	seen := 0
	for {
		b := *c.buf
		if n := httphead.End(b, seen); n > 0 {
			raw := string(b[:n])
			c.Consume(n)
			if n > c.set.opt.HeaderBytes {
				return "", httphead.ErrTooLarge
			}
			return raw, nil
		}
		if len(b) >= c.set.opt.HeaderBytes {
			return "", httphead.ErrTooLarge
		}
		if httphead.CannotBeHTTP(b, seen) {
			return "", httphead.ErrMalformed
		}
		seen = len(b)
		if err := c.readMore(); err != nil {
			return "", err
		}
	}
}

// skipEmptyLine ignores one empty line, and reads until it is clear whether there is one.
func (c *Conn) skipEmptyLine() error {
	for {
		n, partial := httphead.EmptyLine(*c.buffer())
		c.Consume(n)
		if !partial {
			return nil
		}
		if err := c.readMore(); err != nil {
			return err
		}
	}
}

// readMore reads once behind what is buffered, into a larger buffer where there is no room.
func (c *Conn) readMore() error {
	b := *c.buf
	switch {
	case len(b) < cap(b):
	case cap(b) == idleBuffer:
		larger := c.set.buffers.Get().(*[]byte)
		b = append(*larger, b...)
		c.Free()
		c.buf = larger
	default:
		larger := append(make([]byte, 0, 2*cap(b)), b...)
		b = larger
		c.Free()
		c.buf = &larger
	}
	n, err := c.stream.Read(b[len(b):cap(b)])
	*c.buf = b[:len(b)+n]
	if n == 0 && err != nil {
		return err
	}
	return nil
}
