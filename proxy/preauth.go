package proxy

import (
	"errors"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/admission"
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

// makeRoom has the oldest silent connection of whoever has most evicted where the places
// of the unidentified are taken. False: there is room, or none is silent.
func (s *Server) makeRoom() bool {
	if !s.conns.Crowded() {
		return false
	}
	out := s.preAuth.MakeRoom()
	if out != nil {
		out.Evict()
	}
	return out != nil
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

// errShortOfMemory ends what would take more memory while there is too little.
var errShortOfMemory = errors.New("memory runs short")

// errOverShare ends what would take more memory than its function may hold.
var errOverShare = errors.New("the function holds its share of the memory")

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
			return 0, errShortOfMemory
		}
		if !r.grown && !c.server.slots.Grow(r.x.usage, admission.HelloBytes) {
			return 0, errOverShare
		}
		if !r.grown {
			r.grown = true
			r.x.held += admission.HelloBytes
		}
	}
	n, err := c.Conn.Read(p)
	r.read += n
	return n, err
}
