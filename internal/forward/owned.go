package forward

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// ownOrigins are the connections to origins that belong to one client connection
// and one function. NTLM and Negotiate authenticate the connection and not the
// request (RFC 4559, section 6): whoever is given it afterwards is taken for the
// one who did. So from the first such request on, a client connection has
// connections to origins of its own, and they end with it.
type ownOrigins struct {
	function string
	pool     string // tells them apart from those of everybody else

	mu     sync.Mutex
	closed bool
	conns  map[*originConn]struct{}
}

// poolOf returns whose connections to origins the request may use: those of its
// function, or of its client connection alone, which are returned too then.
func (x *plainRequest) poolOf(h http.Header) (pool string, own *ownOrigins) {
	c := x.client
	if c.own != nil && c.own.function != x.Event.Function {
		c.own.close() // another function calls on the same connection
		c.own = nil
	}
	if c.own == nil && authenticatesConnection(h) {
		n := c.server.owners.Add(1)
		c.own = &ownOrigins{
			function: x.Event.Function, pool: x.Event.Function + "@" + strconv.FormatUint(n, 10),
			conns: map[*originConn]struct{}{},
		}
	}
	if c.own != nil {
		return c.own.pool, c.own
	}
	return x.Event.Function, nil
}

// add takes a connection; false: the client connection has ended.
func (o *ownOrigins) add(c *originConn) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return false
	}
	o.conns[c] = struct{}{}
	return true
}

// remove forgets a connection that is closed.
func (o *ownOrigins) remove(c *originConn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.conns, c)
}

// close ends the connections; o may be nil.
func (o *ownOrigins) close() {
	if o == nil {
		return
	}
	o.mu.Lock()
	o.closed = true
	conns := o.conns
	o.conns = nil
	o.mu.Unlock()
	for c := range conns {
		_ = c.Conn.Close()
	}
}

// authenticatesConnection reports whether a request's credentials are for the
// connection it is sent on.
func authenticatesConnection(h http.Header) bool {
	for _, v := range h["Authorization"] {
		scheme, _, _ := strings.Cut(v, " ")
		if strings.EqualFold(scheme, "NTLM") || strings.EqualFold(scheme, "Negotiate") {
			return true
		}
	}
	return false
}
