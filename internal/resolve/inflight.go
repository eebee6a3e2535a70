package resolve

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/fair"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/resolve/cache"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/resolve/chain"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/resolve/upstream"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// failureTTL is how long it is remembered that upstreams answered with a failure.
const failureTTL = time.Second

// inflight is one question on its way. Everyone with the same question waits for it;
// entry and err are set before done is closed.
type inflight struct {
	done  chan struct{}
	entry *cache.Entry
	err   error

	ctx    context.Context // ends when nobody waits any more, or when it is evicted
	stop   context.CancelCauseFunc
	caller fair.Caller // who has begun it, and whose place it has
	place  fair.Place
	askers int // who wait for it; guarded by the shard's mu
}

// errAbandoned is why a question ended that nobody waited for any more.
var errAbandoned = errors.New("nobody waits for it")

// Evict implements fair.Owner: somebody else gets the place.
func (f *inflight) Evict(reason verdict.Reason) { f.stop(&fair.ShareError{Reason: reason}) }

// pending is a question between begin and await: answered by fresh, or by inflight
// with stale to fall back to, or by stale alone, or not at all.
type pending struct {
	key      key
	fresh    *cache.Entry
	stale    *cache.Entry
	inflight *inflight
}

// begin answers k from the cache or sees to it that its question is in flight, unless
// ctx has ended: then nobody would wait. It does not block. Every pending is for await
// or for abandon.
func (r *Resolver) begin(ctx context.Context, k key, now time.Duration) pending {
	e := r.cache.get(k)
	p := pending{key: k}
	if e != nil && now < e.Expires {
		r.metrics.countHit(e)
		if e.Due(now) {
			r.prefetch(k, e)
		}
		p.fresh = e
		return p
	}
	if e != nil && now < e.StaleUntil {
		p.stale = e
		if e.Rechecked(now) {
			return p
		}
	}
	if err := ctx.Err(); err != nil {
		if errors.Is(err, context.Canceled) {
			p.stale = nil
		}
		return p
	}
	var ours bool
	if p.inflight, ours = r.start(k, e, fair.CallerFrom(ctx), 1); ours {
		r.metrics.miss.Inc()
		go r.do(k, p.inflight)
	} else {
		r.metrics.shared.Inc()
	}
	return p
}

// await returns p's entry, and whether it is stale. A stale one serves when its
// question failed or ctx's deadline passed first.
func (r *Resolver) await(ctx context.Context, p pending) (e *cache.Entry, stale bool, err error) {
	if p.fresh != nil {
		return p.fresh, false, nil
	}
	if p.inflight != nil {
		e, err = r.awaitInflight(ctx, &p)
		switch {
		case errors.Is(err, context.Canceled):
			return nil, false, fmt.Errorf("resolving %q: %w", p.key.Name, err)
		case err == nil:
			return e, false, nil
		}
	} else if p.stale == nil {
		err = ended(ctx)
	}
	if p.stale == nil {
		return nil, false, fmt.Errorf("resolving %q: %w", p.key.Name, err)
	}
	r.metrics.stale.Inc()
	return p.stale, true, nil
}

// awaitInflight waits for what is in flight. A question that another caller has begun
// and that was evicted, because that caller has too many, is begun anew.
func (r *Resolver) awaitInflight(ctx context.Context, p *pending) (*cache.Entry, error) {
	for {
		f := p.inflight
		select {
		case <-f.done:
		case <-ctx.Done():
			r.abandon(*p)
			return nil, ended(ctx)
		}
		var evicted *fair.ShareError
		mine := fair.CallerFrom(ctx)
		if !errors.As(f.err, &evicted) || f.caller == mine {
			return f.entry, f.err
		}
		again := r.begin(ctx, p.key, r.now())
		switch {
		case again.fresh != nil:
			return again.fresh, nil
		case again.inflight == nil:
			return nil, f.err
		}
		p.inflight = again.inflight
	}
}

// ended returns why a context that has ended ends the wait.
func ended(ctx context.Context) error {
	if err := ctx.Err(); errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("waiting for an upstream: %w", ErrTimeout)
}

// abandon gives up the wait for p. A question for which nobody else waits ends: it would
// hold a place, and a socket, for nothing.
func (r *Resolver) abandon(p pending) {
	f := p.inflight
	if f == nil {
		return
	}
	s := r.cache.of(p.key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.askers--; f.askers > 0 || s.inflight[p.key] != f {
		return
	}
	delete(s.inflight, p.key) // who comes now begins it anew
	f.stop(errAbandoned)
}

// prefetch refreshes a popular entry that will expire soon. Nobody waits for it,
// and the entry serves on whatever comes of it.
func (r *Resolver) prefetch(k key, old *cache.Entry) {
	if r.prefetching.Add(1) > min(maxPrefetch, int32(max(r.cfg.Lookups/4, 1))) {
		r.prefetching.Add(-1)
		return
	}
	f, ours := r.start(k, old, fair.Caller{}, 0)
	if !ours {
		r.prefetching.Add(-1)
		return
	}
	r.metrics.prefetch.Inc()
	go r.refresh(k, f)
}

// do is the goroutine of a flight that somebody waits for.
func (r *Resolver) do(k key, f *inflight) {
	defer r.lookups.Done()
	r.finish(k, f)
}

// refresh is the goroutine of a flight that nobody need wait for.
func (r *Resolver) refresh(k key, f *inflight) {
	defer r.lookups.Done()
	defer r.prefetching.Add(-1)
	r.finish(k, f)
}

// start returns the flight for k, and whether it is the caller's to do, in a
// goroutine that Close waits for. Old is what the caller saw in the cache: where
// something newer has come meanwhile, the flight is already done with that, so
// that no question is asked twice. It has that many more askers then, and one that
// none of them is for goes on to its end.
func (r *Resolver) start(k key, old *cache.Entry, c fair.Caller, askers int) (f *inflight, ours bool) {
	s := r.cache.of(k)
	s.mu.Lock()
	if e := s.entries.Get(k); e != nil && e != old {
		s.mu.Unlock()
		return done(e, nil), false
	}
	if f = s.inflight[k]; f != nil {
		f.askers += askers
		s.mu.Unlock()
		return f, false
	}
	if s.closed {
		s.mu.Unlock()
		return done(nil, fmt.Errorf("the resolver is closed: %w", ErrFailed)), false
	}
	f = &inflight{done: make(chan struct{}), caller: c, askers: max(askers, 1)}
	f.ctx, f.stop = context.WithCancelCause(r.base) // before it can be evicted
	out, ok := r.places.Acquire(&f.place, c, f)
	if ok {
		// The name may be a slice of somebody's whole request.
		k.Name = strings.Clone(k.Name)
		s.inflight[k] = f
		r.lookups.Add(1)
	}
	s.mu.Unlock()
	if out.Happened() {
		r.metrics.refused.WithLabelValues(out.Cause()).Inc()
		out.CarryOut()
		r.crowding.Add(out.Caller)
	}
	if !ok {
		f.stop(nil)
		f = done(nil, &fair.ShareError{Reason: out.Reason})
		f.caller = c
	}
	return f, ok
}

// done is a flight that is over before it began.
func done(e *cache.Entry, err error) *inflight {
	f := &inflight{done: make(chan struct{}), entry: e, err: err}
	close(f.done)
	return f
}

// finish asks f's question, keeps what comes and tells those who wait. Its context is
// the resolver's, so that an asker who leaves takes nobody's answer with him: it ends
// when the last one has left, and when its place goes to somebody else.
func (r *Resolver) finish(k key, f *inflight) {
	ctx, cancel := context.WithTimeout(f.ctx, inflightBudget)
	defer cancel()
	f.entry, f.err = r.resolve(ctx, k)
	r.places.Release(&f.place)

	s := r.cache.of(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	defer close(f.done)
	defer f.stop(nil)
	if s.inflight[k] == f {
		delete(s.inflight, k)
	}
	switch why := context.Cause(f.ctx); {
	case f.err == nil:
		s.entries.Add(k, f.entry)
	case why != nil && r.base.Err() == nil:
		f.err = why // and says nothing of the upstreams
	default:
		r.keepFailure(s, k, f.err)
	}
}

// keepFailure spares upstreams that all failed the next question for a moment: an
// expired entry serves on by itself, and where there is none the failure is an
// entry of its own (RFC 9520 section 3.2). Only failures that upstreams answered
// with are kept; after a silence the next asker may well be luckier.
func (r *Resolver) keepFailure(s *shard, k key, err error) {
	now := r.now()
	if old := s.entries.Get(k); old != nil && now < old.StaleUntil {
		if now >= old.Expires {
			old.Recheck(now + recheckAfter)
		}
		return
	}
	if errors.Is(err, upstream.ErrAnswered) {
		problem := fmt.Errorf("resolving %q: %w", k.Name, err)
		s.entries.Add(k, cache.NewFailure(problem, now+failureTTL))
	}
}

// resolve asks the upstreams for k, and where a reply ends in a CNAME that its
// upstream did not follow, for the CNAME's target. Each round follows one CNAME or
// is the last, so MaxChain bounds them.
func (r *Resolver) resolve(ctx context.Context, k key) (*cache.Entry, error) {
	select {
	case r.asking <- struct{}{}:
		defer func() { <-r.asking }()
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for a turn to ask: %w", ErrTimeout)
	}
	c := chain.New(k, r.cfg.MaxChain)
	for {
		reply, err := r.upstreams.Exchange(ctx, key{Name: c.At, Type: k.Type, DNSSEC: k.DNSSEC})
		if err != nil {
			return nil, err
		}
		done, err := c.Add(reply)
		if err != nil {
			return nil, fmt.Errorf("following CNAMEs: %w: %w", err, upstream.ErrAnswered)
		}
		if done {
			return cache.New(c, k, r.cfg.ttls(), r.now()), nil
		}
	}
}
