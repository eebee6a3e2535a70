package tunnel

import (
	"bytes"
	"errors"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/reactor"
)

// Sockets are the two ends of a tunnel as descriptors: connected TCP sockets that do not block, both watched by one loop.
// Done and Value are those of [Params]; Done is called on the loop's goroutine, or on the tunnel's own if it has left the loop.
type Sockets struct {
	// Client and Origin belong to the tunnel from StartOn on.
	Client, Origin int
	// ClientReady and OriginReady are what the loop has reported of them and nobody has read yet; zero: nothing.
	ClientReady, OriginReady reactor.Events

	Done  func(Result)
	Value any
}

// loopTunnel is a tunnel that has no goroutines: a loop moves what little there is to move. It holds no buffer between two
// events. What would have to wait for a socket that takes no more, and what streams, leaves the loop and
// goes on with a goroutine for each direction. All but abortLater and keepAliveLater is the loop's alone.
type loopTunnel struct {
	t                *Tunnel
	loop             *reactor.Loop
	client, origin   int
	upOver, downOver bool
}

// StartOn is Start for two sockets that a loop watches. It is called on the loop's goroutine.
func (g *Group) StartOn(loop *reactor.Loop, s Sockets) *Tunnel {
	now := time.Now()
	t := &Tunnel{group: g, done: s.Done, attached: s.Value, started: now, active: now}
	t.up.t, t.up.side = t, Client
	t.down.t, t.down.side = t, Origin
	l := &loopTunnel{t: t, loop: loop, client: s.Client, origin: s.Origin}
	t.onLoop.Store(l)
	loop.SetHandler(l.client, l)
	loop.SetHandler(l.origin, l)
	if !g.add(t) {
		t.End(Shutdown)
	}
	if s.ClientReady != 0 {
		l.Ready(l.client, s.ClientReady)
	}
	if s.OriginReady != 0 && t.onLoop.Load() == l && !l.ended() {
		l.Ready(l.origin, s.OriginReady)
	}
	return t
}

// ended reports whether finish has run.
func (l *loopTunnel) ended() bool { return l.t.state.Load() == stateOver }

// Ready implements reactor.Handler: it moves what the descriptor has to the other one.
func (l *loopTunnel) Ready(fd int, e reactor.Events) {
	if e&(reactor.Readable|reactor.HangUp) == 0 {
		return
	}
	if fd == l.client && !l.upOver {
		l.move(&l.t.up, l.client, l.origin, e)
	} else if fd == l.origin && !l.downOver {
		l.move(&l.t.down, l.origin, l.client, e)
	}
}

// move reads from src until there is no more and writes it to dst. A short read is the end of it, unless the event says
// that a FIN or a reset stands behind: what comes later raises a new event, because all of this event has been taken.
func (l *loopTunnel) move(d *direction, src, dst int, e reactor.Events) {
	b := l.loop.Buffer()
	for {
		n, err := reactor.Read(src, b[:])
		switch {
		case errors.Is(err, unix.EAGAIN):
			return
		case err != nil:
			l.fail(d, err)
			return
		case n == 0:
			l.forwardEOF(d, dst)
			return
		}
		sent, err := writeAll(dst, b[:n])
		d.moved.Add(int64(sent))
		d.earn(n)
		switch {
		case errors.Is(err, unix.EAGAIN):
			l.leaveLoop(d, bytes.Clone(b[sent:n]))
			return
		case err != nil:
			d.undelivered = n - sent
			l.fail(d, err)
			return
		case d.credit >= streamAfter:
			l.leaveLoop(d, nil)
			return
		case n < len(b) && e&reactor.HangUp == 0:
			return
		}
	}
}

// writeAll writes b, or as much of it as the socket takes.
func writeAll(fd int, b []byte) (n int, err error) {
	for n < len(b) {
		m, err := reactor.Write(fd, b[n:])
		if err != nil {
			return n, err
		}
		n += m
	}
	return n, nil
}

// forwardEOF tells dst that no more will come.
func (l *loopTunnel) forwardEOF(d *direction, dst int) {
	l.t.setCause(d.side)
	if d == &l.t.up {
		l.upOver = true
	} else {
		l.downOver = true
	}
	if l.upOver && l.downOver {
		l.t.finish()
		return
	}
	if d.err = reactor.CloseWrite(dst); d.err != nil {
		l.t.finish()
	}
}

// fail ends the tunnel after the failure of a socket.
func (l *loopTunnel) fail(d *direction, err error) {
	d.err = err
	l.t.setCause(Error)
	l.t.finish()
}

// leaveLoop goes on with a goroutine for each direction that has not ended; rest is what d has read and not written.
func (l *loopTunnel) leaveLoop(d *direction, rest []byte) {
	t := l.t
	l.loop.Unwatch(l.client)
	l.loop.Unwatch(l.origin)
	t.client.setConn(reactor.Conn(l.client))
	t.origin.setConn(reactor.Conn(l.origin))
	t.up.init(t, &t.client, &t.origin, Client)
	t.down.init(t, &t.origin, &t.client, Origin)
	d.prefix = rest
	t.onLoop.Store(nil)
	if !l.upOver && !l.downOver {
		t.running.Store(2)
	} else {
		t.running.Store(1)
	}
	if !l.upOver {
		go t.up.run()
	}
	if !l.downOver {
		go t.down.run()
	}
}

// close closes both sockets, with abort by a reset.
func (l *loopTunnel) close(abort bool) {
	for _, fd := range [...]int{l.client, l.origin} {
		if abort {
			_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		}
		l.loop.Detach(fd)
		reactor.Close(fd)
	}
}

// abortLater has the loop end the tunnel, whose state says why. A loop runs as long as one of its tunnels is open.
func (l *loopTunnel) abortLater() {
	l.loop.Post(func() {
		switch {
		case l.t.onLoop.Load() != l:
			l.t.abortConns()
		case !l.ended():
			l.t.finish()
		}
	})
}

// keepAliveLater has the loop set keepalive on both sockets.
func (l *loopTunnel) keepAliveLater(c net.KeepAliveConfig) {
	l.loop.Post(func() {
		switch {
		case l.t.onLoop.Load() != l:
			l.t.keepAliveConns(c)
		case !l.ended():
			for _, fd := range [...]int{l.client, l.origin} {
				_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
				_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, int(c.Idle.Seconds()))
				_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, int(c.Interval.Seconds()))
				_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, c.Count)
			}
		}
	})
}
