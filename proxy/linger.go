package proxy

import (
	"container/list"
	"net/netip"
	"sync"
	"time"
)

const (
	// lingerTime and lingerBytes bound how long a client that has its last reply may
	// go on sending before the connection is cut.
	lingerTime  = 2 * time.Second
	lingerBytes = 1 << 20
	// lingerBuffer is what its bytes are thrown away from; it is held by each.
	lingerBuffer = 512
	// mostLingering bounds the share of one caller.
	mostLingering = 256
)

// lingering is the connections that have had their last reply and that their client
// has not closed yet, by caller. One caller gets a share; who comes beyond it takes
// the place of that caller's oldest, which is cut: it has had the longest time to
// read its reply.
type lingering struct {
	share int

	mu      sync.Mutex
	callers map[lingerer]*list.List // of *conn, from the oldest to the newest
}

// lingerer is whom a lingering connection counts to: the function where it is
// known, else the source.
type lingerer struct {
	function string
	source   netip.Addr
}

// init gives each caller a sixteenth of the places for connections.
func (l *lingering) init(seats int) {
	l.share = max(min(seats/16, mostLingering), 1)
	l.callers = map[lingerer]*list.List{}
}

// enter adds a connection, and returns its place and the one that has to go for
// it, nil if none.
func (l *lingering) enter(k lingerer, c *conn) (at *list.Element, out *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.callers[k]
	if all == nil {
		all = list.New()
		l.callers[k] = all
	}
	if all.Len() >= l.share {
		out = all.Remove(all.Front()).(*conn)
	}
	return all.PushBack(c), out
}

// leave takes a connection out, unless it had to go before.
func (l *lingering) leave(k lingerer, at *list.Element) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.callers[k]
	if all == nil {
		return
	}
	all.Remove(at) // does nothing where it is not in the list
	if all.Len() == 0 {
		delete(l.callers, k)
	}
}

// lingerer returns whom the connection counts to when it lingers.
func (c *conn) lingerer() lingerer {
	if c.current != nil && c.current.event.Function != "" {
		return lingerer{function: c.current.event.Function}
	}
	return lingerer{source: sourceOf(c.client.Addr())}
}

// closeAfterReply ends a connection so that the client can read the reply
// whole: it says that no more will come, then takes what the client still
// sends, for a bounded time and size, because closing with unread input would
// reset the connection and destroy the reply (RFC 9112, section 9.6).
func (c *conn) closeAfterReply() {
	if cw, ok := c.Conn.(interface{ CloseWrite() error }); !ok || cw.CloseWrite() != nil {
		return
	}
	c.free()
	who := c.lingerer()
	at, out := c.server.lingering.enter(who, c)
	defer c.server.lingering.leave(who, at)
	if out != nil {
		c.server.metrics.cut.Inc()
		_ = out.raw.Close()
	}
	_ = c.SetReadDeadline(time.Now().Add(lingerTime))
	room := make([]byte, lingerBuffer)
	for taken := 0; taken < lingerBytes; {
		n, err := c.Conn.Read(room)
		taken += n
		if err != nil {
			return
		}
	}
}
