package origin

import (
	"container/list"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/bounds"
)

const (
	// idleTime is how long a connection waits for another request.
	idleTime = 30 * time.Second
	// perKey is how many of one owner to one address wait.
	perKey = 64
)

// Pool is the connections that wait for another request. NewPool makes one. Safe for
// concurrent use.
type Pool struct {
	max     int
	buffers sync.Pool // *[]byte of bufferSize
	bulk    sync.Pool // *[]byte of bulkSize

	mu     sync.Mutex
	closed bool
	idle   map[Key][]*Conn // the one that was given back last is the last
	order  list.List       // of all *Conn, the oldest first
}

// NewPool returns a pool for so many connections at most.
func NewPool(most int) *Pool {
	p := &Pool{max: most, idle: map[Key][]*Conn{}}
	p.buffers.New = func() any { b := make([]byte, 0, bufferSize); return &b }
	p.bulk.New = func() any { b := make([]byte, 0, bulkSize); return &b }
	return p
}

// Measure registers the gauges of the connections that wait.
func (p *Pool) Measure(reg prometheus.Registerer) {
	bounds.Measure(reg, "pooled", p.max, 0, func() int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.order.Len()
	})
}

// Add makes a Conn of one that has been dialed.
func (p *Pool) Add(c net.Conn, k Key) *Conn {
	o := &Conn{Conn: c, key: k, pool: p}
	o.stream.Init(c)
	if s, ok := c.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			o.raw, o.look = raw, o.lookAt
		}
	}
	return o
}

// Acquire returns a connection that waits; nil: there is none.
func (p *Pool) Acquire(k Key) *Conn {
	for {
		c := p.pop(k)
		if c == nil || c.idle() {
			return c
		}
		_ = c.Close()
	}
}

// pop takes the one out that was given back last.
func (p *Pool) pop(k Key) *Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.idle[k]
	if len(all) == 0 {
		return nil
	}
	c := all[len(all)-1]
	p.remove(c)
	return c
}

// Release gives a connection back whose answer has been read whole. Where there are too many
// the oldest is closed, of those with the same key or of all.
func (p *Pool) Release(c *Conn) {
	if len(c.Buffered()) > 0 { // bytes behind an answer are nobody's
		_ = c.Close()
		return
	}
	c.free()
	c.since = time.Now()
	if out := p.push(c); out != nil {
		_ = out.Close()
	}
}

// push takes a connection in and returns the one that has to go for it; nil: none.
func (p *Pool) push(c *Conn) (out *Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.max <= 0 {
		return c
	}
	switch all := p.idle[c.key]; {
	case len(all) >= perKey:
		out = all[0]
	case p.order.Len() >= p.max:
		out = p.order.Front().Value.(*Conn)
	}
	if out != nil {
		p.remove(out)
	}
	p.idle[c.key] = append(p.idle[c.key], c)
	c.place = p.order.PushBack(c)
	return out
}

// remove takes a connection out.
func (p *Pool) remove(c *Conn) {
	all := p.idle[c.key]
	if i := slices.Index(all, c); len(all) > 1 {
		p.idle[c.key] = slices.Delete(all, i, i+1)
	} else {
		delete(p.idle, c.key)
	}
	p.order.Remove(c.place)
}

// Sweep closes what has waited too long, and what its origin has ended.
func (p *Pool) Sweep(now time.Time) {
	p.mu.Lock()
	var out []*Conn
	for at := p.order.Front(); at != nil; {
		c := at.Value.(*Conn)
		at = at.Next()
		if now.Sub(c.since) >= idleTime || !c.idle() {
			p.remove(c)
			out = append(out, c)
		}
	}
	p.mu.Unlock()
	closeAll(out)
}

// Remove closes the connections of an owner to an address.
func (p *Pool) Remove(k Key) {
	p.mu.Lock()
	out := slices.Clone(p.idle[k])
	for _, c := range out {
		p.remove(c)
	}
	p.mu.Unlock()
	closeAll(out)
}

// Close closes all connections, and those that are given back from now on.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	var out []*Conn
	for at := p.order.Front(); at != nil; at = at.Next() {
		out = append(out, at.Value.(*Conn))
	}
	p.idle = map[Key][]*Conn{}
	p.order.Init()
	p.mu.Unlock()
	closeAll(out)
}

// closeAll closes connections.
func closeAll(all []*Conn) {
	for _, c := range all {
		_ = c.Close()
	}
}
