package resolve

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/resolve/cache"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/resolve/files"
)

// Answer is what [Resolver.Lookup] found. Its slices are shared with the cache and
// must not be written to.
type Answer struct {
	// Addrs are the addresses, the IPv4 ones first, each family in the upstream's
	// order, at most MaxAddrs of each, no zones, IPv4-mapped ones unmapped. Never
	// empty where the error is nil.
	Addrs []netip.Addr
	// Chain is the names that CNAMEs led through to the addresses, of either family,
	// lower case, without a trailing dot. Empty: the name has its addresses itself.
	Chain []string
	// Stale says that the TTL has passed and no upstream could be asked.
	Stale bool
}

// Records is what [Resolver.Exchange] found. They are the caller's own copies.
type Records struct {
	// Answer is the CNAMEs from the question's name on, and the records of the
	// question's type at their end. Each TTL is what is left of the smallest.
	Answer []dns.RR
	// Authority is the SOA that proves a negative answer, and with DNSSEC the
	// records that deny. Empty for positive answers.
	Authority []dns.RR
	// Rcode is dns.RcodeSuccess, with or without records, or dns.RcodeNameError.
	Rcode int
	// TTL is how long the records may be kept. Zero: for this one request.
	TTL time.Duration
	// Stale says that the TTL has passed and no upstream could be asked. TTL is
	// then short, so that whoever asked comes back soon.
	Stale bool
}

// staleTTL is the TTL on records that outlived theirs (RFC 8767 section 4).
const staleTTL = 30 * time.Second

// Lookup returns the addresses of name, which is canonical: lower case, A-labels,
// no trailing dot. Where both families are asked for it waits for both, but for the one
// that comes later no longer than resolutionDelay. Where one of them fails (not: has no
// records), or is late, the addresses of the other are the answer: a broken AAAA must not
// cut off a host that has a good A. What comes late is part of the next answer.
//
// The error matches ErrNotFound, ErrTimeout or ErrFailed, or is ctx's own when
// that is cancelled; a deadline of ctx that passes is ErrTimeout. It is a
// *fair.ShareError where the caller that ctx has (fair.WithCaller) has as many lookups
// under way as it may have, and the place went to a newer one. A question that its asker
// gives up goes on for the others who wait for it, and ends with the last one. With a
// ctx that has ended Lookup returns what the cache has.
func (r *Resolver) Lookup(ctx context.Context, name string) (Answer, error) {
	now := r.now()
	r.files.Refresh(now)
	if host, ok := r.files.Host(name); ok {
		return hostAnswer(host, name, r.types)
	}
	// Both questions are on their way before either is waited for.
	var started [2]pending
	for i, qtype := range r.types {
		started[i] = r.begin(ctx, key{Name: name, Type: qtype}, now)
	}
	if len(r.types) == 2 {
		r.awaitFirst(ctx, &started)
	}
	var found Answer
	var failed error
	for i := range r.types {
		e, stale, err := r.await(ctx, started[i])
		if err == nil {
			err = e.Problem
		}
		switch {
		case errors.Is(err, context.Canceled):
			for _, other := range started[i+1 : len(r.types)] {
				r.abandon(other)
			}
			return Answer{}, err // half of the answer is not the answer
		case err == nil:
			found = combine(found, Answer{Addrs: e.Addrs, Chain: e.Chain, Stale: stale})
		case failed == nil || errors.Is(failed, ErrNotFound):
			failed = err
		}
	}
	if len(found.Addrs) == 0 {
		return Answer{}, failed
	}
	r.metrics.countServed(now, started[:len(r.types)]...)
	return found, nil
}

// combine adds the addresses of b behind those of a. It allocates only where both
// have some.
func combine(a, b Answer) Answer {
	if len(a.Addrs) == 0 {
		return b
	}
	addrs := make([]netip.Addr, 0, len(a.Addrs)+len(b.Addrs))
	return Answer{
		Addrs: append(append(addrs, a.Addrs...), b.Addrs...),
		Chain: combineChains(a.Chain, b.Chain),
		Stale: a.Stale || b.Stale,
	}
}

// combineChains returns the names of both chains. It allocates only where b has one
// that a lacks: each family can be led another way.
func combineChains(a, b []string) []string {
	for _, name := range b {
		if !slices.Contains(a, name) {
			a = append(slices.Clip(a), name)
		}
	}
	return a
}

// Exchange answers one question of class IN with records: a name may be in any case
// and with or without its final dot. dnssec sets DO upstream and keeps signatures
// and denials in the answer; such answers are cached apart.
//
// NXDOMAIN and NODATA are answers here, not errors. Errors are those of Lookup,
// save ErrNotFound. Transfers, ANY and other meta types are refused with ErrFailed.
func (r *Resolver) Exchange(ctx context.Context, q dns.Question, dnssec bool) (Records, error) {
	k := key{Name: hostname.Fold(q.Name), Type: q.Qtype, DNSSEC: dnssec}
	if q.Qclass != dns.ClassINET || !askable(q.Qtype) {
		return Records{}, fmt.Errorf("resolving %q: class %d type %d is not asked upstream: %w",
			k.Name, q.Qclass, q.Qtype, ErrFailed)
	}
	now := r.now()
	r.files.Refresh(now)
	if host, ok := r.files.Host(k.Name); ok && (k.Type == dns.TypeA || k.Type == dns.TypeAAAA) {
		return Records{Answer: host.Records(k.Name, k.Type), TTL: files.CheckEvery}, nil
	}
	p := r.begin(ctx, k, now)
	e, stale, err := r.await(ctx, p)
	if err == nil && errors.Is(e.Problem, ErrFailed) {
		err = e.Problem
	}
	if err != nil {
		return Records{}, err
	}
	r.metrics.countServed(now, p)
	return recordsOf(e, r.now(), stale), nil
}

// askable refuses what is not a record: OPT, and 128–255, the Q and meta types
// (RFC 6895 section 3.1).
func askable(qtype uint16) bool {
	return qtype != dns.TypeNone && qtype != dns.TypeOPT && (qtype < 128 || qtype > 255)
}

// recordsOf is e as a caller may have it at now.
func recordsOf(e *cache.Entry, now time.Duration, stale bool) Records {
	rec := Records{Rcode: e.Rcode, TTL: max(0, e.Expires-now), Stale: stale}
	if stale {
		rec.TTL = staleTTL
	}
	rec.Answer, rec.Authority = e.Records(rec.TTL)
	return rec
}
