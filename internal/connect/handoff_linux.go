package connect

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
		s.worker.server.Dials.End(s.x.DialKey())
	}
	s.finish()
	s.closeOrigin()
	s.worker.loop.Detach(s.client)
	reactor.Close(s.client)
	switch {
	case opened:
		s.x.Ended(tunnel.Result{Ended: why})
	case s.x != nil:
		s.x.Release()
	}
	s.c.Abandon()
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
	s.attach()
	_ = s.c.SetReadDeadline(s.since.Add(s.worker.server.Limits.HeaderTimeout))
	go s.worker.server.serve(s.c)
}

// handOffOpened goes on in a goroutine behind the 200.
func (s *connectOp) handOffOpened() {
	fd := s.origin
	run := s.run()
	run.open, run.until = true, s.since.Add(s.worker.server.Limits.HelloTimeout)
	s.worker.loop.Unwatch(fd)
	s.origin = -1
	s.handOff(func() {
		run.origin = reactor.Conn(fd)
		run.run()
	})
}

// run returns what goes on with the exchange in a goroutine.
func (s *connectOp) run() *connectRun { return &connectRun{Exchange: s.x, server: s.worker.server} }

// handOff goes on in a goroutine.
func (s *connectOp) handOff(next func()) {
	s.attach()
	server, c, x := s.worker.server, s.c, s.x
	go func() {
		defer server.Finish(c, &x)
		next()
	}()
}

// attach takes the set-up off its loop, with a net.Conn for the client.
func (s *connectOp) attach() {
	s.finish()
	if s.watched {
		s.worker.loop.Unwatch(s.client)
	}
	s.c.Attach(reactor.Conn(s.client))
}
