// Package upstream puts DNS questions to upstream servers: in their order, over UDP,
// and over TCP where that cannot carry the answer, past those that do not answer.
//
// An answer is believed when it comes from the asked address and port over the
// question's own socket, and repeats its random id and its question byte for byte.
//
// What it does not do: it keeps no answer, follows no CNAME, and merges no questions.
//
//	t := &upstream.Transport{Timeout: 2 * time.Second, Seconds: histogram}
//	p := &upstream.Pool{Query: t.Query, Logger: logger, Now: now}
//	p.Set(servers)
//	reply, err := p.Exchange(ctx, upstream.Question{Name: "api.stripe.com", Type: dns.TypeA})
package upstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// What went wrong with a question, to be matched with errors.Is.
var (
	// ErrTimeout: no server answered in time.
	ErrTimeout = errors.New("no answer in time")
	// ErrFailed: servers could not be reached, answered SERVFAIL or the like, or
	// sent what cannot be used.
	ErrFailed = errors.New("lookup failed")
	// ErrAnswered is the ErrFailed of servers that did answer, with a failure. It
	// is worth remembering for a moment; a silence is not.
	ErrAnswered = fmt.Errorf("the upstreams' answer is no use: %w", ErrFailed)
)

// ProbeEvery is how long a server that did not answer is asked last, and how often
// one question then tries it first again.
const ProbeEvery = 5 * time.Second

// Question is one question of class IN. The name is canonical: lower case, no final
// dot.
type Question struct {
	Name   string
	Type   uint16
	DNSSEC bool // signatures are asked for
}

// rounds is how often each server is asked one question, for datagrams get lost.
const rounds = 2

// Pool is the servers that are asked. All its fields are required; Set is called
// before Exchange, and again when the servers change. Its methods may be called
// from many goroutines.
type Pool struct {
	// Query puts a question to one server: Transport.Query, save in tests whose clock
	// is not the network's.
	Query func(context.Context, netip.AddrPort, Question) (*dns.Msg, error)
	// Logger hears about servers, never about names.
	Logger *slog.Logger
	// Now is a monotonic clock.
	Now func() time.Duration

	servers atomic.Pointer[[]*server]
}

// server is one server and what is remembered of its health.
type server struct {
	addr netip.AddrPort
	down atomic.Int64 // 0, or when to try it again, by Pool.Now
}

// Set replaces the servers. Their health starts anew.
func (p *Pool) Set(addrs []netip.AddrPort) {
	servers := make([]*server, len(addrs))
	for i, addr := range addrs {
		servers[i] = &server{addr: addr}
	}
	p.servers.Store(&servers)
}

// Servers returns the servers in their order.
func (p *Pool) Servers() (addrs []netip.AddrPort) {
	for _, s := range *p.servers.Load() {
		addrs = append(addrs, s.addr)
	}
	return addrs
}

// order returns the servers as this question is to try them: in their order,
// save that those which are down come last. One that is due for a probe is up for
// this question and down for all others until it has answered.
func order(servers []*server, now time.Duration) []*server {
	up := make([]*server, 0, len(servers))
	var down []*server
	for _, s := range servers {
		at := s.down.Load()
		if at == 0 || int64(now) >= at && s.down.CompareAndSwap(at, int64(now+ProbeEvery)) {
			up = append(up, s)
		} else {
			down = append(down, s)
		}
	}
	return append(up, down...)
}

// Exchange asks the servers in turn for q until one has an answer. One that answers
// with a failure is not asked again; one that is silent or sends nonsense has a
// second try when all others have had their first.
func (p *Pool) Exchange(ctx context.Context, q Question) (*dns.Msg, error) {
	try := order(*p.servers.Load(), p.Now())
	var answered, timeout, failed error
	for range rounds {
		var again []*server
		for _, s := range try {
			reply, err := p.Query(ctx, s.addr, q)
			switch {
			case err == nil && conclusive(reply):
				p.setHealth(s, nil)
				return reply, nil
			case err == nil:
				p.setHealth(s, nil)
				answered = fmt.Errorf("asking %v: %s", s.addr, dns.RcodeToString[reply.Rcode])
				continue
			case timedOut(err):
				timeout = err
			default:
				failed = err
			}
			if ctx.Err() != nil {
				return nil, worst(ctx, answered, timeout, failed)
			}
			p.setHealth(s, err)
			again = append(again, s)
		}
		try = again
	}
	return nil, worst(ctx, answered, timeout, failed)
}

// conclusive reports whether reply is an answer, and not a server's excuse.
func conclusive(reply *dns.Msg) bool {
	return reply.Rcode == dns.RcodeSuccess || reply.Rcode == dns.RcodeNameError
}

// worst turns what the upstreams did into one error. An answered failure goes
// before silence, and silence before a refused connection.
func worst(ctx context.Context, answered, timeout, failed error) error {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return fmt.Errorf("the resolver is closed: %w", ErrFailed)
	case answered != nil:
		return fmt.Errorf("%w: %w", answered, ErrAnswered)
	case timeout != nil:
		return fmt.Errorf("%w: %w", timeout, ErrTimeout)
	}
	return fmt.Errorf("%w: %w", failed, ErrFailed)
}

// setHealth remembers how s did. Log lines are for changes, not for each question.
func (p *Pool) setHealth(s *server, err error) {
	if err == nil {
		if s.down.Load() != 0 && s.down.Swap(0) != 0 {
			p.Logger.Info("upstream answers again", slog.String("upstream", s.addr.String()))
		}
		return
	}
	if s.down.Swap(int64(p.Now()+ProbeEvery)) == 0 {
		p.Logger.Warn("upstream fails", slog.String("upstream", s.addr.String()), slog.Any("error", err))
	}
}
