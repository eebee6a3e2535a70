package dnsserver

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/bounds"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/fair"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// connections are the open ones, and who has the places for them.
type connections struct {
	draining atomic.Bool // no more questions are read
	places   fair.Places

	mu   sync.Mutex
	open map[*conn]struct{}
}

// init sets how many there may be.
func (c *connections) init(most int) {
	c.places.InitSources(most, &bounds.DNSQuestions)
	c.open = map[*conn]struct{}{}
}

// add adds a connection, that of its client.
func (c *connections) add(added *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open[added] = struct{}{}
}

// remove takes it out.
func (c *connections) remove(ended *conn) {
	c.places.Release(&ended.place)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, ended)
}

// drain ends the reading of all connections.
func (c *connections) drain() {
	c.draining.Store(true)
	c.mu.Lock()
	defer c.mu.Unlock()
	for one := range c.open {
		_ = one.SetReadDeadline(time.Unix(1, 0))
	}
}

// close closes all connections.
func (c *connections) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for one := range c.open {
		_ = one.Close()
	}
}

// acquire gives a connection a place of its client's. Where that has its share, the
// connection that has been idle longest is closed: one of the client's, or of whoever has
// most.
func (s *Server) acquire(c *conn) bool {
	out, ok := s.conns.places.Acquire(&c.place, fair.CallerOf("", c.client.Addr()), c)
	if out.Happened() {
		s.metrics.refused.WithLabelValues(out.Cause()).Inc()
		out.CarryOut()
		s.crowding.Add(out.Caller)
	}
	return ok
}

// Evict implements fair.Owner: a newer connection needs the place.
func (c *conn) Evict(verdict.Reason) { _ = c.Close() }
