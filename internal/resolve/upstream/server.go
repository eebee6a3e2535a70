package upstream

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

const (
	// firstRTO is how long a server of which nothing is known has before it is late.
	firstRTO = 376 * time.Millisecond
	// leastRTO and mostRTO bound what has been measured.
	leastRTO, mostRTO = 50 * time.Millisecond, time.Second
	// plainFor is how long a server is asked without EDNS that has refused it.
	plainFor = time.Hour
)

// server is one server and what is known of it. Times are by Pool.Now.
type server struct {
	addr   netip.AddrPort
	series *series

	down     atomic.Int64 // 0, or since when it is known not to answer
	owing    atomic.Int64 // 0, or since when it has been asked and has answered nothing
	answered atomic.Int64 // when it has last answered anything; 0: never
	probeAt  atomic.Int64 // when it is to be probed again
	plain    atomic.Int64 // until when it is asked without EDNS

	mu       sync.Mutex
	rtt, dev time.Duration // smoothed (RFC 6298, section 2); 0: not known
	backoff  uint          // how often patience has been doubled since
}

// state is where a server stands among the others.
type state uint8

const (
	up     state = iota
	mute         // it answers, but not the question
	behind       // it owes an answer, or is down
)

// state returns how the server is at now.
func (s *server) state(now time.Duration) state {
	if s.down.Load() != 0 {
		return behind
	}
	if owes := s.owes(now); owes > 0 && owes >= 2*s.rto() {
		return behind
	}
	return up
}

// owes returns for how long the server has been asked and has answered nothing.
func (s *server) owes(now time.Duration) time.Duration {
	since := s.owing.Load()
	if since == 0 {
		return 0
	}
	return now - time.Duration(since)
}

// due reports whether the server is to be probed at now, to one caller alone.
func (s *server) due(now time.Duration) bool {
	at := s.probeAt.Load()
	return int64(now) >= at && s.probeAt.CompareAndSwap(at, int64(now+ProbeEvery))
}

// rto returns how long an answer may take before it is late.
func (s *server) rto() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := firstRTO
	if s.rtt != 0 {
		p = s.rtt + 4*s.dev
	}
	return min(max(p, leastRTO)<<s.backoff, mostRTO)
}

// measured takes in how long an answer took. What was sent more than once tells nothing,
// and has the next ones wait longer (RFC 6298, sections 3 and 5).
func (s *server) measured(took time.Duration, again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case again:
		s.backoff = min(s.backoff+1, 4)
		return
	case s.rtt == 0:
		s.rtt, s.dev = max(took, 1), took/2
	default:
		s.dev += ((s.rtt - took).Abs() - s.dev) / 4
		s.rtt = max(s.rtt+(took-s.rtt)/8, 1)
	}
	s.backoff = 0
}

// query puts a question to a server, again without EDNS where it refuses that, and takes in
// what that shows of the server. It is sent again when it has had that much time.
func (p *Pool) query(ctx context.Context, s *server, q Question, again time.Duration) (*dns.Msg, error) {
	began := p.Now()
	s.owing.CompareAndSwap(0, max(int64(began), 1))
	t := Try{Server: s.addr, Question: q, Plain: int64(began) < s.plain.Load(), Again: again}
	reply, err := p.Query(ctx, t)
	if err == nil && !t.Plain && refusesEDNS(reply) {
		t.Plain = true
		if reply, err = p.Query(ctx, t); err == nil && !refusesEDNS(reply) {
			s.plain.Store(int64(p.Now() + plainFor))
		}
	}
	took := p.Now() - began
	s.series.observe(ctx, reply, err, took)
	switch {
	case err == nil:
		s.measured(took, took >= again)
		p.answers(s, q)
	case local(err):
		s.owing.CompareAndSwap(max(int64(began), 1), 0) // it has not been asked
	case took >= DownAfter, timedOut(err) && timedOut(ctx.Err()):
		p.unanswered(s, q, began)
	case ctx.Err() == nil:
		p.fails(s, err)
	}
	return reply, err
}

// answers remembers that a server has answered a question.
func (p *Pool) answers(s *server, q Question) {
	s.answered.Store(max(int64(p.Now()), 1))
	s.owing.Store(0)
	s.probeAt.Store(0)
	p.mutes.remove(s, q)
	if s.down.Load() != 0 && s.down.Swap(0) != 0 {
		p.Logger.Info("upstream answers again", slog.String("upstream", s.addr.String()))
	}
}

// unanswered remembers that a server has not answered a question since it was asked: that it
// is down, or where it has answered others that it is silent about this one.
func (p *Pool) unanswered(s *server, q Question, began time.Duration) {
	now := p.Now()
	switch {
	case s.answered.Load() >= max(int64(began), 1):
		p.mutes.add(s, q, now)
	case now-began >= DownAfter:
		p.fails(s, ErrTimeout)
	}
}

// fails remembers that a server is down. Log lines are for changes, not for each question.
func (p *Pool) fails(s *server, err error) {
	now := p.Now()
	s.probeAt.CompareAndSwap(0, int64(now+ProbeEvery))
	if s.down.Swap(max(int64(now), 1)) == 0 {
		p.Logger.Warn("upstream fails", slog.String("upstream", s.addr.String()), slog.Any("error", err))
	}
}

// conclusive reports whether reply is an answer, and not a server's excuse: a failure, or
// a referral to other servers, which is what one gives who does not look names up.
func conclusive(reply *dns.Msg) bool {
	return reply.Rcode == dns.RcodeNameError || reply.Rcode == dns.RcodeSuccess && !referral(reply)
}

// referral reports whether a reply has nothing but the names of other servers.
func referral(reply *dns.Msg) bool {
	if len(reply.Answer) > 0 || len(reply.Ns) == 0 {
		return false
	}
	for _, rr := range reply.Ns {
		if _, ok := rr.(*dns.NS); !ok {
			return false
		}
	}
	return true
}

// refusesEDNS reports whether reply is what a server says that does not know EDNS (RFC
// 6891, section 7).
func refusesEDNS(reply *dns.Msg) bool {
	return reply.Rcode == dns.RcodeFormatError || reply.Rcode == dns.RcodeNotImplemented || reply.Rcode == dns.RcodeBadVers
}

// timedOut reports whether err is an upstream's silence, and not its refusal.
func timedOut(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
}

// own are the errors of a machine that lacks something of its own to ask with:
// descriptors, ports, kernel memory, the leave to send.
var own = [...]syscall.Errno{
	syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL, syscall.EAGAIN, syscall.EACCES, syscall.EPERM,
}

// local reports whether a try failed for what is wrong on our own side.
func local(err error) bool {
	for _, e := range own {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
