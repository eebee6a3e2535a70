package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

const (
	// maxAttempts bounds how many addresses of one host are tried.
	maxAttempts = 4
	// attemptDelay is how long an attempt has before the next one starts
	// beside it (RFC 8305, section 5).
	attemptDelay = 250 * time.Millisecond
)

// keepAliveProbes finds a peer that is gone without a word: after 45 s of
// silence, then every 15 s, given up after the third. Package tunnel sets it on
// what lasts.
var keepAliveProbes = net.KeepAliveConfig{Enable: true, Idle: 45 * time.Second, Interval: 15 * time.Second, Count: 3}

// errNotPermitted is the backstop at connect(2) at work.
var errNotPermitted = errors.New("address is not permitted")

// refuseToDial is the dial of what must not dial.
func refuseToDial(context.Context, string, string) (net.Conn, error) { return nil, errNoDial }

// dial connects to one of the checked addresses. It is the way out for CONNECT.
// An attempt that a loop has begun counts as the first one, and has its place
// among the dials under way.
func (x *exchange) dial(ctx context.Context, under *underway) (net.Conn, verdict.Reason) {
	s, key := x.server, dialKey{x.account, x.target}
	began, addrs := time.Now(), spread(x.addresses, x.target.Port)
	if under != nil {
		began, addrs = under.began, addrs[1:]
	} else if reason := s.dialing.begin(key); reason != verdict.ReasonNone {
		return nil, s.metrics.notDialed(reason, false)
	}
	defer s.dialing.end(key)
	c, err := s.dialAny(ctx, addrs, x.permits, under)
	if err != nil {
		return nil, s.metrics.notDialed(dialReason(err), true)
	}
	x.event.Dialed = remoteOf(c)
	now := time.Now()
	x.server.metrics.dialed(now.Sub(began), now.Sub(x.start))
	return c, verdict.ReasonNone
}

// dialReason maps a dial error to the reason; the error itself stays here.
func dialReason(err error) verdict.Reason {
	var timeout net.Error
	var limit *limitError
	switch {
	case errors.Is(err, errNotPermitted):
		return verdict.ReasonAddressNotAllowed
	case errors.As(err, &limit):
		return limit.reason
	case exhausted(err):
		return verdict.ReasonLimitTotal
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return verdict.ReasonDialTimeout
	default:
		return verdict.ReasonDialFailed
	}
}

// remoteOf returns the address a connection goes to.
func remoteOf(c net.Conn) netip.AddrPort {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		ap := a.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}

// spread returns the addresses to try: the families by turns, so that a
// family that does not work costs one attempt, and maxAttempts in all.
func spread(addrs []netip.Addr, port uint16) []netip.AddrPort {
	if len(addrs) == 1 {
		return []netip.AddrPort{netip.AddrPortFrom(addrs[0], port)}
	}
	var v4, v6 []netip.Addr
	for _, a := range addrs {
		if a.Is4() {
			v4 = append(v4, a)
		} else {
			v6 = append(v6, a)
		}
	}
	var out []netip.AddrPort
	for len(out) < maxAttempts && len(v4)+len(v6) > 0 {
		for _, family := range []*[]netip.Addr{&v6, &v4} {
			if len(*family) > 0 && len(out) < maxAttempts {
				out = append(out, netip.AddrPortFrom((*family)[0], port))
				*family = (*family)[1:]
			}
		}
	}
	return out
}

// underway is a connect(2) that has begun and that something else than a
// goroutine has waited for.
type underway struct {
	began time.Time
	wait  func(context.Context) (net.Conn, error) // for its end; called once
}

// dialAny connects to the first address that answers. The next one is tried
// when the one before fails, or has had attemptDelay and there is a descriptor to
// spare for one beside it; who comes late is closed. An attempt that is under way
// is tried before all of them.
func (s *Server) dialAny(ctx context.Context, addrs []netip.AddrPort, permits func(netip.AddrPort) bool, under *underway) (net.Conn, error) {
	switch {
	case under != nil:
	case len(addrs) == 0:
		return nil, errNotPermitted
	case len(addrs) == 1:
		return dialOne(ctx, addrs[0], permits)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := dialRace{server: s, left: addrs, permits: permits, results: make(chan dialResult, len(addrs)+1), timer: time.NewTimer(attemptDelay)}
	defer r.timer.Stop()
	if under != nil {
		r.pending++
		go under.into(ctx, r.results)
		r.timer.Reset(time.Until(under.began.Add(attemptDelay)))
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
	server  *Server
	left    []netip.AddrPort // not tried yet
	permits func(netip.AddrPort) bool
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
	r.timer.Reset(attemptDelay)
	beside := r.pending > 0
	if beside && !r.server.beside.take() {
		return
	}
	go r.server.dialInto(ctx, dialAttempt{r.left[0], r.permits, beside, r.results})
	r.left = r.left[1:]
	r.pending++
}

// dialResult is how one attempt ended.
type dialResult struct {
	conn net.Conn
	err  error
}

// into waits for an attempt that is under way.
func (a *underway) into(ctx context.Context, results chan<- dialResult) {
	c, err := a.wait(ctx)
	results <- dialResult{c, err}
}

// dialAttempt is one attempt of several.
type dialAttempt struct {
	to      netip.AddrPort
	permits func(netip.AddrPort) bool
	beside  bool // it holds one of Server.beside
	results chan<- dialResult
}

// dialInto runs one attempt.
func (s *Server) dialInto(ctx context.Context, a dialAttempt) {
	c, err := dialOne(ctx, a.to, a.permits)
	if a.beside {
		s.beside.give()
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

// dialOne connects to one address. The check is repeated on the address that
// the kernel is given, so that no path can connect to an unchecked one.
func dialOne(ctx context.Context, a netip.AddrPort, permits func(netip.AddrPort) bool) (net.Conn, error) {
	d := net.Dialer{
		KeepAlive: -1, // see keepAliveProbes
		ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			ap, err := netip.ParseAddrPort(address)
			if err != nil || !permits(netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())) {
				return errNotPermitted
			}
			return nil
		},
	}
	c, err := d.DialContext(ctx, "tcp", a.String())
	if err != nil {
		return nil, fmt.Errorf("dialing %s: %w", a, err)
	}
	return c, nil
}
