package connect

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/admission"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egress"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/exchange"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/reactor"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/tunnel"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// An event loop takes the CONNECTs that nothing is wrong with, and that need not wait
// long for anything, from accept to tunnel: no goroutine, no net.Conn and no timer each.
// The steps are those of package gate. Whatever is refused, malformed, slow, not a
// CONNECT or unusual leaves the loop for a goroutine (connectOp.handOff) and goes on
// there where its decision stands, in connect.go: a loop has no code for refusing, and
// no deadlines.

const (
	// loopWait is how long a set-up may wait in an event loop for a connect(2) or a
	// ClientHello; it is the delay after which another address is tried.
	loopWait = egress.AttemptDelay
	// maxLoops bounds the loops: each connection wakes all that are asleep.
	maxLoops = 8
	// acceptAtOnce is how many connections are accepted before others have a
	// turn.
	acceptAtOnce = 16
	// recordAtOnce is how many permits are written together.
	recordAtOnce = 64
)

// eventLoop is one loop and what is set up on it. All of it is the loop's alone.
type eventLoop struct {
	server    *Server
	loop      *reactor.Loop
	listeners map[int]*loopListener
	ops       map[*connectOp]struct{}
	connected []*connectOp      // wait for their record
	recording bool              // record has some of them
	permits   chan []*connectOp // to the goroutine record
	closing   bool
}

// loopListener is a listener as one loop sees it. Serve keeps it open.
type loopListener struct {
	worker *eventLoop
	raw    syscall.RawConn
	fd     int
	closed bool // not watched: there is no room for more of the unidentified
}

// loops returns the server's loops, made and started by the first call; none
// where there is no epoll.
func (s *Server) loops() []*eventLoop {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != nil || s.Conns.Closed() {
		return s.running
	}
	for range min(runtime.GOMAXPROCS(0), maxLoops) {
		loop, err := reactor.New()
		if err != nil {
			s.Log.Warn("no event loop; each connection has goroutines instead", "error", err)
			break
		}
		l := &eventLoop{server: s, loop: loop, listeners: map[int]*loopListener{}, ops: map[*connectOp]struct{}{}, permits: make(chan []*connectOp, 1)}
		loop.AfterPoll(l.recordReady)
		s.running = append(s.running, l)
		go loop.Run()
		go l.record()
	}
	return s.running
}

// Serve serves a plain TCP listener by event loops, until it is closed. It returns
// false where that cannot be; then nothing has been accepted.
func (s *Server) Serve(ln net.Listener, tlsConfig *tls.Config) bool {
	tcp, ok := ln.(*net.TCPListener)
	if !ok || tlsConfig != nil {
		return false
	}
	raw, err := tcp.SyscallConn()
	loops := s.loops()
	if err != nil || len(loops) == 0 {
		return false
	}
	for _, l := range loops {
		l.loop.Post(func() { l.add(raw) })
	}
	ticker := time.NewTicker(loopWait)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-s.Base.Done():
			return true
		}
		if raw.Control(func(uintptr) {}) != nil {
			return true // the caller has closed it
		}
		for _, l := range loops {
			l.loop.Post(l.sweep)
		}
	}
}

// Looping reports whether Serve has begun to accept on loops.
func (s *Server) Looping() bool { return len(s.started()) > 0 }

// Closing reports whether every loop has been told to end what it sets up.
func (s *Server) Closing() bool {
	loops := s.started()
	all := len(loops) > 0
	for _, l := range loops {
		told := make(chan bool)
		if l.loop.Post(func() { told <- l.closing }) {
			all = <-told && all
		}
	}
	return all
}

// started returns the loops that have been started.
func (s *Server) started() []*eventLoop {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running
}

// add watches a listener.
func (l *eventLoop) add(raw syscall.RawConn) {
	d := &loopListener{worker: l, raw: raw, closed: true}
	_ = raw.Control(func(fd uintptr) { d.fd = int(fd) })
	l.listeners[d.fd] = d
	d.open()
}

// open watches the listener again.
func (d *loopListener) open() {
	if !d.closed || d.worker.closing {
		return
	}
	// Control keeps the descriptor from being closed and used by another.
	_ = d.raw.Control(func(fd uintptr) {
		d.closed = d.worker.loop.Watch(int(fd), reactor.Readable|reactor.Shared, d) != nil
	})
}

// Ready implements reactor.Handler: it accepts what is there.
func (d *loopListener) Ready(int, reactor.Events) {
	l := d.worker
	for range acceptAtOnce {
		if !l.server.Conns.TryAcquire() {
			d.shut()
			if again := func() { l.loop.Post(d.open) }; l.server.Conns.MakeRoom() {
				again() // behind the end of whoever has to go
			} else {
				time.AfterFunc(admission.Grace, again)
			}
			return
		}
		fd, from, err := d.accept()
		if err != nil {
			l.server.Conns.Return()
			d.failed(err)
			return
		}
		if c := l.server.Conns.AddSocket(from); c != nil {
			l.server.Conns.MakeRoom()
			l.begin(c, fd)
			continue
		}
		l.server.Conns.Return()
		reactor.Close(fd)
	}
}

// accept accepts one connection.
func (d *loopListener) accept() (fd int, from netip.AddrPort, err error) {
	closed := d.raw.Control(func(ln uintptr) { fd, from, err = reactor.Accept(int(ln)) })
	if closed != nil {
		return -1, from, closed
	}
	return fd, from, err
}

// failed is told why nothing was accepted. Where descriptors or memory have run
// out the next sweep tries again: what is open will close.
func (d *loopListener) failed(err error) {
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ECONNABORTED), errors.Is(err, unix.EINTR):
		return
	case errors.Is(err, net.ErrClosed):
		delete(d.worker.listeners, d.fd)
		return
	}
	d.worker.server.Log.Warn("accepting a connection failed, retrying", "error", err, "pause", loopWait)
	d.shut()
}

// shut stops watching the listener, until open.
func (d *loopListener) shut() {
	d.closed = true
	_ = d.raw.Control(func(uintptr) { d.worker.loop.Unwatch(d.fd) })
}

// sweep opens listeners that had to be closed, and sends what has waited longer
// than loopWait on to goroutines, which have deadlines and other addresses.
func (l *eventLoop) sweep() {
	for _, d := range l.listeners {
		d.open()
	}
	now := time.Now()
	for s := range l.ops {
		if now.Sub(s.since) >= loopWait {
			s.withRecover(s.timedOut)
		}
	}
}

// Sweep sweeps the loops: where Serve has returned, because the caller has
// closed its listener, nobody else does.
func (s *Server) Sweep() {
	for _, l := range s.started() {
		l.loop.Post(l.sweep)
	}
}

// recordReady gives the set-ups whose origin has answered to record, many at once.
func (l *eventLoop) recordReady() {
	if l.recording || len(l.connected) == 0 {
		return
	}
	l.recording = true
	n := min(len(l.connected), recordAtOnce)
	l.permits <- append([]*connectOp(nil), l.connected[:n]...)
	l.connected = append(l.connected[:0], l.connected[n:]...)
}

// record writes the records of permits. It is a goroutine because an output may
// make it wait, and the loop must not.
func (l *eventLoop) record() {
	for permits := range l.permits {
		all := make([]*exchange.Exchange, len(permits))
		for i, s := range permits {
			all[i] = s.x
		}
		n, err := l.server.RecordOpened(all)
		l.loop.Post(func() {
			l.recording = false
			l.recorded(permits[:n], nil)
			l.recorded(permits[n:], err)
		})
	}
}

// recorded goes on with permits that have been recorded, or could not be.
func (l *eventLoop) recorded(permits []*connectOp, err error) {
	for _, s := range permits {
		s.x.Recorded(err)
		s.withRecover(func() { s.permitted(err) })
	}
}

// close ends what is being set up, and has recorded what was refused so; tunnels
// go on.
func (l *eventLoop) close() {
	l.closing = true
	for _, d := range l.listeners {
		d.shut()
	}
	clear(l.listeners)
	for s := range l.ops {
		switch s.stage {
		case stageRecording: // record posts it back, and then it ends
		case stageDialing:
			s.worker.server.Dials.End(s.x.DialKey())
			s.closeOrigin()
			s.refuse(verdict.ReasonDraining)
		default:
			s.abort(tunnel.Shutdown)
		}
	}
}

// Close ends what is being set up on the loops, and returns when that is done. The set
// of connections has to be closed before.
func (s *Server) Close() {
	for _, l := range s.started() {
		done := make(chan struct{})
		if l.loop.Post(func() { l.close(); close(done) }) {
			<-done
		}
	}
}

// Stop ends the loops: nothing is set up and no tunnel is open any more.
func (s *Server) Stop() {
	for _, l := range s.started() {
		l.loop.Close()
		l.loop.Wait()
		close(l.permits)
	}
}
