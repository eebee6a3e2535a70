package proxy

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/admission"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egress"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// keepAliveProbes finds a peer that is gone without a word: after 45 s of
// silence, then every 15 s, given up after the third. Package tunnel sets it on
// what lasts.
var keepAliveProbes = net.KeepAliveConfig{Enable: true, Idle: 45 * time.Second, Interval: 15 * time.Second, Count: 3}

// refuseToDial is the dial of what must not dial.
func refuseToDial(context.Context, string, string) (net.Conn, error) { return nil, errNoDial }

// dialKey is by what a dial of the exchange is counted among those under way.
func (x *exchange) dialKey() admission.DialKey {
	return x.usage.Dials(x.Addresses, x.Target.Port)
}

// dial connects to one of the checked addresses. It is the way out for CONNECT.
// An attempt that a loop has begun counts as the first one, and has its place
// among the dials under way.
func (x *exchange) dial(ctx context.Context, under *egress.Inflight) (net.Conn, verdict.Reason) {
	s, key := x.server, x.dialKey()
	began, addrs := time.Now(), s.dialer.Order(x.Addresses, x.Target.Port)
	if under != nil {
		began = under.Began
	} else if reason := s.dials.Begin(key); reason != verdict.ReasonNone {
		return nil, s.metrics.notDialed(reason, false)
	}
	defer s.dials.End(key)
	c, err := s.dialer.Dial(ctx, egress.Host{Addresses: addrs, Permits: x.Permits, Under: under, Extra: x.usage})
	if err != nil {
		return nil, s.metrics.notDialed(dialReason(err), true)
	}
	x.Event.Dialed = egress.RemoteOf(c)
	now := time.Now()
	x.server.metrics.dialed(now.Sub(began), now.Sub(x.Start))
	return c, verdict.ReasonNone
}

// dialReason maps a dial error to the reason; the error itself stays here.
func dialReason(err error) verdict.Reason {
	var limit *admission.LimitError
	if errors.As(err, &limit) {
		return limit.Reason
	}
	return egress.ReasonOf(err)
}
