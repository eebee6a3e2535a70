package dnsfilter

import (
	"context"
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/dnsfilter/chain"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/dnsfilter/wire"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/fair"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/gate"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// answerSlow answers any packet that has a header and is not a response, from its
// bytes on. It reads and writes by miekg/dns and may wait for Exchange.
func (x *exchange) answerSlow(ctx context.Context, s *Server, pkt []byte, client netip.AddrPort, now time.Time, tcp bool) []byte {
	x.begin(s, client)
	if fault, bad := x.readSlow(pkt, tcp); bad {
		return x.refuseFault(pkt, fault)
	}
	switch need := x.drive(now); {
	case need == gate.Records:
		now = x.resolve(ctx)
	case need == gate.Record && x.packed != nil:
		s.metrics.hit.Inc()
	}
	switch answered := x.finish(); {
	case x.dropped:
		return nil
	case !answered:
		return x.writeRefusal(pkt, x.Reason, x.refusal(x.Reason))
	case x.packed == nil:
		return x.orNothing(x.query.WriteAny(pkt))
	}
	if reply := x.orNothing(x.query.WritePacked(pkt, x.packed, now)); reply != nil {
		return reply
	}
	return x.writeRefusal(pkt, verdict.ReasonDNSFailed, x.refusal(verdict.ReasonDNSFailed))
}

// readSlow reads a packet, and writes down in the event what it asks.
func (x *exchange) readSlow(pkt []byte, tcp bool) (f wire.Fault, bad bool) {
	f, bad = x.query.Read(pkt, tcp)
	if x.query.Name != nil {
		x.Event.Host, x.Event.QType = string(x.query.Text), typeName(x.query.Type)
	}
	return f, bad
}

// resolve brings what the cache lacks: it asks Exchange, has the answer judged, and keeps
// it under the exchange's key. It returns when the wait was over: TTLs count from there.
// ctx ends when Shutdown gives up.
func (x *exchange) resolve(ctx context.Context) time.Time {
	x.server.metrics.miss.Inc()
	q := x.query.Question()
	r, reason := x.exchange(ctx, q)
	now := time.Now()
	if reason != verdict.ReasonNone {
		x.Give(reason)
		return now
	}
	found := chain.Find(&x.query, x.Event.Host, &r)
	x.Event.Stale = r.Stale
	x.GiveAnswer(found.Aliases, found.Addrs)
	if x.Next() == gate.Refused {
		return now
	}
	p, err := wire.Pack(q, &r, now)
	if err != nil {
		x.Refuse(verdict.ReasonDNSFailed)
		return now
	}
	p.Addrs, p.Special = found.Addrs, gate.Special(found.Addrs)
	x.snap.packed.Store(x.key, p, now)
	x.packed = p
	return now
}

// exchange asks Exchange, and says why nothing was found.
func (x *exchange) exchange(ctx context.Context, q dns.Question) (Records, verdict.Reason) {
	limited, cancel := context.WithTimeout(fair.WithCaller(ctx, x.caller()), x.server.opt.Limits.Budget)
	defer cancel()
	x.question.begins(cancel)
	r, err := x.server.opt.Exchange(limited, q, x.query.DO)
	switch evicted := x.question.cutShort(); {
	case err != nil && evicted != verdict.ReasonNone:
		return r, evicted
	case err != nil && ctx.Err() != nil:
		return r, verdict.ReasonDraining // nothing has failed; Shutdown has cut it short
	case err != nil:
		return r, failure(err)
	case r.Rcode != dns.RcodeSuccess && r.Rcode != dns.RcodeNameError:
		return r, verdict.ReasonDNSFailed
	}
	return r, verdict.ReasonNone
}

// refuseFault records a packet that cannot be answered and writes what its fault says,
// unless it could not be recorded.
func (x *exchange) refuseFault(pkt []byte, fault wire.Fault) []byte {
	x.Refuse(fault.Reason)
	if x.finish(); x.dropped {
		return nil
	}
	f := fault.Refusal
	if x.Reason != fault.Reason {
		f = x.refusal(x.Reason)
	}
	return x.writeRefusal(pkt, x.Reason, f)
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
