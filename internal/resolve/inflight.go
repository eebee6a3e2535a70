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

// mostFailures is how often that is doubled at most: to about a minute.
const mostFailures = 7

// inflight is one question on its way. Everyone with the same question waits for it;
// entry and err are set before done is closed.
type inflight struct {
	done  chan struct{}
	entry *cache.Entry
	err   error

	began  time.Duration   // by Resolver.now
	ctx    context.Context // ends when nobody waits any more, or when it is evicted
	stop   context.CancelCauseFunc
	caller fair.Caller // who has begun it, and whose place it has
	place  fair.Place
	askers int // who wait for it; guarded by the shard's mu

	resendAfter time.Duration // of upstream.Pool.Exchange
}

// errLate is why a question is not waited for any longer.
var errLate = fmt.Errorf("the upstreams are late: %w", ErrTimeout)

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
	late     bool // its question is under way, and is not waited for
	ours     bool // its question was begun for it, and was not under way
	over     bool // ctx had ended: it counts if it serves, for else it is asked for again
	wasMute  bool // the last time no upstream said anything about it
}

// ready reports whether nothing is to be waited for.
func (p *pending) ready() bool {
	if p.inflight == nil {
		return true
	}
	select {
	case <-p.inflight.done:
		return true
	default:
		return false
	}
}

// addresses reports whether p, which is over, has addresses.
func (p *pending) addresses() bool {
	e := p.fresh
	switch {
	case e != nil:
	case p.inflight != nil && p.inflight.err == nil:
		e = p.inflight.entry
	default:
		e = p.stale
	}
	return e != nil && len(e.Addrs) > 0
}

// begin answers k from the cache or sees to it that its question is in flight, unless
// ctx has ended: then nobody would wait. It does not block. Every pending is for await
// or for abandon.
func (r *Resolver) begin(ctx context.Context, k key, now time.Duration) pending {
	p := r.look(ctx, k, now)
	if !p.over {
		r.metrics.countBegun(&p)
	}
	return p
}

// look is begin, and counts nothing.
func (r *Resolver) look(ctx context.Context, k key, now time.Duration) pending {
	e := r.cache.get(k)
	p := pending{key: k, over: ctx.Err() != nil}
	if e != nil && now < e.Expires {
		if e.Due(now) {
			r.prefetch(k, e)
		}
		p.fresh = e
		return p
	}
	if e != nil && now < e.StaleUntil {
		if p.stale = e; r.servesStale(k, e, now) {
			return p
		}
	}
	p.wasMute = e != nil && e.Failures > 0
	if err := ctx.Err(); err != nil {
		if errors.Is(err, context.Canceled) {
			p.stale = nil
		}
		return p
	}
	if p.inflight, p.ours = r.start(k, e, fair.CallerFrom(ctx), 1); p.ours {
		go r.do(k, p.inflight)
	}
	return p
}

// servesStale reports whether an expired entry serves without a question of the caller's: it
// was looked at lately, its question is late, or nobody answers any, which one in the
// background finds out.
func (r *Resolver) servesStale(k key, e *cache.Entry, now time.Duration) bool {
	if e.Rechecked(now) || r.isLate(k, now) {
		return true
	}
	if !r.upstreams.NoneAnswers(staleAfter) {
		return false
	}
	r.prefetch(k, e)
	return true
}

// isLate reports whether k's question has been out for so long that an expired answer serves
// whoever asks now.
func (r *Resolver) isLate(k key, now time.Duration) bool {
	s := r.cache.of(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.inflight[k]
	return f != nil && now-f.began >= lateAfter
}

// prefetch refreshes a popular entry that will expire soon. Nobody waits for it,
// and the entry serves on whatever comes of it.
func (r *Resolver) prefetch(k key, old *cache.Entry) {
	most := min(maxPrefetch, int32(max(r.cfg.Lookups/4, 1)))
	if r.upstreams.NoneAnswers(staleAfter) {
		most = min(most, maxProbing)
	}
	if r.prefetching.Add(1) > most {
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
	f = &inflight{done: make(chan struct{}), began: r.now(), caller: c, askers: max(askers, 1)}
	if askers == 0 {
		f.resendAfter = refreshResend
	}
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
	ctx, cancel := context.WithTimeout(f.ctx, r.cfg.Timeout)
	defer cancel()
	f.entry, f.err = r.resolve(ctx, k, f.resendAfter)
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
	case errors.Is(f.err, upstream.ErrLocal), why != nil && r.base.Err() == nil && !(errors.Is(why, errAbandoned) && errors.Is(f.err, upstream.ErrMute)):
		if why != nil {
			f.err = why // and says nothing of the upstreams
		}
	default:
		r.keepFailure(s, k, f.err)
	}
}

// keepFailure spares upstreams that all failed the next question for a moment: an
// expired entry serves on by itself, and where there is none the failure is an
// entry of its own (RFC 9520 section 3.2). Failures that upstreams answered with are
// kept, and a silence about this name alone, each time for longer; where the upstreams
// are silent about all the next asker may well be luckier.
func (r *Resolver) keepFailure(s *shard, k key, err error) {
	now := r.now()
	if old := s.entries.Get(k); old != nil && now < old.StaleUntil {
		if now >= old.Expires {
			old.Recheck(now + recheckAfter)
		}
		return
	}
	problem := fmt.Errorf("resolving %q: %w", k.Name, err)
	switch old := s.entries.Get(k); {
	case errors.Is(err, upstream.ErrAnswered):
		s.entries.Add(k, cache.NewFailure(problem, now+failureTTL))
	case errors.Is(err, upstream.ErrMute):
		silence := cache.NewFailure(problem, 0)
		if silence.Failures = 1; old != nil {
			silence.Failures = min(old.Failures+1, mostFailures)
		}
		silence.Expires = now + failureTTL<<(silence.Failures-1)
		silence.StaleUntil = silence.Expires
		s.entries.Add(k, silence)
	}
}

// resolve asks the upstreams for k, and where a reply ends in a CNAME that its
// upstream did not follow, for the CNAME's target. Each round follows one CNAME or
// is the last, so MaxChain bounds them.
func (r *Resolver) resolve(ctx context.Context, k key, resendAfter time.Duration) (*cache.Entry, error) {
	select {
	case r.asking <- struct{}{}:
		defer func() { <-r.asking }()
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for a turn to ask: %w", ErrTimeout)
	}
	c := chain.New(k, r.cfg.MaxChain)
	for {
		reply, err := r.upstreams.Exchange(ctx, key{Name: c.At, Type: k.Type, DNSSEC: k.DNSSEC}, resendAfter)
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
