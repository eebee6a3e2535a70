package connect

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/clientconn"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egress"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/exchange"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/gate"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hello"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/httphead"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/reactor"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/tunnel"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// connectOp is one CONNECT on its way through an event loop.
type connectOp struct {
	worker         *eventLoop
	c              *clientconn.Conn
	x              *exchange.Exchange // nil until the head is read
	client, origin int                // descriptors; -1: none
	watched        bool               // client is
	stage          stage
	since          time.Time      // when it began to wait
	dialed         netip.AddrPort // where origin goes
	originReady    reactor.Events // told by the loop and left for the tunnel
	clientReady    reactor.Events
}

// stage is what a set-up waits for.
type stage uint8

const (
	stageHead      stage = iota // for the head of the request
	stageDialing                // for connect(2)
	stageRecording              // for its record
	stageHello                  // for the ClientHello
	stageGone                   // for nothing: it has left the loop, or ended
)

// begin takes a connection as far as it goes without waiting.
func (l *eventLoop) begin(c *clientconn.Conn, fd int) {
	s := &connectOp{worker: l, c: c, client: fd, origin: -1, since: time.Now()}
	c.OnLoop(s)
	l.ops[s] = struct{}{}
	s.withRecover(s.head)
}

// withRecover keeps a bug in one set-up from ending all others.
func (s *connectOp) withRecover(step func()) {
	defer func() {
		if p := recover(); p != nil {
			s.worker.server.Panicked(p)
			s.abort(tunnel.Error)
		}
	}()
	step()
}

// Ready implements reactor.Handler.
func (s *connectOp) Ready(fd int, e reactor.Events) {
	s.withRecover(func() {
		switch {
		case fd == s.origin && s.stage == stageDialing:
			s.dialEnded(e)
		case fd == s.origin:
			s.originReady |= e & (reactor.Readable | reactor.HangUp)
		case s.stage == stageHead:
			s.clientReady = e & reactor.HangUp
			s.head()
		case s.stage == stageHello:
			s.helloCame(e)
		default:
			s.clientReady |= e
		}
	})
}

// fill reads once from the client into its buffer. It returns false if nothing
// came, and then whether more can come. A full buffer is left as it is.
func (s *connectOp) fill() (got, open bool) {
	unfilled := s.c.Unfilled()
	if len(unfilled) == 0 {
		return true, true
	}
	n, err := reactor.Read(s.client, unfilled)
	if n > 0 {
		s.c.Filled(n)
		return true, true
	}
	return false, errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR)
}

// head reads the head of the request, and judges it if it is a CONNECT.
func (s *connectOp) head() {
	c := s.c
	got, open := s.fill()
	full := got && len(c.Unfilled()) == 0
	switch {
	case !got && !open:
		s.abort(tunnel.Client)
		return
	case !got:
		s.awaitHead()
		return
	case !s.proxyHeaderCut():
		s.handOffUnread() // it may go on
		return
	}
	if full {
		s.clientReady |= reactor.Readable // there may be more, and nobody will say so
	}
	s.headRead()
}

// proxyHeaderCut takes the PROXY header where there must be one; false: it is not whole.
// Behind it the connection counts to the source that it names.
func (s *connectOp) proxyHeaderCut() bool {
	c := s.c
	if !c.AwaitsProxyHeader() {
		return true
	}
	if c.CutProxyHeader() != nil {
		return false
	}
	c.Unlist() // a loop alone evicts what is on it, so it has not been
	return true
}

// headRead judges the request when all of its head is there.
func (s *connectOp) headRead() {
	c := s.c
	b := c.Buffered()
	n := httphead.End(b, 0)
	if n == 0 && s.clientReady == 0 && !httphead.CannotBeHTTP(b, 0) {
		s.awaitHead()
		return
	}
	if n == 0 || n > s.worker.server.Limits.HeaderBytes {
		s.handOffUnread()
		return
	}
	h, err := httphead.Parse(string(b[:n]))
	if err != nil || h.Method != http.MethodConnect {
		s.handOffUnread()
		return
	}
	c.Consume(n)
	c.Unlist() // a loop alone evicts what is on it, so it has not been
	s.x = s.worker.server.Begin(c, gate.Connect, h)
	s.advance()
}

// awaitHead waits for the rest of the head; until it is there the connection
// counts to those of its source, or of its load balancer, that have not shown who they are.
func (s *connectOp) awaitHead() {
	c := s.c
	// A head can come in many pieces; it counts once.
	if s.await(); s.stage == stageHead && !c.Listed() {
		c.List()
	}
}

// Evict implements admission.Evictable: it ends a set-up, or the connection that it has become, because newer
// ones of its source need the place. A head that has come meanwhile is answered.
func (s *connectOp) Evict() {
	s.worker.loop.Post(func() {
		switch {
		case s.stage == stageHead:
			s.withRecover(s.evictUnlessReady)
		case s.stage == stageGone && s.c.Attached():
			s.c.EvictUnlessHeard()
		}
	})
}

// evictUnlessReady takes a set-up that has lost its place to its answer if its head is
// there, and ends it if not. One whose source has become known meanwhile has another place.
func (s *connectOp) evictUnlessReady() {
	s.fill()
	switch known := s.proxyHeaderCut(); {
	case known && httphead.End(s.c.Buffered(), 0) > 0:
		s.headRead()
	case s.c.CountEviction():
		s.abort(tunnel.Client)
	default:
		s.awaitHead()
	}
}

// await waits for what the client sends next.
func (s *connectOp) await() {
	if !s.watched {
		s.watched = s.worker.loop.Watch(s.client, reactor.Readable, s) == nil
		if !s.watched {
			s.abort(tunnel.Error)
		}
	}
}

// advance brings what the decision needs, as far as nothing has to be waited for. What
// has to wait for a resolver, and every refusal, goes on in a goroutine.
func (s *connectOp) advance() {
	x := s.x
	switch x.Advance() {
	case gate.Token:
		s.handOff(s.run().run)
	case gate.Lookup:
		if !x.LookupNow() {
			s.handOff(s.run().run)
			return
		}
		s.advance()
	case gate.Dial:
		s.dial()
	case gate.Open:
		s.stage = stageRecording
		s.worker.connected = append(s.worker.connected, s)
	case gate.Hello:
		s.awaitHello()
	case gate.Tunnel:
		s.start()
	default:
		// The place is given back at once: many may be refused before their
		// goroutines have a turn.
		x.Release()
		s.handOff(x.SendRefusal)
	}
}

// refuse refuses for what the loop has found by itself.
func (s *connectOp) refuse(r verdict.Reason) {
	s.x.Refuse(r, nil)
	s.advance()
}

// dial begins to connect to the first address.
func (s *connectOp) dial() {
	s.since = time.Now()
	server := s.worker.server
	s.dialed = s.x.DialOrder()[0]
	if reason := server.Dials.Begin(s.x.DialKey()); reason != verdict.ReasonNone {
		s.refuse(s.x.NotDialed(reason))
		return
	}
	s.stage = stageDialing
	fd, err := egress.Start(s.dialed, s.x.Permits)
	if err == nil {
		s.origin = fd
		err = s.worker.loop.Watch(fd, reactor.Readable|reactor.Writable, s)
	}
	if err != nil {
		s.dialFailed(err)
	}
}

// dialEnded goes on when connect(2) has.
func (s *connectOp) dialEnded(e reactor.Events) {
	switch {
	case e&reactor.Failed != 0:
		s.dialFailed(reactor.ConnectError(s.origin))
		return
	case e&reactor.Writable == 0:
		return
	}
	s.originReady = e & (reactor.Readable | reactor.HangUp)
	x := s.x
	s.worker.server.Dials.End(x.DialKey())
	s.worker.server.Dialer.Worked(s.dialed)
	x.Event.Dialed = s.dialed
	s.worker.server.Metrics.Dialed(time.Since(s.since))
	x.Give(verdict.ReasonNone)
	s.advance()
}

// dialFailed has a goroutine try the other addresses.
func (s *connectOp) dialFailed(err error) {
	s.closeOrigin()
	s.dialElsewhere(func(context.Context) (net.Conn, error) { return nil, err })
}

// dialElsewhere goes on in a goroutine with an attempt that has begun.
func (s *connectOp) dialElsewhere(wait func(context.Context) (net.Conn, error)) {
	run := s.run()
	run.under = &egress.Inflight{To: s.dialed, Began: s.since, Wait: wait}
	s.handOff(run.run)
}

// permitted answers 200, or has a goroutine refuse what could not be recorded.
func (s *connectOp) permitted(err error) {
	switch {
	case err != nil:
		s.closeOrigin()
		s.refuse(verdict.ReasonAuditUnavailable)
		return
	case s.worker.closing:
		s.stage = stageHello // its record is written, so it has an end
		s.abort(tunnel.Error)
		return
	}
	s.stage, s.since = stageHello, time.Now()
	if n, err := reactor.Write(s.client, []byte(established)); err != nil || n < len(established) {
		s.abort(tunnel.Error)
		return
	}
	s.x.Answered()
	if s.await(); s.stage == stageGone {
		return
	}
	s.x.Give(verdict.ReasonNone)
	s.advance()
}

// awaitHello reads the ClientHello if it has come, and waits for it if not.
func (s *connectOp) awaitHello() {
	switch early := s.clientReady; {
	case len(s.c.Buffered()) > 0:
		s.inspect()
	case early != 0:
		s.helloCame(early)
	}
}

// helloCame reads what the client has sent.
func (s *connectOp) helloCame(e reactor.Events) {
	got, open := s.fill()
	switch {
	case !got && !open:
		s.abort(tunnel.Client)
		return
	case !got:
		return
	}
	s.clientReady = e & reactor.HangUp
	if len(s.c.Unfilled()) == 0 {
		s.clientReady |= reactor.Readable
	}
	s.inspect()
}

// inspect checks the ClientHello. What it does not like, a goroutine reads again and
// gives to the decision.
func (s *connectOp) inspect() {
	x := s.x
	var p hello.Parser
	h, err := p.Parse(s.c.Buffered())
	if errors.Is(err, hello.ErrIncomplete) && s.clientReady == 0 {
		return
	}
	if err != nil || !h.Matches(x.Target.Host.String()) {
		s.handOffOpened()
		return
	}
	x.GiveHello(h, nil)
	s.advance()
}

// start forwards what the client has sent already, and starts the tunnel.
func (s *connectOp) start() {
	early := s.c.Buffered()
	if len(early) > 0 {
		n, err := reactor.Write(s.origin, early)
		if err != nil || n < len(early) {
			s.abort(tunnel.Error) // a socket that has just connected takes more than this
			return
		}
	}
	s.finish()
	sent := int64(len(early))
	server := s.worker.server
	server.startedTunnel(s.x, sent, func(o *exchange.Open, done func(tunnel.Result)) *tunnel.Tunnel {
		return server.tunnels.StartOn(s.worker.loop, tunnel.Sockets{
			Client: s.client, Origin: s.origin, ClientReady: s.clientReady, OriginReady: s.originReady,
			Done: done, Value: o,
		})
	})
	s.x.Recycle()
	s.x = nil
	s.c.Served()
}
