package egress

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"
)

// AttemptDelay is how long an attempt has before the next one starts beside it
// (RFC 8305, section 5).
const AttemptDelay = 250 * time.Millisecond

// Inflight is a connect(2) that has begun and that something else than a
// goroutine has waited for.
type Inflight struct {
	Began time.Time
	Wait  func(context.Context) (net.Conn, error) // for its end; called once
}

// Dialer dials hosts with several addresses.
type Dialer struct {
	// TakeExtra takes one of the attempts that may be under way beside a host's first,
	// and GiveExtra gives it back. Nil: there is always one.
	TakeExtra func() bool
	GiveExtra func()
}

// Dial connects to the first address that answers. The next one is tried
// when the one before fails, or has had AttemptDelay and there is a descriptor to
// spare for one beside it; who comes late is closed. An attempt that is under way
// is tried before all of them; nil: there is none.
func (d *Dialer) Dial(ctx context.Context, addrs []netip.AddrPort, permits Permits, under *Inflight) (net.Conn, error) {
	switch {
	case under != nil:
	case len(addrs) == 0:
		return nil, ErrNotPermitted
	case len(addrs) == 1:
		return Dial(ctx, addrs[0], permits)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := dialRace{dialer: d, left: addrs, permits: permits, results: make(chan dialResult, len(addrs)+1), timer: time.NewTimer(AttemptDelay)}
	defer r.timer.Stop()
	if under != nil {
		r.pending++
		go under.into(ctx, r.results)
		r.timer.Reset(time.Until(under.Began.Add(AttemptDelay)))
	} else {
		r.start(ctx)
	}
	c, err := r.first(ctx)
	cancel()
	closeLate(r.results, r.pending)
	return c, err
}

// dialRace is the attempts to connect to one host.
type dialRace struct {
	dialer  *Dialer
	left    []netip.AddrPort // not tried yet
	permits Permits
	results chan dialResult
	pending int
	timer   *time.Timer // for the next attempt
}

// first returns the first connection, or every error.
func (r *dialRace) first(ctx context.Context) (net.Conn, error) {
	var errs []error
	for r.pending > 0 {
		select {
		case got := <-r.results:
			r.pending--
			if got.err == nil {
				return got.conn, nil
			}
			errs = append(errs, got.err)
		case <-r.timer.C:
		}
		r.start(ctx)
	}
	return nil, errors.Join(errs...)
}

// start begins the next attempt.
func (r *dialRace) start(ctx context.Context) {
	if len(r.left) == 0 {
		return
	}
	r.timer.Reset(AttemptDelay)
	extra := r.pending > 0
	if extra && r.dialer.TakeExtra != nil && !r.dialer.TakeExtra() {
		return
	}
	go r.dialer.attempt(ctx, dialAttempt{r.left[0], r.permits, extra, r.results})
	r.left = r.left[1:]
	r.pending++
}

// dialResult is how one attempt ended.
type dialResult struct {
	conn net.Conn
	err  error
}

// into waits for an attempt that is under way.
func (a *Inflight) into(ctx context.Context, results chan<- dialResult) {
	c, err := a.Wait(ctx)
	results <- dialResult{c, err}
}

// dialAttempt is one attempt of several.
type dialAttempt struct {
	to      netip.AddrPort
	permits Permits
	extra   bool // it holds one of the attempts beside a first
	results chan<- dialResult
}

// attempt runs one attempt.
func (d *Dialer) attempt(ctx context.Context, a dialAttempt) {
	c, err := Dial(ctx, a.to, a.permits)
	if a.extra && d.GiveExtra != nil {
		d.GiveExtra()
	}
	a.results <- dialResult{c, err}
}

// closeLate waits for the attempts that are still under way, which have been
// cancelled and return at once, and closes what they connected.
func closeLate(results <-chan dialResult, pending int) {
	for range pending {
		if r := <-results; r.err == nil {
			_ = r.conn.Close()
		}
	}
}
