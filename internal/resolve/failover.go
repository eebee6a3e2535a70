package resolve

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

// errAnswered is the ErrFailed of upstreams that did answer, with a failure. It is
// worth remembering for a moment; a silence is not.
var errAnswered = fmt.Errorf("the upstreams' answer is no use: %w", ErrFailed)

const (
	// rounds is how often each upstream is asked one question, for datagrams get lost.
	rounds = 2
	// probeEvery is how long an upstream that did not answer is asked last, and how
	// often one question then tries it first again.
	probeEvery = 5 * time.Second
)

// upstream is one server and what is remembered of its health.
type upstream struct {
	addr netip.AddrPort
	down atomic.Int64 // 0, or when to try it again, by Resolver.now
}

// order returns the upstreams as this question is to try them: in their order,
// save that those which are down come last. One that is due for a probe is up for
// this question and down for all others until it has answered.
func order(upstreams []*upstream, now time.Duration) []*upstream {
	up := make([]*upstream, 0, len(upstreams))
	var down []*upstream
	for _, u := range upstreams {
		at := u.down.Load()
		if at == 0 || int64(now) >= at && u.down.CompareAndSwap(at, int64(now+probeEvery)) {
			up = append(up, u)
		} else {
			down = append(down, u)
		}
	}
	return append(up, down...)
}

// askAny asks the upstreams in turn for k until one has an answer. One that answers
// with a failure is not asked again; one that is silent or sends nonsense has a
// second try when all others have had their first.
func (r *Resolver) askAny(ctx context.Context, k key) (*dns.Msg, error) {
	try := order(r.files.upstreams(), r.now())
	var answered, silent, failed error
	for range rounds {
		var again []*upstream
		for _, u := range try {
			reply, err := r.ask(ctx, u.addr, k)
			switch {
			case err == nil && conclusive(reply):
				r.mark(u, nil)
				return reply, nil
			case err == nil:
				r.mark(u, nil)
				answered = fmt.Errorf("asking %v: %s", u.addr, dns.RcodeToString[reply.Rcode])
				continue
			case timedOut(err):
				silent = err
			default:
				failed = err
			}
			if ctx.Err() != nil {
				return nil, worst(ctx, answered, silent, failed)
			}
			r.mark(u, err)
			again = append(again, u)
		}
		try = again
	}
	return nil, worst(ctx, answered, silent, failed)
}

// conclusive reports whether reply is an answer, and not a server's excuse.
func conclusive(reply *dns.Msg) bool {
	return reply.Rcode == dns.RcodeSuccess || reply.Rcode == dns.RcodeNameError
}

// worst turns what the upstreams did into one error. An answered failure goes
// before silence, and silence before a refused connection.
func worst(ctx context.Context, answered, silent, failed error) error {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return fmt.Errorf("the resolver is closed: %w", ErrFailed)
	case answered != nil:
		return fmt.Errorf("%w: %w", answered, errAnswered)
	case silent != nil:
		return fmt.Errorf("%w: %w", silent, ErrTimeout)
	}
	return fmt.Errorf("%w: %w", failed, ErrFailed)
}

// mark remembers how u did. Log lines are for changes, not for each question.
func (r *Resolver) mark(u *upstream, err error) {
	if err == nil {
		if u.down.Load() != 0 && u.down.Swap(0) != 0 {
			r.cfg.Logger.Info("upstream answers again", slog.String("upstream", u.addr.String()))
		}
		return
	}
	if u.down.Swap(int64(r.now()+probeEvery)) == 0 {
		r.cfg.Logger.Warn("upstream fails", slog.String("upstream", u.addr.String()), slog.Any("error", err))
	}
}
