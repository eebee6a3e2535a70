package forward

import (
	"net/netip"
	"slices"
	"strconv"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/origin"
)

// ownOrigins are the connections to origins that belong to one client connection
// and one function. NTLM and Negotiate authenticate the connection and not the
// request (RFC 4559, section 6): whoever is given it afterwards is taken for the
// one who did. So from the first such request on, a client connection has
// connections to origins of its own, and they end with it.
type ownOrigins struct {
	function string
	owner    string           // tells them apart from those of everybody else
	to       []netip.AddrPort // where there have been any; those of its targets
	pool     *origin.Pool
}

// owner returns whose connections to origins the request may use: those of its
// function, or of its client connection alone.
func (x *plainRequest) owner() string {
	c := x.client
	if c.own != nil && c.own.function != x.Event.Function {
		c.own.close() // another function calls on the same connection
		c.own = nil
	}
	if c.own == nil && x.options.Authenticates {
		n := c.server.owners.Add(1)
		c.own = &ownOrigins{
			function: x.Event.Function, owner: x.Event.Function + "@" + strconv.FormatUint(n, 10), pool: c.server.pool,
		}
	}
	if c.own != nil {
		return c.own.owner
	}
	return x.Event.Function
}

// add remembers where a connection goes that will be given back.
func (o *ownOrigins) add(to netip.AddrPort) {
	if o != nil && !slices.Contains(o.to, to) {
		o.to = append(o.to, to)
	}
}

// close ends the connections; o may be nil.
func (o *ownOrigins) close() {
	if o == nil {
		return
	}
	for _, to := range o.to {
		o.pool.Remove(origin.Key{Owner: o.owner, To: to})
	}
}
