package dnsserver

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// connections are the open ones, in all and by client.
type connections struct {
	draining atomic.Bool // no more questions are read

	mu        sync.Mutex
	most      int
	perClient int
	open      map[net.Conn]struct{}
	clients   map[netip.Addr]int
}

// init sets the limits.
func (c *connections) init(most, perClient int) {
	c.most, c.perClient = most, perClient
	c.open, c.clients = map[net.Conn]struct{}{}, map[netip.Addr]int{}
}

// add adds a connection; false: there are too many.
func (c *connections) add(raw net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) >= c.most {
		return false
	}
	c.open[raw] = struct{}{}
	return true
}

// remove takes it out.
func (c *connections) remove(raw net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, raw)
}

// acquire gives a connection to a client; false: it has too many.
func (c *connections) acquire(client netip.Addr) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.clients[client] >= c.perClient {
		return false
	}
	c.clients[client]++
	return true
}

// release takes it back.
func (c *connections) release(client netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.clients[client]--; c.clients[client] == 0 {
		delete(c.clients, client)
	}
}

// drain ends the reading of all connections.
func (c *connections) drain() {
	c.draining.Store(true)
	c.mu.Lock()
	defer c.mu.Unlock()
	for raw := range c.open {
		_ = raw.SetReadDeadline(time.Unix(1, 0))
	}
}

// close closes all connections.
func (c *connections) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for raw := range c.open {
		_ = raw.Close()
	}
}
