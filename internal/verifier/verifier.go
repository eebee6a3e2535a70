// Package verifier verifies tokens of AWS for whoever serves requests: so many at a time,
// by turns of their sources, and each token once.
//
// What it does: [Verifier.Remembered] says whom a token names that has held before, which
// costs a hash and a look. [Verifier.Verify] verifies it by package attest when its turn
// has come, asks for keys that are not there yet, and counts and logs what has failed.
//
// What it does not do: it refuses nobody for asking often; who has shown too much that
// does not hold has its turn behind all others. It knows no functions and fetches no keys.
//
//	principal := v.Remembered(token, trust, now)
//	if principal == nil {
//		principal, result = v.Verify(ctx, token, trust, source, late)
//	}
package verifier

import (
	"context"
	"log/slog"
	"net/netip"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/attest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/fair"
)

// Token is what is verified.
type Token struct {
	Raw    string // the JWT
	Digest attest.Digest
}

// Options are what a Verifier is made of.
type Options struct {
	// Keys returns the keys of an issuer; nil: there are none.
	Keys func(issuer string) *attest.Keys
	// Refresh asks for the keys of an issuer and waits for them; false: nothing was asked.
	Refresh func(ctx context.Context, issuer string) bool
	// AtOnce is how many tokens are verified at a time. 0: half of the processors, so that
	// a flood of forged ones leaves the rest to others; one at least.
	AtOnce int
	// Remember is how many tokens that hold are remembered; 0: attest.MaxRemembered.
	Remember int
	// Registerer takes the metric; nil: it is not registered.
	Registerer prometheus.Registerer
	// Logger is told which check tokens fail, once a minute for each; nil: nobody is.
	Logger *slog.Logger
}

// Verifier verifies tokens. Safe for concurrent use. A nil Verifier remembers nothing,
// and has no token hold.
type Verifier struct {
	opt      Options
	cache    *attest.Cache
	places   scheduler
	results  map[attest.Result]prometheus.Counter
	failures failureLog
}

// New returns a Verifier. Keys and Refresh are required.
func New(o Options) *Verifier {
	if o.AtOnce == 0 {
		o.AtOnce = max(runtime.GOMAXPROCS(0)/2, 1)
	}
	if o.Remember == 0 {
		o.Remember = attest.MaxRemembered
	}
	v := &Verifier{opt: o, cache: attest.NewCache(o.Remember), results: map[attest.Result]prometheus.Counter{}}
	v.places.init(o.AtOnce)
	v.failures.log = o.Logger
	counters := promauto.With(o.Registerer).NewCounterVec(prometheus.CounterOpts{
		Name: "egress_identity_verifications_total",
		Help: "Tokens of AWS that were verified, by the check that has failed, or verified; one that is remembered is not verified again.",
	}, []string{"result"})
	for _, r := range attest.Results() {
		v.results[r] = counters.WithLabelValues(r.String())
	}
	return v
}

// Remembered returns whom a token names that has held before and still holds; nil: it has
// to be verified. It does not wait or allocate.
func (v *Verifier) Remembered(d attest.Digest, t *attest.Trust, now time.Time) *attest.Principal {
	if v == nil {
		return nil
	}
	return v.cache.Get(d, t, v.opt.Keys, now)
}

// Verify verifies a token when its turn has come, among those of its source and those of
// others; late: behind all that are not. It returns whom the token names, or nil and the
// check that has failed. The error is that of ctx, which has ended before the turn came:
// then nothing is known of the token.
func (v *Verifier) Verify(ctx context.Context, token Token, t *attest.Trust, source netip.Addr, late bool) (*attest.Principal, attest.Result, error) {
	if v == nil {
		return nil, attest.Malformed, nil
	}
	principal, outcome, err := v.once(ctx, token, t, source, late)
	if r := outcome.Result; err == nil && (r == attest.UnknownKey || r == attest.NoKeys) && v.opt.Refresh(ctx, outcome.Principal.Issuer) {
		principal, outcome, err = v.once(ctx, token, t, source, late)
	}
	switch {
	case err != nil:
		return nil, attest.Malformed, err
	case principal != nil:
		return principal, attest.Verified, nil
	}
	v.failures.add(outcome, source, time.Now())
	return nil, outcome.Result, nil
}

// once waits for a turn and verifies the token, unless somebody has meanwhile. It returns
// the principal of one that holds, and else the outcome.
func (v *Verifier) once(ctx context.Context, token Token, t *attest.Trust, source netip.Addr, late bool) (*attest.Principal, attest.Outcome, error) {
	if err := v.places.acquire(ctx, fair.Source(source), late); err != nil {
		return nil, attest.Outcome{}, err
	}
	defer v.places.release()
	now := time.Now()
	if p := v.Remembered(token.Digest, t, now); p != nil {
		return p, attest.Outcome{}, nil
	}
	outcome := attest.Verify(token.Raw, t, v.opt.Keys, now)
	v.results[outcome.Result].Inc()
	return v.cache.Add(token.Digest, t, outcome), outcome, nil
}

// Sweep forgets tokens that have ended, or that hold no more by what is trusted now.
func (v *Verifier) Sweep(t *attest.Trust, now time.Time) {
	if v != nil {
		v.cache.Sweep(t, v.opt.Keys, now)
	}
}
