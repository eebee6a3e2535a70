package clientconn

// Unlist ends the counting: the connection has said something, and gets its
// answer, however long that takes. It returns false where the connection has
// been evicted before, so that nothing is answered that nobody can read.
func (c *Conn) Unlist() bool {
	if !c.listed {
		return true
	}
	c.listed = false
	return c.set.preAuth.Remove(&c.entry)
}

// List counts the connection to its source, or to the load balancer that has yet to name
// that. What has asked nothing gets no record, so a connection that is evicted is counted,
// and the log names a source.
func (c *Conn) List() {
	c.listed = true
	if c.AwaitsProxyHeader() {
		c.set.preAuth.AddBehind(&c.entry, c, c.Client.Addr())
		return
	}
	if out := c.set.preAuth.Add(&c.entry, c, c.Client.Addr()); out != nil {
		out.Evict()
	}
}

// Evict implements admission.Evictable.
func (c *Conn) Evict() {
	if c.loop != nil {
		c.loop.Evict()
		return
	}
	c.EvictUnlessHeard()
}

// EvictUnlessHeard closes a connection that a goroutine serves and that has lost its
// place, unless it has spoken since.
func (c *Conn) EvictUnlessHeard() {
	if c.CountEviction() {
		go c.raw.Close() // it waits until who reads has had a turn, and an event loop must not
	}
}

// CountEviction reports whether a connection that has lost its place may be closed: it
// has not spoken since. Then it counts as evicted.
func (c *Conn) CountEviction() bool {
	evicted := c.set.preAuth.Evict(&c.entry)
	if evicted {
		c.set.opt.Evicted.Inc()
	}
	return evicted
}

// Listed reports whether the connection counts to its source, or did until it was evicted.
func (c *Conn) Listed() bool { return c.listed }
