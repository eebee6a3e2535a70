package dnsfilter

import (
	"context"
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/dnsfilter/cache"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/dnsfilter/wire"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// answerSlow answers any packet that has a header and is not a response, from its
// bytes on. It reads and writes by miekg/dns and may wait for Exchange.
func (x *exchange) answerSlow(ctx context.Context, s *Server, pkt []byte, client netip.AddrPort, now time.Time, tcp bool) []byte {
	x.begin(s, client, now)
	if fault, bad := x.readSlow(pkt, tcp); bad {
		return x.refuseSlow(pkt, fault.Reason, &fault.Refusal)
	}
	if reason := x.judge(); reason != verdict.ReasonNone {
		return x.refuseSlow(pkt, reason, nil)
	}
	var p *wire.Packed
	if x.query.Type != dns.TypeANY {
		var reason verdict.Reason
		if p, reason = x.find(ctx); reason != verdict.ReasonNone {
			return x.refuseSlow(pkt, reason, nil)
		}
	}
	switch reason := x.permit(); {
	case reason != verdict.ReasonNone:
		return x.writeRefusal(pkt, reason, s.refusalOf(reason))
	case p == nil:
		return x.orNothing(x.query.WriteAny(pkt))
	}
	if reply := x.orNothing(x.query.WritePacked(pkt, p, x.now)); reply != nil {
		return reply
	}
	return x.writeRefusal(pkt, verdict.ReasonDNSFailed, s.refusalOf(verdict.ReasonDNSFailed))
}

// readSlow reads a packet, and writes down in the event what it asks.
func (x *exchange) readSlow(pkt []byte, tcp bool) (f wire.Fault, bad bool) {
	f, bad = x.query.Read(pkt, tcp)
	if x.query.Name != nil {
		x.event.Host, x.event.QType = string(x.query.Text), typeName(x.query.Type)
	}
	return f, bad
}

// find returns the judged answer to an allowed question: a packed one that is
// at hand, or what Exchange brings.
func (x *exchange) find(ctx context.Context) (*wire.Packed, verdict.Reason) {
	x.key = cache.Key(x.key[:0], &x.query)
	if p := x.snap.packed.Get(x.key, x.now); p != nil {
		x.event.Addresses = p.Addrs
		if !x.permits(p.Special) {
			return nil, verdict.ReasonAddressNotAllowed
		}
		x.server.metrics.hit.Inc()
		return p, verdict.ReasonNone
	}
	return x.resolve(ctx)
}

// resolve asks Exchange for what the cache lacks, judges it, and keeps it under
// the exchange's key. ctx ends when Shutdown gives up.
func (x *exchange) resolve(ctx context.Context) (*wire.Packed, verdict.Reason) {
	x.server.metrics.miss.Inc()
	q := x.query.Question()
	limited, cancel := context.WithTimeout(ctx, x.server.opt.Limits.Budget)
	defer cancel()
	r, err := x.server.opt.Exchange(limited, q, x.query.DO)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, verdict.ReasonDraining // nothing has failed; Shutdown has cut it short
	case err != nil:
		return nil, failure(err)
	case r.Rcode != dns.RcodeSuccess && r.Rcode != dns.RcodeNameError:
		return nil, verdict.ReasonDNSFailed
	}
	if reason := x.judgeAnswer(x.event.Host, &r); reason != verdict.ReasonNone {
		return nil, reason
	}
	r.Authority = x.denials(r.Authority)
	x.now = time.Now() // the wait is over: TTLs count from here
	p, err := wire.Pack(q, &r, x.now)
	if err != nil {
		return nil, verdict.ReasonDNSFailed
	}
	p.Addrs, p.Special = x.event.Addresses, special(x.event.Addresses)
	x.snap.packed.Store(x.key, p, x.now)
	return p, verdict.ReasonNone
}

// denials leaves of an authority section what proves a denial.
func (x *exchange) denials(records []dns.RR) []dns.RR {
	remaining := records[:0]
	for _, rr := range records {
		switch rr.(type) {
		case *dns.SOA:
			remaining = append(remaining, rr)
		case *dns.NSEC, *dns.NSEC3, *dns.RRSIG:
			if x.query.DO {
				remaining = append(remaining, rr)
			}
		}
	}
	return remaining
}

// refuseSlow records a refusal and writes its answer; how: nil, as the reason is
// answered.
func (x *exchange) refuseSlow(pkt []byte, r verdict.Reason, how *wire.Refusal) []byte {
	final := x.finish(verdict.Deny, r)
	f := x.server.refusalOf(final)
	if how != nil && final == r {
		f = *how
	}
	return x.writeRefusal(pkt, final, f)
}

// writeRefusal returns the answer to a refused question.
func (x *exchange) writeRefusal(pkt []byte, r verdict.Reason, f wire.Refusal) []byte {
	return x.orNothing(x.query.WriteRefusal(pkt, f, r.String()))
}

// orNothing is an answer that could be written, and silence where it could not.
func (x *exchange) orNothing(reply []byte, err error) []byte {
	if err != nil {
		x.server.log.Error("an answer could not be packed", "error", err)
		return nil
	}
	return reply
}
