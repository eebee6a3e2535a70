package proxy

import (
	"context"
	"net"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/reactor"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/tunnel"
)

// finish takes the set-up off its lane.
func (s *setup) finish() {
	s.stage = stageGone
	delete(s.lane.setups, s)
}

// closeOrigin closes the socket to the origin.
func (s *setup) closeOrigin() {
	if s.origin >= 0 {
		s.lane.loop.Detach(s.origin)
		reactor.Close(s.origin)
		s.origin = -1
	}
}

// drop closes both sockets. What has been recorded as opened is recorded as
// ended.
func (s *setup) drop(why tunnel.Cause) {
	if s.stage == stageGone {
		return
	}
	opened := s.stage == stageHello
	if s.stage == stageDialing {
		s.c.server.dialing.end(s.key())
	}
	s.finish()
	s.closeOrigin()
	s.lane.loop.Detach(s.client)
	reactor.Close(s.client)
	s.c.identified()
	s.c.free()
	switch {
	case opened:
		s.x.ended(tunnel.Result{Ended: why})
	case s.x != nil:
		s.x.settle()
	}
	<-s.c.server.seats
	s.c.server.serving.Done()
}

// tooSlow sends what has waited for too long on to a goroutine.
func (s *setup) tooSlow() {
	switch s.stage {
	case stageHead:
		s.leaveUnread()
	case stageDialing:
		fd := s.origin
		s.lane.loop.Unwatch(fd)
		s.origin = -1
		s.dialElsewhere(func(ctx context.Context) (net.Conn, error) { return reactor.Connected(ctx, fd) })
	case stageHello:
		s.leaveOpened()
	}
}

// leaveUnread goes on in a goroutine as if the connection had just been
// accepted, with what has been read of it.
func (s *setup) leaveUnread() {
	c, until := s.c, s.since.Add(s.c.server.opt.Limits.HeaderTimeout)
	s.leave(func() {
		_ = c.SetReadDeadline(until)
		c.serveRequests(nil)
	})
}

// leaveOpened goes on in a goroutine behind the 200.
func (s *setup) leaveOpened() {
	x, fd, until := s.x, s.origin, s.since.Add(s.c.server.opt.Limits.HelloTimeout)
	s.lane.loop.Unwatch(fd)
	s.origin = -1
	s.leave(func() { x.inspect(reactor.Conn(fd), until) })
}

// leave goes on in a goroutine, with a net.Conn for the client.
func (s *setup) leave(next func()) {
	c := s.c
	s.finish()
	if s.watched {
		s.lane.loop.Unwatch(s.client)
	}
	client := reactor.Conn(s.client)
	c.Conn, c.raw = client, client
	if !c.server.keep(c) {
		_ = client.Close()
	}
	go func() {
		defer c.served()
		next()
	}()
}
