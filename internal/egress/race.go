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
	To    netip.AddrPort
	Began time.Time
	Wait  func(context.Context) (net.Conn, error) // for its end; called once
}

// ExtraDials is how many attempts a caller may have under way beside its hosts' first.
type ExtraDials interface {
	AcquireExtra() bool // takes one, if there is one
	ReleaseExtra()      // gives it back
}

// Host is what is to be connected to.
type Host struct {
	Addresses []netip.AddrPort // in the order in which they are tried
	Permits   Permits
	Under     *Inflight  // tried before all of them; nil: nothing is under way
	Extra     ExtraDials // nil: there is always one
}

// Dialer dials hosts with several addresses, and remembers which did not answer. The
// zero Dialer is ready.
type Dialer struct {
	failing failing
	dial    func(context.Context, netip.AddrPort, Permits) (net.Conn, error) // nil: Dial
}

// Order is Interleave with those addresses last that did not answer lately, so that a
// dead one holds up who finds out, and not those who come after.
func (d *Dialer) Order(addrs []netip.Addr, port uint16, from uint32) []netip.AddrPort {
	if len(addrs) > 1 && d.failing.n.Load() > 0 {
		if good, bad := d.failing.split(addrs, port); len(bad) > 0 && len(good) > 0 {
			out := append(Interleave(good, port, from), Interleave(bad, port, from)...)
			return out[:min(len(out), MaxAttempts)]
		}
	}
	return Interleave(addrs, port, from)
}

// Worked tells of an address that has answered somebody who did not ask the Dialer.
func (d *Dialer) Worked(a netip.AddrPort) { d.failing.worked(a) }

// One connects to one address.
func (d *Dialer) One(ctx context.Context, a netip.AddrPort, permits Permits) (net.Conn, error) {
	began, dial := time.Now(), d.dial
	if dial == nil {
		dial = Dial
	}
	c, err := dial(ctx, a, permits)
	d.ended(a, began, err)
	return c, err
}

// ended remembers how an attempt ended, where that was the address's doing.
func (d *Dialer) ended(a netip.AddrPort, began time.Time, err error) {
	var timeout net.Error
	timedOut := errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, context.DeadlineExceeded)
	switch {
	case err == nil:
		d.failing.worked(a)
	case errors.Is(err, ErrNotPermitted), errors.Is(err, context.Canceled), ExhaustedOf(err) != "":
	case timedOut && time.Since(began) < leastTimeout:
	default:
		d.failing.failed(a)
	}
}

// Dial connects to the first address that answers. The next one is tried
// when the one before fails, or has had AttemptDelay and there is one to
// spare for one beside it; who comes late is closed. Where there is none to spare the
// one before gives way once it has had its part of the time that ctx leaves.
func (d *Dialer) Dial(ctx context.Context, h Host) (net.Conn, error) {
	switch {
	case h.Under != nil:
	case len(h.Addresses) == 0:
		return nil, ErrNotPermitted
	case len(h.Addresses) == 1:
		return d.One(ctx, h.Addresses[0], h.Permits)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := dialRace{dialer: d, host: h, results: make(chan dialResult, len(h.Addresses)+1), timer: time.NewTimer(AttemptDelay)}
	defer r.timer.Stop()
	for _, a := range h.Addresses {
		if h.Under == nil || a != h.Under.To {
			r.left = append(r.left, a)
		}
	}
	if u := h.Under; u != nil {
		r.begin(ctx, dialAttempt{to: u.To, began: u.Began, wait: u.Wait})
		r.timer.Reset(time.Until(u.Began.Add(AttemptDelay)))
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
	dialer   *Dialer
	host     Host
	left     []netip.AddrPort // not tried yet
	attempts []dialAttempt    // begun
	results  chan dialResult
	pending  int
	timer    *time.Timer // for the next attempt
}

// dialAttempt is one attempt of several.
type dialAttempt struct {
	to     netip.AddrPort
	began  time.Time
	wait   func(context.Context) (net.Conn, error)
	extra  bool // it holds one of the attempts beside a first
	cancel context.CancelFunc
	ended  bool
}

// dialResult is how one attempt ended.
type dialResult struct {
	at   int // which of the attempts
	conn net.Conn
	err  error
}

// first returns the first connection, or every error.
func (r *dialRace) first(ctx context.Context) (net.Conn, error) {
	var errs []error
	for r.pending > 0 {
		select {
		case got := <-r.results:
			r.pending--
			a := &r.attempts[got.at]
			a.ended = true
			if got.err == nil {
				r.won()
				return got.conn, nil
			}
			errs = append(errs, got.err)
		case <-r.timer.C:
		}
		r.start(ctx)
	}
	return nil, errors.Join(errs...)
}

// won remembers those that began long before the one that answered first.
func (r *dialRace) won() {
	for _, a := range r.attempts {
		if !a.ended && time.Since(a.began) >= AttemptDelay {
			r.dialer.failing.failed(a.to)
		}
	}
}

// start begins the next attempt, or has one give way for it.
func (r *dialRace) start(ctx context.Context) {
	if len(r.left) == 0 {
		return
	}
	r.timer.Reset(AttemptDelay)
	extra := r.pending > 0 && r.host.Extra != nil
	if extra && !r.host.Extra.AcquireExtra() {
		r.giveWay(ctx)
		return
	}
	to := r.left[0]
	r.left = r.left[1:]
	r.begin(ctx, dialAttempt{to: to, began: time.Now(), extra: extra, wait: func(ctx context.Context) (net.Conn, error) {
		return r.dialer.One(ctx, to, r.host.Permits)
	}})
}

// begin runs an attempt in a goroutine.
func (r *dialRace) begin(ctx context.Context, a dialAttempt) {
	ctx, a.cancel = context.WithCancel(ctx)
	at := len(r.attempts)
	r.attempts = append(r.attempts, a)
	r.pending++
	go r.dialer.attempt(ctx, a, at, r)
}

// attempt runs one attempt.
func (d *Dialer) attempt(ctx context.Context, a dialAttempt, at int, r *dialRace) {
	c, err := a.wait(ctx)
	a.cancel()
	if a.extra {
		r.host.Extra.ReleaseExtra()
	}
	if u := r.host.Under; u != nil && at == 0 {
		d.ended(u.To, u.Began, err)
	}
	r.results <- dialResult{at, c, err}
}

// giveWay ends the attempts that have had as much of the time as each address may.
func (r *dialRace) giveWay(ctx context.Context) {
	end, bounded := ctx.Deadline()
	if !bounded {
		return
	}
	for _, a := range r.attempts {
		if part := end.Sub(a.began) / time.Duration(1+len(r.left)); !a.ended && time.Since(a.began) >= part {
			r.dialer.failing.failed(a.to)
			a.cancel()
		}
	}
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
