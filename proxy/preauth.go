package proxy

import (
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/admission"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// unlist ends the counting: the connection has said something, and gets its
// answer, however long that takes. It returns false where the connection has
// been evicted before, so that nothing is answered that nobody can read.
func (c *conn) unlist() bool {
	if !c.listed {
		return true
	}
	c.listed = false
	return c.server.preAuth.Remove(&c.entry)
}

// list counts the connection to its source. What has asked nothing gets no
// record, so a connection that is evicted is counted, and the log names a source.
func (c *conn) list() {
	c.listed = true
	if out := c.server.preAuth.Add(&c.entry, c, c.client.Addr()); out != nil {
		out.Evict()
	}
}

// Evict implements admission.Evictable.
func (c *conn) Evict() {
	if c.onLoop != nil {
		c.onLoop.evict()
		return
	}
	c.evictUnlessHeard()
}

// evictUnlessHeard closes a connection that a goroutine serves and that has lost its
// place, unless it has spoken since.
func (c *conn) evictUnlessHeard() {
	if c.server.preAuth.Evict(&c.entry, c.client.Addr()) {
		c.server.metrics.evicted.Inc()
		_ = c.raw.Close()
	}
}

// takeKeepAlive reports whether the connection may wait for its next request. One that
// may goes on to count until it is closed.
func (c *conn) takeKeepAlive() bool {
	if !c.idle {
		c.idle = c.server.keepAlive.Acquire()
	}
	return c.idle
}

// releaseKeepAlive gives back what takeKeepAlive took.
func (c *conn) releaseKeepAlive() {
	if c.idle {
		c.idle = false
		c.server.keepAlive.Release()
	}
}

// memGuardReader reads a connection of which the beginning fits the buffer that
// every connection has. It gives no more than that while memory runs short: many
// can be let in while they hold little, and grow at the same time; and no more than its
// function may hold.
type memGuardReader struct {
	x     *exchange
	read  int
	grown bool // what is more than usual is counted
}

// Read implements io.Reader.
func (r *memGuardReader) Read(p []byte) (int, error) {
	c := r.x.conn
	if r.read+len(c.buffered()) >= headBuffer {
		if c.server.memory.ShortNow() {
			c.server.metrics.shed.WithLabelValues(admission.ShedMemory).Inc()
			return 0, &admission.LimitError{Reason: verdict.ReasonLimitTotal}
		}
		if !r.grown {
			if !c.server.slots.Grow(r.x.usage, admission.HelloBytes) {
				return 0, &admission.LimitError{Reason: verdict.ReasonLimitFunction}
			}
			r.grown, r.x.held = true, r.x.held+admission.HelloBytes
		}
	}
	n, err := c.Conn.Read(p)
	r.read += n
	return n, err
}
