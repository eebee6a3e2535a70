package proxy

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/reactor"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/tunnel"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// A lane takes the CONNECTs that nothing is wrong with, and that need not wait
// long for anything, from accept to tunnel on an event loop: no goroutine, no
// net.Conn and no timer each. The steps are those of exchange.go, called in the
// same order. Whatever is refused, malformed, slow, no CONNECT or unusual leaves
// the lane for a goroutine (setup.leave) and goes on there where it stands, in
// connect.go: a lane has no code for refusing, and no deadlines.

const (
	// patience is how long a set-up may wait in a lane for a connect(2) or a
	// ClientHello; it is the delay after which another address is tried.
	patience = attemptDelay
	// maxLanes bounds the loops: each connection wakes all that are asleep.
	maxLanes = 8
	// acceptAtOnce is how many connections are accepted before others have a
	// turn.
	acceptAtOnce = 16
	// recordAtOnce is how many permits are written together.
	recordAtOnce = 64
)

// lane is one loop and what is set up on it. All of it is the loop's alone.
type lane struct {
	server    *Server
	loop      *reactor.Loop
	doors     map[int]*door
	setups    map[*setup]struct{}
	connected []*setup      // wait for their record
	recording bool          // record has some of them
	permits   chan []*setup // to the goroutine record
	closing   bool
}

// door is a listener as one lane sees it. Serve keeps it open.
type door struct {
	lane   *lane
	raw    syscall.RawConn
	fd     int
	closed bool // not watched: there is no room for more of the unidentified
}

// lanes returns the server's lanes, made and started by the first call; none
// where there is no epoll.
func (s *Server) lanes() []*lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != nil || s.closed {
		return s.running
	}
	for range min(runtime.GOMAXPROCS(0), maxLanes) {
		loop, err := reactor.New()
		if err != nil {
			s.log.Warn("no event loop; each connection has goroutines instead", "error", err)
			break
		}
		l := &lane{server: s, loop: loop, doors: map[int]*door{}, setups: map[*setup]struct{}{}, permits: make(chan []*setup, 1)}
		loop.AfterPoll(l.turn)
		s.running = append(s.running, l)
		go loop.Run()
		go l.record()
	}
	return s.running
}

// serveLanes serves a plain TCP listener by the lanes. It returns false where
// that cannot be; then nothing has been accepted.
func (s *Server) serveLanes(ln net.Listener, tlsConfig *tls.Config) bool {
	tcp, ok := ln.(*net.TCPListener)
	if !ok || tlsConfig != nil {
		return false
	}
	raw, err := tcp.SyscallConn()
	lanes := s.lanes()
	if err != nil || len(lanes) == 0 {
		return false
	}
	for _, l := range lanes {
		l.loop.Post(func() { l.add(raw) })
	}
	tick := time.NewTicker(patience)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.base.Done():
			return true
		}
		if raw.Control(func(uintptr) {}) != nil {
			return true // the caller has closed it
		}
		for _, l := range lanes {
			l.loop.Post(l.sweep)
		}
	}
}

// add watches a listener.
func (l *lane) add(raw syscall.RawConn) {
	d := &door{lane: l, raw: raw, closed: true}
	_ = raw.Control(func(fd uintptr) { d.fd = int(fd) })
	l.doors[d.fd] = d
	d.open()
}

// open watches the listener again.
func (d *door) open() {
	if !d.closed || d.lane.closing {
		return
	}
	// Control keeps the descriptor from being closed and used by another.
	_ = d.raw.Control(func(fd uintptr) {
		d.closed = d.lane.loop.Watch(int(fd), reactor.Readable|reactor.Shared, d) != nil
	})
}

// Ready implements reactor.Handler: it accepts what is there.
func (d *door) Ready(int, reactor.Events) {
	l := d.lane
	for range acceptAtOnce {
		if !l.server.trySit() {
			d.shut()
			return
		}
		fd, from, err := d.accept()
		if err != nil {
			l.server.rise()
			d.failed(err)
			return
		}
		if c := l.server.laneConn(from); c != nil {
			l.begin(c, fd)
			continue
		}
		l.server.rise()
		reactor.Close(fd)
	}
}

// accept accepts one connection.
func (d *door) accept() (fd int, from netip.AddrPort, err error) {
	closed := d.raw.Control(func(ln uintptr) { fd, from, err = reactor.Accept(int(ln)) })
	if closed != nil {
		return -1, from, closed
	}
	return fd, from, err
}

// failed is told why nothing was accepted. Where descriptors or memory have run
// out the next sweep tries again: what is open will close.
func (d *door) failed(err error) {
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ECONNABORTED), errors.Is(err, unix.EINTR):
		return
	case errors.Is(err, net.ErrClosed):
		delete(d.lane.doors, d.fd)
		return
	}
	d.lane.server.log.Warn("accepting a connection failed, retrying", "error", err, "pause", patience)
	d.shut()
}

// shut stops watching the listener, until open.
func (d *door) shut() {
	d.closed = true
	_ = d.raw.Control(func(uintptr) { d.lane.loop.Unwatch(d.fd) })
}

// laneConn counts a connection that a lane has accepted; nil: Close has been
// called.
func (s *Server) laneConn(from netip.AddrPort) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.serving.Add(1)
	return &conn{server: s, client: from, unidentified: true}
}

// sweep opens doors that had to be closed, and sends what has waited longer
// than patience on to goroutines, which have deadlines and other addresses.
func (l *lane) sweep() {
	for _, d := range l.doors {
		d.open()
	}
	now := time.Now()
	for s := range l.setups {
		if now.Sub(s.since) >= patience {
			s.guard(s.tooSlow)
		}
	}
}

// sweepLanes sweeps the lanes: where Serve has returned, because the caller has
// closed its listener, nobody else does.
func (s *Server) sweepLanes() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.running {
		l.loop.Post(l.sweep)
	}
}

// turn gives the set-ups whose origin has answered to record, many at once.
func (l *lane) turn() {
	if l.recording || len(l.connected) == 0 {
		return
	}
	l.recording = true
	n := min(len(l.connected), recordAtOnce)
	l.permits <- append([]*setup(nil), l.connected[:n]...)
	l.connected = append(l.connected[:0], l.connected[n:]...)
}

// record writes the records of permits. It is a goroutine because an output may
// make it wait, and the loop must not.
func (l *lane) record() {
	for permits := range l.permits {
		events := make([]*audit.Event, len(permits))
		for i, s := range permits {
			events[i] = &s.x.event
		}
		n, err := l.server.opt.Audit.RecordAll(events)
		l.loop.Post(func() {
			l.recording = false
			l.recorded(permits[:n], nil)
			l.recorded(permits[n:], err)
		})
	}
}

// recorded goes on with permits that have been recorded, or could not be.
func (l *lane) recorded(permits []*setup, err error) {
	for _, s := range permits {
		s.x.recorded(err)
		s.guard(func() { s.permitted(err) })
	}
}

// close ends what is being set up, and has recorded what was refused so; tunnels
// go on.
func (l *lane) close() {
	l.closing = true
	for _, d := range l.doors {
		d.shut()
	}
	clear(l.doors)
	for s := range l.setups {
		switch s.stage {
		case stageRecording: // record posts it back, and then it ends
		case stageDialing:
			s.c.server.dialing.end(s.key())
			s.closeOrigin()
			s.refuse(verdict.ReasonDraining)
		default:
			s.drop(tunnel.Shutdown)
		}
	}
}

// closeLanes ends what is being set up on the lanes, and returns when that is
// done.
func (s *Server) closeLanes() {
	s.mu.Lock()
	lanes := s.running
	s.mu.Unlock()
	for _, l := range lanes {
		done := make(chan struct{})
		if l.loop.Post(func() { l.close(); close(done) }) {
			<-done
		}
	}
}

// stopLanes ends the loops: nothing is set up and no tunnel is open any more.
func (s *Server) stopLanes() {
	s.mu.Lock()
	lanes := s.running
	s.mu.Unlock()
	for _, l := range lanes {
		l.loop.Close()
		l.loop.Wait()
		close(l.permits)
	}
}
