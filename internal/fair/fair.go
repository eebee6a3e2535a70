// Package fair shares out what many callers need and there is a bounded number of, so
// that no caller stands in another's way.
//
// What it does: it says whom something counts to (a [Caller]: the function where it is
// known, else the source, of IPv6 the /64), gives each caller a share of [Places], says
// who has to go for a newer one, and logs who has too much.
//
// What it does not do: it holds, opens and closes nothing (who has to go is told by a
// method of its own), makes nobody wait, and knows no policy.
//
//	var places fair.Places
//	places.Init(1024, &bounds.Lookups)
//	out, ok := places.Acquire(&x.place, fair.CallerOf(function, address), x)
//	out.CarryOut()
//	…
//	places.Release(&x.place)
package fair

import (
	"context"
	"net/netip"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// Caller is whom what is bounded counts to: the function where it is known, else the
// [Source]. The zero Caller is everybody of whom neither is known.
type Caller struct {
	Function string
	Source   netip.Addr // of IPv6 the first address of the /64; not valid where there is a function
	// ByAddress: the function is known by the address of a packet alone, which can be
	// forged. It is another caller than the function itself, from which a forger must
	// take nothing.
	ByAddress bool
}

// CallerOf returns the caller of a function, "" where it is not known, and an address.
func CallerOf(function string, a netip.Addr) Caller {
	if function != "" {
		return Caller{Function: function}
	}
	return Caller{Source: Source(a)}
}

// Source returns whom an address counts to where no function is known: itself, and of
// IPv6, where a caller has all of it, the first address of the /64.
func Source(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		p, _ := a.Prefix(64)
		a = p.Addr()
	}
	return a
}

// String returns the function, or the source.
func (c Caller) String() string {
	if c.Function != "" || !c.Source.IsValid() {
		return c.Function
	}
	return c.Source.String()
}

// callerKey is the key of a context's Caller.
type callerKey struct{}

// WithCaller returns a context that says for whom it is.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerFrom returns for whom a context is; the zero Caller where it does not say.
func CallerFrom(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}

// ShareError is what has been refused because its caller has its share, or because
// there are no places left.
type ShareError struct{ Reason verdict.Reason }

// ErrNoneLeft is what has been refused because the machine has no more of it.
var ErrNoneLeft = &ShareError{verdict.ReasonLimitTotal}

// Error implements error.
func (e *ShareError) Error() string { return "no place for it: " + e.Reason.String() }
