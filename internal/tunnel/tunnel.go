// Package tunnel moves bytes between two connections until both directions have ended.
//
// It dials nothing, reads no protocol, decides nothing and writes no record: whoever starts a tunnel has
// judged it already, and is told once how it ended and how many bytes went each way.
//
// A server makes one [Group] and runs its sweeper; each judged pair of connections is handed to [Group.Start],
// which returns at once, so that the stack of the goroutine that did the handshake can be freed:
//
//	group := tunnel.New(tunnel.Options{Idle: 330 * time.Second, Lifetime: 12 * time.Hour})
//	go func() { defer close(stopped); group.Run(ctx) }()
//	…
//	group.Start(tunnel.Params{Client: client, Origin: origin, Prefix: hello, Done: func(r tunnel.Result) { … }})
//
// What a tunnel holds depends on what it does. Each direction is one goroutine with a shallow stack. While
// there is nothing to read it is parked on the socket with no buffer and no pipe: an idle tunnel is two
// descriptors. Data that arrives is read and written through a pooled buffer; a direction that streams is moved by
// splice(2) through a pooled pipe, which is given back whenever the source runs dry. Splicing needs Linux; the
// parking needs a *net.TCPConn; any other net.Conn (TLS, a pipe in a test) is copied with the same accounting.
//
// The limits cost nothing per read: the sweeper compares byte counters between two sweeps.
package tunnel

import (
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// Params are the two connections of one tunnel and what goes with them. Client, Origin and Done are required.
type Params struct {
	// Client and Origin are closed by the tunnel, and belong to it from Start on. Deadlines that are set on them
	// are cleared. A *net.TCPConn is cheap; hand over the bare connection, and as Prefix what a wrapper has read from it.
	Client, Origin net.Conn

	// Prefix is written to Origin before anything that is read from Client, and counts as moved up. The slice
	// must not be changed until Done. Nil: nothing was read ahead.
	Prefix []byte

	// Done is called exactly once, by a goroutine of the tunnel, after both directions have ended and both
	// connections are closed. The tunnel counts as open (Len, Wait) until Done returns.
	Done func(Result)

	// Value is what [Tunnel.Value] returns: whatever the owner needs to judge the tunnel again.
	Value any
}

// Tunnel is one pair of connections that is being served. Its methods may be called from any goroutine, at any
// time, after its end too.
type Tunnel struct {
	group          *Group
	client, origin end
	up, down       direction
	done           func(Result)
	attached       any
	started        time.Time

	state   atomic.Uint32              // a state; see the constants
	onLoop  atomic.Pointer[loopTunnel] // nil: each direction has a goroutine
	running atomic.Int32               // directions that have not ended
	dead    atomic.Int64               // 1 + the bytes moved up when a sweep found it dead; zero: none has

	slot         int       // index in group.live; guarded by group.mu
	seenUp       int64     // bytes moved up at the last sweep; the sweeper's alone
	seenDown     int64     // the same, down
	active       time.Time // the sweep that last saw a byte move; the sweeper's alone
	keepAliveSet bool      // keepalive has been set; the sweeper's alone
}

// end is one of the two connections. raw is nil unless conn is a *net.TCPConn.
type end struct {
	conn net.Conn
	raw  syscall.RawConn
}

// A tunnel's state is stateOpen, or 1 + the Cause that stands so far, or stateOver.
const (
	stateOpen uint32 = 0
	stateOver uint32 = 1 << 8
)

// longAgo is a deadline that wakes whatever waits on a connection, now and from now on.
func longAgo() time.Time { return time.Unix(1, 0) }

// Start takes the two connections over and returns at once. In a group whose Run has ended the tunnel ends as
// Shutdown without moving what it has not moved yet; Done is called in that case too.
func (g *Group) Start(p Params) *Tunnel {
	now := time.Now()
	t := &Tunnel{group: g, done: p.Done, attached: p.Value, started: now, active: now}
	t.client.setConn(p.Client)
	t.origin.setConn(p.Origin)
	t.up.init(t, &t.client, &t.origin, Client)
	t.down.init(t, &t.origin, &t.client, Origin)
	t.up.prefix = p.Prefix
	t.running.Store(2)
	if !g.add(t) {
		t.End(Shutdown)
	}
	go t.up.run()
	go t.down.run()
	return t
}

// setConn makes conn this end, free of the deadlines of the handshake before it.
func (e *end) setConn(conn net.Conn) {
	_ = conn.SetDeadline(time.Time{})
	e.setRaw(conn)
}

// setRaw makes conn this end, with its deadlines.
func (e *end) setRaw(conn net.Conn) {
	e.conn = conn
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	if raw, err := tcp.SyscallConn(); err == nil {
		e.raw = raw
	}
}

// keepAlive makes the kernel probe both peers. A connection that is closed meanwhile, or no TCP, needs none.
func (t *Tunnel) keepAlive(c net.KeepAliveConfig) {
	if l := t.onLoop.Load(); l != nil {
		l.keepAliveLater(c)
		return
	}
	t.keepAliveConns(c)
}

// keepAliveConns is keepAlive where each direction has a goroutine.
func (t *Tunnel) keepAliveConns(c net.KeepAliveConfig) {
	for _, e := range [...]*end{&t.client, &t.origin} {
		if tcp, ok := innermost(e.conn).(*net.TCPConn); ok {
			_ = tcp.SetKeepAliveConfig(c)
		}
	}
}

// innermost returns what is below all layers of a connection: the socket below TLS, also where TLS is not right above it.
func innermost(c net.Conn) net.Conn {
	for {
		layer, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return c
		}
		c = layer.NetConn()
	}
}

// Value returns what the owner gave with the tunnel.
func (t *Tunnel) Value() any { return t.attached }

// Bytes returns what has been written to the origin (up) and to the client (down) so far.
func (t *Tunnel) Bytes() (up, down int64) { return t.up.moved.Load(), t.down.moved.Load() }

// End ends the tunnel with cause Idle, Lifetime, Revoked or Shutdown (anything else counts as Error) and returns
// without waiting: Done follows when both directions have noticed. It reports whether this call ended the tunnel;
// the first End wins over a later one, and over an orderly close of one side that the other has not followed yet.
func (t *Tunnel) End(cause Cause) bool {
	if cause < Idle || cause > Shutdown {
		cause = Error
	}
	for {
		now := t.state.Load()
		if now != stateOpen && now != stateOf(Client) && now != stateOf(Origin) {
			return false
		}
		if t.state.CompareAndSwap(now, stateOf(cause)) {
			t.abort()
			return true
		}
	}
}

func stateOf(c Cause) uint32 { return uint32(c) + 1 }

// setCause records that c happened, unless something has happened before it.
func (t *Tunnel) setCause(c Cause) { t.state.CompareAndSwap(stateOpen, stateOf(c)) }

// abort makes both directions return. It sets deadlines and does not close: closing a TLS connection may wait for
// its peer, and the caller may be the sweeper.
func (t *Tunnel) abort() {
	if l := t.onLoop.Load(); l != nil {
		l.abortLater()
		return
	}
	t.abortConns()
}

// abortConns is abort where each direction has a goroutine.
func (t *Tunnel) abortConns() {
	for _, e := range [...]*end{&t.client, &t.origin} {
		if err := e.conn.SetDeadline(longAgo()); err != nil {
			_ = e.conn.Close()
		}
	}
}

// directionEnded is called by each direction as its last act; err is nil after an orderly end of its source.
// The second one closes both connections and tells the owner.
func (t *Tunnel) directionEnded(d *direction, err error) {
	d.err = err
	if err != nil {
		t.setCause(Error)
		t.abort()
	} else {
		t.setCause(d.side)
		if t.running.Load() == 2 {
			t.forwardEOF(d)
		}
	}
	if t.running.Add(-1) == 0 {
		t.finish()
	}
}

// forwardEOF tells dst that no more will come, and ends the tunnel where that cannot be said without closing altogether.
func (t *Tunnel) forwardEOF(d *direction) {
	c, ok := d.dst.conn.(interface{ CloseWrite() error })
	if ok {
		if d.err = c.CloseWrite(); d.err == nil {
			return
		}
	}
	t.abort()
}

// finish runs once, when nothing else of the tunnel runs any more.
func (t *Tunnel) finish() {
	cause := Cause(t.state.Swap(stateOver) - 1)
	r := Result{Ended: cause, Duration: time.Since(t.started)}
	r.Up, r.Down = t.Bytes()
	r.Err = failure(cause, t.up.err, t.down.err)
	r.DeadReuse = t.reused(r.Up)
	// A stream that was cut off in the middle must not look to its reader like one that came to its end.
	abort := r.Err != nil || t.up.undelivered+t.down.undelivered > 0
	if l := t.onLoop.Load(); l != nil {
		l.close(abort)
	} else {
		t.client.close(abort)
		t.origin.close(abort)
	}
	t.done(r)
	t.group.remove(t)
}

// close closes the connection, with abort by a reset that also drops what the kernel has not sent yet.
func (e *end) close(abort bool) {
	if abort {
		inner := innermost(e.conn) // TLS would say goodbye first, which is what an orderly end looks like
		if socket, ok := inner.(interface{ SetLinger(sec int) error }); ok {
			_ = socket.SetLinger(0)
		}
		if inner != e.conn {
			_ = inner.Close()
		}
	}
	_ = e.conn.Close()
}
