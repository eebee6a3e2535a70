package resolve

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/fair"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/resolve/cache"
)

// await returns p's entry, and whether it is stale. A stale one serves when its
// question failed, had staleAfter, or ctx's deadline passed first.
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
	} else if p.late {
		err = errLate
	} else if p.stale == nil {
		err = ended(ctx)
	}
	if p.stale == nil {
		return nil, false, fmt.Errorf("resolving %q: %w", p.key.Name, err)
	}
	if !p.over {
		r.metrics.countStale(p.stale, r.now())
	}
	return p.stale, true, nil
}

// awaitInflight waits for what is in flight. A question that another caller has begun
// and that was evicted, because that caller has too many, is begun anew.
func (r *Resolver) awaitInflight(ctx context.Context, p *pending) (*cache.Entry, error) {
	for {
		f := p.inflight
		if err := r.awaitDone(ctx, p); err != nil {
			return nil, err
		}
		var evicted *fair.ShareError
		mine := fair.CallerFrom(ctx)
		if !errors.As(f.err, &evicted) || f.caller == mine {
			return f.entry, f.err
		}
		again := r.look(ctx, p.key, r.now())
		switch {
		case again.fresh != nil:
			return again.fresh, nil
		case again.inflight == nil:
			return nil, f.err
		}
		p.inflight = again.inflight
	}
}

// awaitDone waits until what is in flight for p is over, or has had staleAfter where there
// is something to fall back to. Then the question goes on, and the next askers are served
// unasked.
func (r *Resolver) awaitDone(ctx context.Context, p *pending) error {
	f := p.inflight
	var late <-chan time.Time
	if p.stale != nil {
		timer := time.NewTimer(staleAfter - (r.now() - f.began))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-f.done:
		return nil
	case <-ctx.Done():
		r.abandon(*p)
		return ended(ctx)
	case <-late:
		p.stale.Recheck(r.now() + recheckAfter)
		return errLate
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

// detach gives up the wait for p, whose question goes on for a while: long enough to know
// whether anybody answers it.
func (r *Resolver) detach(p pending) {
	s := r.cache.of(p.key)
	s.mu.Lock()
	defer s.mu.Unlock()
	f := p.inflight
	if f.askers > 1 || s.inflight[p.key] != f {
		f.askers--
		return
	}
	time.AfterFunc(loneFor-(r.now()-f.began), func() { r.abandon(p) })
}

// awaitFirst waits for two families until both have come, or one that has addresses and the
// other has had resolutionDelay: then what is late is detached, and what it had before it
// expired stands for it. Nothing more is waited for where it was mute the last time.
func (r *Resolver) awaitFirst(ctx context.Context, both *[2]pending) {
	a, b := &both[0], &both[1]
	delay := resolutionDelay
	switch first, second := a.ready(), b.ready(); { // looked at once: they end meanwhile
	case first && second:
		return
	case !first && !second:
		if !r.awaitEither(ctx, a, b) {
			return
		}
	case first:
		delay -= r.now() - b.inflight.began
	default:
		delay -= r.now() - a.inflight.began
	}
	if a.ready() {
		a, b = b, a
	}
	if !a.ready() && b.addresses() {
		r.awaitLate(ctx, a, delay)
	}
}

// awaitEither waits for the first of two families; false: there is nothing more to wait
// for, because ctx has ended, or what one had before it expired serves.
func (r *Resolver) awaitEither(ctx context.Context, a, b *pending) bool {
	var late <-chan time.Time
	if a.stale != nil || b.stale != nil {
		timer := time.NewTimer(staleAfter - (r.now() - min(a.inflight.began, b.inflight.began)))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-a.inflight.done:
		return true
	case <-b.inflight.done:
		return true
	case <-ctx.Done():
	case <-late:
		r.detachLate(a)
		r.detachLate(b)
	}
	return false
}

// awaitLate waits for the other family of one that has addresses.
func (r *Resolver) awaitLate(ctx context.Context, p *pending, delay time.Duration) {
	if delay > 0 && !p.wasMute {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-p.inflight.done:
			return
		case <-ctx.Done():
			return
		case <-timer.C:
		}
	}
	r.detachLate(p)
}

// detachLate goes on without what is in flight.
func (r *Resolver) detachLate(p *pending) {
	if p.stale != nil {
		p.stale.Recheck(r.now() + recheckAfter)
	} else {
		r.detach(*p)
	}
	p.late, p.inflight = true, nil
}
