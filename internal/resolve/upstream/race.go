package upstream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/miekg/dns"
)

// race is one question at several servers.
type race struct {
	pool        *Pool
	question    Question
	resendAfter time.Duration // of Exchange
	began       time.Duration
	left        []*server // not asked yet
	attempts    []attempt
	running     int
	results     chan result
	failed      failures
}

// attempt is a server that has been asked.
type attempt struct {
	server *server
	extra  bool // it has room that others lack
	cancel context.CancelFunc

	over, gaveWay bool
}

// result is what came of asking one server.
type result struct {
	at    int // which of the attempts
	reply *dns.Msg
	err   error
}

// run asks the servers, that many at once and then one after the other, and returns the
// first answer.
func (r *race) run(ctx context.Context, atOnce int) (*dns.Msg, error) {
	ctx, cancel := context.WithCancel(ctx)
	all, again := r.left, time.Duration(0)
	for _, s := range all[:min(len(all), mostBeside)] {
		again += s.rto()
	}
	if atOnce > 1 {
		again = DownAfter // none answers: to ask them often does not change that
	}
	again = max(again, r.resendAfter)
	for range atOnce {
		r.next(ctx, again)
	}
	late := time.NewTimer(r.rto())
	reply := r.first(ctx, late, again)
	late.Stop()
	err := r.failed.err(ctx, r.pool, r.began, all)
	cancel()
	r.finish()
	if reply != nil {
		return reply, nil
	}
	return nil, err
}

// first returns the first answer; nil: there is none. Where servers have answered with a
// failure those that are silent are not waited for until ctx ends.
func (r *race) first(ctx context.Context, late *time.Timer, again time.Duration) *dns.Msg {
	for r.running > 0 {
		select {
		case got := <-r.results:
			a := r.ended(got.at)
			if got.err == nil && conclusive(got.reply) {
				r.overtaken()
				return got.reply
			}
			if a.gaveWay || ctx.Err() != nil {
				continue
			}
			r.failed.add(a.server, got.reply, got.err)
		case <-late.C:
			if r.failed.answered != nil && len(r.left) == 0 && r.pool.Now()-r.began >= DownAfter {
				return nil
			}
		}
		r.goOn(ctx, late, again)
	}
	return nil
}

// goOn asks the next server, if there is one, and says when to go on again.
func (r *race) goOn(ctx context.Context, late *time.Timer, again time.Duration) {
	switch {
	case len(r.left) > 0:
		r.next(ctx, again)
		late.Reset(r.rto())
	case r.failed.answered != nil:
		late.Reset(DownAfter - (r.pool.Now() - r.began)) // it is not worth more
	default:
		late.Stop()
	}
}

// next asks the next server, in the place of the one that was asked first where there is
// no room beside it.
func (r *race) next(ctx context.Context, again time.Duration) {
	extra := false
	if r.running > 0 {
		if extra = r.running < mostBeside && r.pool.acquire(); !extra {
			r.giveWay()
		}
	}
	s, at := r.left[0], len(r.attempts)
	r.left = r.left[1:]
	ctx, cancel := context.WithCancel(ctx)
	r.attempts = append(r.attempts, attempt{server: s, extra: extra, cancel: cancel})
	r.running++
	go func() {
		reply, err := r.pool.query(ctx, s, r.question, again)
		r.results <- result{at, reply, err}
	}()
}

// giveWay ends the oldest question under way.
func (r *race) giveWay() {
	for i := range r.attempts {
		if a := &r.attempts[i]; !a.over && !a.gaveWay {
			a.gaveWay = true
			a.cancel()
			return
		}
	}
}

// rto returns how long the servers that were asked last may take until the next one is.
func (r *race) rto() time.Duration { return r.attempts[len(r.attempts)-1].server.rto() }

// ended lets go of what a server that has been asked had.
func (r *race) ended(at int) *attempt {
	a := &r.attempts[at]
	a.over = true
	a.cancel()
	r.running--
	if a.extra {
		r.pool.release()
	}
	return a
}

// overtaken remembers of the servers that are late, though they answer others, that they
// are silent about this question.
func (r *race) overtaken() {
	now := r.pool.Now()
	for _, a := range r.attempts {
		if s := a.server; !a.over && now-r.began > s.rto() && s.answered.Load() >= max(int64(r.began), 1) {
			r.pool.mutes.add(s, r.question, now)
		}
	}
}

// finish waits for those that are still being asked, which have been told to end.
func (r *race) finish() {
	for r.running > 0 {
		r.ended((<-r.results).at)
	}
}

// failures are why servers had no answer, the last of each kind.
type failures struct{ answered, timeout, failed, local error }

// add takes in one.
func (f *failures) add(s *server, reply *dns.Msg, err error) {
	switch {
	case err == nil && referral(reply):
		f.answered = fmt.Errorf("asking %v: a referral", s.addr)
	case err == nil:
		f.answered = fmt.Errorf("asking %v: %s", s.addr, dns.RcodeToString[reply.Rcode])
	case local(err):
		f.local = err
	case timedOut(err):
		f.timeout = err
	default:
		f.failed = err
	}
}

// err turns what the servers did into one error. An answered failure goes before silence,
// silence before a refused connection, and all before what was lacking here.
func (f *failures) err(ctx context.Context, p *Pool, began time.Duration, servers []*server) error {
	waited := p.Now() - began
	switch {
	case f.answered != nil:
		return fmt.Errorf("%w: %w", f.answered, ErrAnswered)
	case waited >= DownAfter && answersOthers(servers, began):
		return fmt.Errorf("after %v: %w", waited, ErrMute)
	case errors.Is(ctx.Err(), context.Canceled):
		return fmt.Errorf("the question is given up: %w", ErrFailed)
	case f.timeout != nil, ctx.Err() != nil:
		return fmt.Errorf("after %v: %w", waited, ErrTimeout)
	case f.failed != nil:
		return fmt.Errorf("%w: %w", f.failed, ErrFailed)
	case f.local != nil:
		return fmt.Errorf("%w: %w", f.local, ErrLocal)
	}
	return fmt.Errorf("after %v: %w", waited, ErrTimeout)
}

// answersOthers reports whether one of the servers has answered something since.
func answersOthers(servers []*server, since time.Duration) bool {
	for _, s := range servers {
		if s.answered.Load() > int64(since) {
			return true
		}
	}
	return false
}
