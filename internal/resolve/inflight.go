package resolve

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/resolve/upstream"
)

// inflight is one question on its way. Everyone with the same question waits for it;
// entry and err are set before done is closed.
type inflight struct {
	done  chan struct{}
	entry *entry
	err   error
}

// pending is a question between begin and await: answered by fresh, or by inflight
// with stale to fall back to, or by stale alone.
type pending struct {
	key      key
	fresh    *entry
	stale    *entry
	inflight *inflight
}

// begin answers k from the cache or sees to it that its question is in flight. It
// does not block.
func (r *Resolver) begin(k key, now time.Duration) pending {
	e := r.cache.get(k)
	p := pending{key: k}
	if e != nil && now < e.expires {
		r.metrics.countHit(e)
		if e.due(now) {
			r.prefetch(k, e)
		}
		p.fresh = e
		return p
	}
	if e != nil && now < e.staleUntil {
		p.stale = e
		if now < time.Duration(e.recheckAt.Load()) {
			return p
		}
	}
	var ours bool
	if p.inflight, ours = r.start(k, e); ours {
		r.metrics.miss.Inc()
		go r.do(k, p.inflight)
	} else {
		r.metrics.shared.Inc()
	}
	return p
}

// await returns p's entry, and whether it is stale. A stale one serves when its
// question failed or ctx's deadline passed first.
func (r *Resolver) await(ctx context.Context, p pending) (e *entry, stale bool, err error) {
	if p.fresh != nil {
		return p.fresh, false, nil
	}
	if p.inflight != nil {
		select {
		case <-p.inflight.done:
			e, err = p.inflight.entry, p.inflight.err
		case <-ctx.Done():
			if err = ctx.Err(); errors.Is(err, context.Canceled) {
				return nil, false, fmt.Errorf("resolving %q: %w", p.key.Name, err)
			}
			err = fmt.Errorf("waiting for an upstream: %w", ErrTimeout)
		}
		if err == nil {
			return e, false, nil
		}
		if p.stale == nil {
			return nil, false, fmt.Errorf("resolving %q: %w", p.key.Name, err)
		}
	}
	r.metrics.stale.Inc()
	return p.stale, true, nil
}

// prefetch refreshes a popular entry that will expire soon. Nobody waits for it,
// and the entry serves on whatever comes of it.
func (r *Resolver) prefetch(k key, old *entry) {
	if r.prefetching.Add(1) > maxPrefetch {
		r.prefetching.Add(-1)
		return
	}
	f, ours := r.start(k, old)
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
// that no question is asked twice.
func (r *Resolver) start(k key, old *entry) (f *inflight, ours bool) {
	s := r.cache.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entries[k]; e != nil && e != old {
		return done(e, nil), false
	}
	if f := s.inflight[k]; f != nil {
		return f, false
	}
	if s.closed {
		return done(nil, fmt.Errorf("the resolver is closed: %w", ErrFailed)), false
	}
	// The name may be a slice of somebody's whole request.
	k.Name = strings.Clone(k.Name)
	f = &inflight{done: make(chan struct{})}
	s.inflight[k] = f
	r.lookups.Add(1)
	return f, true
}

// done is a flight that is over before it began.
func done(e *entry, err error) *inflight {
	f := &inflight{done: make(chan struct{}), entry: e, err: err}
	close(f.done)
	return f
}

// finish asks f's question, keeps what comes and tells those who wait. Its context is
// the resolver's, so that an asker who leaves takes nobody's answer with him.
func (r *Resolver) finish(k key, f *inflight) {
	ctx, cancel := context.WithTimeout(r.base, inflightBudget)
	defer cancel()
	f.entry, f.err = r.resolve(ctx, k)

	s := r.cache.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	defer close(f.done)
	delete(s.inflight, k)
	if f.err == nil {
		s.store(k, f.entry)
		return
	}
	r.keepFailure(s, k, f.err)
}

// keepFailure spares upstreams that all failed the next question for a moment: an
// expired entry serves on by itself, and where there is none the failure is an
// entry of its own (RFC 9520 section 3.2). Only failures that upstreams answered
// with are kept; after a silence the next asker may well be luckier.
func (r *Resolver) keepFailure(s *shard, k key, err error) {
	now := r.now()
	if old := s.entries[k]; old != nil && now < old.staleUntil {
		if now >= old.expires {
			old.recheckAt.Store(int64(now + recheckAfter))
		}
		return
	}
	if errors.Is(err, upstream.ErrAnswered) {
		problem := fmt.Errorf("resolving %q: %w", k.Name, err)
		s.store(k, &entry{problem: problem, expires: now + failureTTL, staleUntil: now + failureTTL})
	}
}

// resolve asks the upstreams for k, and where a reply ends in a CNAME that its
// upstream did not follow, for the CNAME's target. Each round follows one CNAME or
// is the last, so MaxChain bounds them.
func (r *Resolver) resolve(ctx context.Context, k key) (*entry, error) {
	select {
	case r.asking <- struct{}{}:
		defer func() { <-r.asking }()
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for a turn to ask: %w", ErrTimeout)
	}
	c := newChain(k, r.cfg.MaxChain)
	for {
		reply, err := r.upstreams.Exchange(ctx, key{Name: c.at, Type: k.Type, DNSSEC: k.DNSSEC})
		if err != nil {
			return nil, err
		}
		done, err := c.add(reply)
		if err != nil {
			return nil, fmt.Errorf("following CNAMEs: %w: %w", err, upstream.ErrAnswered)
		}
		if done {
			return c.entry(r.cfg, r.now()), nil
		}
	}
}
