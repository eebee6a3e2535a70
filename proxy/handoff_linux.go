package proxy

import (
	"context"
	"net"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/reactor"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/tunnel"
)

// finish takes the set-up off its loop.
func (s *connectOp) finish() {
	s.stage = stageGone
	delete(s.worker.ops, s)
}

// closeOrigin closes the socket to the origin.
func (s *connectOp) closeOrigin() {
	if s.origin >= 0 {
		s.worker.loop.Detach(s.origin)
		reactor.Close(s.origin)
		s.origin = -1
	}
}

// abort closes both sockets. What has been recorded as opened is recorded as
// ended.
func (s *connectOp) abort(why tunnel.Cause) {
	if s.stage == stageGone {
		return
	}
	opened := s.stage == stageHello
	if s.stage == stageDialing {
		s.c.server.dials.End(s.key())
	}
	s.finish()
	s.closeOrigin()
	s.worker.loop.Detach(s.client)
	reactor.Close(s.client)
	s.c.identified()
	s.c.free()
	switch {
	case opened:
		s.x.ended(tunnel.Result{Ended: why})
	case s.x != nil:
		s.x.release()
	}
	s.c.server.conns.Release()
	s.c.server.serving.Done()
}

// timedOut sends what has waited for too long on to a goroutine.
func (s *connectOp) timedOut() {
	switch s.stage {
	case stageHead:
		s.handOffUnread()
	case stageDialing:
		fd := s.origin
		s.worker.loop.Unwatch(fd)
		s.origin = -1
		s.dialElsewhere(func(ctx context.Context) (net.Conn, error) { return reactor.Connected(ctx, fd) })
	case stageHello:
		s.handOffOpened()
	}
}

// handOffUnread goes on in a goroutine as if the connection had just been
// accepted, with what has been read of it.
func (s *connectOp) handOffUnread() {
	c, until := s.c, s.since.Add(s.c.server.opt.Limits.HeaderTimeout)
	s.handOff(func() {
		_ = c.SetReadDeadline(until)
		c.serveRequests(nil)
	})
}

// handOffOpened goes on in a goroutine behind the 200.
func (s *connectOp) handOffOpened() {
	fd := s.origin
	run := &connectRun{exchange: s.x, open: true, until: s.since.Add(s.c.server.opt.Limits.HelloTimeout)}
	s.worker.loop.Unwatch(fd)
	s.origin = -1
	s.handOff(func() {
		run.origin = reactor.Conn(fd)
		run.run()
	})
}

// handOff goes on in a goroutine, with a net.Conn for the client.
func (s *connectOp) handOff(next func()) {
	c := s.c
	s.finish()
	if s.watched {
		s.worker.loop.Unwatch(s.client)
	}
	client := reactor.Conn(s.client)
	c.Conn, c.raw = client, client
	if !c.server.track(c) {
		_ = client.Close()
	}
	go func() {
		defer c.served()
		next()
	}()
}
