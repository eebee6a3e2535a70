// Package upstream puts DNS questions to upstream servers: in their order, over UDP,
// and over TCP where that cannot carry the answer, past those that do not answer.
//
// What is known of a server is used before it is paid for again: one that owes an answer
// is asked behind the others, one that has none for a name behind the others for that
// name, one that does not know EDNS without it. A server that is slow is not waited for:
// the next one is asked beside it. What fails on our own side is held against no server.
//
// An answer is believed when it comes from the asked address and port over the
// question's own socket, and repeats its random id and its question byte for byte.
//
// What it does not do: it keeps no answer, follows no CNAME, and merges no questions.
//
//	t := &upstream.Transport{}
//	p := &upstream.Pool{Query: t.Query, Logger: logger, Now: now, Metrics: upstream.NewMetrics(reg)}
//	p.Set(servers)
//	reply, err := p.Exchange(ctx, upstream.Question{Name: "api.stripe.com", Type: dns.TypeA}, 0)
package upstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// What went wrong with a question, to be matched with errors.Is.
var (
	// ErrTimeout: no server answered in time.
	ErrTimeout = errors.New("no answer in time")
	// ErrMute is the ErrTimeout of servers that answer other questions: it is the name
	// that they are silent about, which is worth remembering.
	ErrMute = fmt.Errorf("the upstreams answer other questions: %w", ErrTimeout)
	// ErrFailed: servers could not be reached, answered SERVFAIL or the like, or
	// sent what cannot be used.
	ErrFailed = errors.New("lookup failed")
	// ErrAnswered is the ErrFailed of servers that did answer, with a failure. It
	// is worth remembering for a moment.
	ErrAnswered = fmt.Errorf("the upstreams' answer is no use: %w", ErrFailed)
	// ErrLocal is the ErrFailed of a machine that lacks descriptors, ports or memory to
	// ask with. It says nothing of the name, nor of the servers.
	ErrLocal = fmt.Errorf("this machine cannot ask: %w", ErrFailed)
)

const (
	// ProbeEvery is how often one question tries a server that does not answer, beside
	// those that do.
	ProbeEvery = 5 * time.Second
	// DownAfter is how long a server that is asked may be silent before it counts as down.
	DownAfter = 2 * time.Second
	// probeFor is how long a probe waits for an answer.
	probeFor = DownAfter + time.Second
	// mostBeside is how many servers one question waits for at once.
	mostBeside = 3
)

// Question is one question of class IN. The name is canonical: lower case, no final
// dot.
type Question struct {
	Name   string
	Type   uint16
	DNSSEC bool // signatures are asked for
}

// Try is one question to one server.
type Try struct {
	Server   netip.AddrPort
	Question Question
	Plain    bool          // without EDNS
	Again    time.Duration // over UDP it is sent again after so long without an answer, then after twice that, and so on
}

// Pool is the servers that are asked. Query, Logger, Now and Metrics are required; Set is
// called before Exchange, and again when the servers change. Its methods may be called
// from many goroutines.
type Pool struct {
	// Query puts a question to one server, and waits for its answer until the context
	// ends: Transport.Query, save in tests whose clock is not the network's.
	Query func(context.Context, Try) (*dns.Msg, error)
	// Logger hears about servers, never about names.
	Logger *slog.Logger
	// Now is a monotonic clock.
	Now func() time.Duration
	// Metrics are told what the servers do.
	Metrics *Metrics
	// Extra has room for each question at a server beside another one; nil: there are
	// none. It bounds sockets.
	Extra chan struct{}
	// Own reports whether an address is one that this program answers at itself, which
	// would ask itself. Nil: none is.
	Own func(netip.AddrPort) bool

	servers atomic.Pointer[[]*server]
	probes  sync.WaitGroup
	mutes   mutes
}

// Set replaces the servers. What is known of those that stay is kept; one that is the
// program itself is left out.
func (p *Pool) Set(addrs []netip.AddrPort) {
	var before []*server
	if old := p.servers.Load(); old != nil {
		before = *old
	}
	known := func(addr netip.AddrPort, in []*server) *server {
		for _, s := range in {
			if s.addr == addr {
				return s
			}
		}
		return nil
	}
	servers := make([]*server, 0, len(addrs))
	for _, addr := range addrs {
		switch s := known(addr, before); {
		case known(addr, servers) != nil:
		case p.Own != nil && p.Own(netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())):
			p.Logger.Warn("an upstream is this program itself, and is not asked", slog.String("upstream", addr.String()))
		case s != nil:
			servers = append(servers, s)
		default:
			servers = append(servers, &server{addr: addr, series: p.Metrics.of(addr)})
		}
	}
	p.servers.Store(&servers)
	p.Metrics.watch(servers, p.Now)
	for _, s := range before {
		if known(s.addr, servers) == nil {
			p.Metrics.remove(s.addr)
		}
	}
}

// Servers returns the servers in their order.
func (p *Pool) Servers() (addrs []netip.AddrPort) {
	for _, s := range *p.servers.Load() {
		addrs = append(addrs, s.addr)
	}
	return addrs
}

// NoneAnswers reports whether no server is known to answer: each is late or down, and one at
// least has been for that long.
func (p *Pool) NoneAnswers(since time.Duration) bool {
	now, most := p.Now(), time.Duration(0)
	for _, s := range *p.servers.Load() {
		if s.state(now) != behind {
			return false
		}
		if most = max(most, s.owes(now)); s.down.Load() != 0 {
			most = since
		}
	}
	return most >= since
}

// Close ends the probes that are under way. Nothing is asked behind it.
func (p *Pool) Close() { p.probes.Wait() }

// Exchange asks the servers for q until one has an answer: the first, and each next one
// when the one before has failed, or is late. All are waited for until ctx ends. No server is
// sent the question again before it has had resendAfter.
func (p *Pool) Exchange(ctx context.Context, q Question, resendAfter time.Duration) (*dns.Msg, error) {
	now := p.Now()
	left, atOnce := p.order(ctx, q, now)
	switch len(left) {
	case 0:
		return nil, fmt.Errorf("there is no upstream to ask: %w", ErrFailed)
	case 1:
		s := left[0]
		again := s.rto()
		if s.state(now) == behind {
			again = DownAfter
		}
		reply, err := p.query(ctx, s, q, max(again, resendAfter))
		if err == nil && conclusive(reply) {
			return reply, nil
		}
		f := new(failures)
		f.add(s, reply, err)
		return nil, f.err(ctx, p, now, left)
	}
	r := race{pool: p, question: q, resendAfter: resendAfter, began: now, left: left, results: make(chan result, len(left))}
	return r.run(ctx, atOnce)
}

// order returns the servers as this question is to try them: in their order, save that
// those which are silent about it come behind those that are not, and those which owe an
// answer, or are down, behind all. Of the latter it probes what is due; where there are
// no others all are asked at once.
func (p *Pool) order(ctx context.Context, q Question, now time.Duration) (left []*server, atOnce int) {
	servers := *p.servers.Load()
	if len(servers) < 2 {
		return servers, 1
	}
	var groups [behind + 1][]*server
	for i, s := range servers {
		switch state := p.stateFor(s, q, now); {
		case state != up && groups[up] == nil:
			groups[up] = append(make([]*server, 0, len(servers)), servers[:i]...)
			fallthrough
		case state != up:
			groups[state] = append(groups[state], s)
		case groups[up] != nil:
			groups[up] = append(groups[up], s)
		}
	}
	if groups[up] == nil {
		return servers, 1
	}
	left = append(groups[up], groups[mute]...)
	if len(left) == 0 {
		return groups[behind], min(len(groups[behind]), mostBeside)
	}
	for _, s := range groups[behind] {
		if s.due(now) {
			p.probe(ctx, s, q)
		}
	}
	return append(left, groups[behind]...), 1
}

// stateFor returns how a server is for a question.
func (p *Pool) stateFor(s *server, q Question, now time.Duration) state {
	state := s.state(now)
	if state == up && p.mutes.has(s, q, now) {
		return mute
	}
	return state
}

// probe asks a server that does not answer beside those that do, for longer than they
// take. Nobody waits for it.
func (p *Pool) probe(ctx context.Context, s *server, q Question) {
	if !p.acquire() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeFor)
	p.probes.Add(1)
	go func() {
		defer p.probes.Done()
		defer p.release()
		defer cancel()
		_, _ = p.query(ctx, s, q, time.Second)
	}()
}

// acquire takes room for a question beside another one; false: there is none.
func (p *Pool) acquire() bool {
	select {
	case p.Extra <- struct{}{}:
		return true
	default:
		return false
	}
}

// release gives the room back.
func (p *Pool) release() { <-p.Extra }
