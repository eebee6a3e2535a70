package exchange

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/admission"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/egress"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// DialKey is by what a dial of the exchange is counted among those under way.
func (x *Exchange) DialKey() admission.DialKey {
	return x.usage.Dials(x.Addresses, x.Target.Port)
}

// DialOrder returns the checked addresses in the order in which they are to be tried, which
// is another one for each request: connections spread over the addresses of a host.
func (x *Exchange) DialOrder() []netip.AddrPort {
	return x.shared.Dialer.Order(x.Addresses, x.Target.Port, x.dialFrom)
}

// Dial connects to one of the checked addresses. It is the way out for CONNECT.
// An attempt that a loop has begun counts as the first one, and has its place
// among the dials under way.
func (x *Exchange) Dial(ctx context.Context, under *egress.Inflight) (net.Conn, verdict.Reason) {
	s, key := x.shared, x.DialKey()
	began, addrs := time.Now(), x.DialOrder()
	if under != nil {
		began = under.Began
	} else if reason := s.Dials.Begin(key); reason != verdict.ReasonNone {
		return nil, x.NotDialed(reason)
	}
	defer s.Dials.End(key)
	c, err := s.Dialer.Dial(ctx, egress.Host{Addresses: addrs, Permits: x.Permits, Under: under, Extra: x.usage})
	if err != nil {
		if clientGone(ctx) {
			err = context.DeadlineExceeded // the client's
		}
		return nil, x.DialFailed(err, time.Since(began))
	}
	x.Event.Dialed = egress.RemoteOf(c)
	s.Metrics.Dialed(time.Since(began))
	return c, verdict.ReasonNone
}

// NotDialed notes that a limit has stopped a dial before it began, and returns r.
func (x *Exchange) NotDialed(r verdict.Reason) verdict.Reason {
	x.shed(shedDials)
	return r
}

// DialFailed notes why a dial has failed that has taken so long, and returns the reason.
func (x *Exchange) DialFailed(err error, took time.Duration) verdict.Reason {
	r := DialReason(err)
	var limit *admission.LimitError
	switch exhausted := egress.ExhaustedOf(err); {
	case exhausted != "":
		x.shed(exhausted)
	case errors.As(err, &limit):
		x.shed(shedDials)
	default:
		x.Event.DialError = egress.CauseOf(err)
	}
	x.shared.Metrics.dialFailed(r, took)
	return r
}

// shed notes what there was too little of for the request, which is refused for that.
func (x *Exchange) shed(cause string) {
	x.Event.Shed = cause
	x.shared.Metrics.shed.WithLabelValues(cause).Inc()
}

// ErrClientGone is the cause of a context that ends because its client has gone away. To
// what was looked up or dialed that is a time that was too short: nothing has failed.
var ErrClientGone = errors.New("the client has gone away")

// clientGone reports whether ctx has ended for that.
func clientGone(ctx context.Context) bool { return errors.Is(context.Cause(ctx), ErrClientGone) }

// DialReason maps a dial error to the reason; the error itself stays here.
func DialReason(err error) verdict.Reason {
	var limit *admission.LimitError
	if errors.As(err, &limit) {
		return limit.Reason
	}
	return egress.ReasonOf(err)
}
