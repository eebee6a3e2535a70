package dnsfilter

import (
	"context"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/dnsfilter/wire"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/dnsserver"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// form is how the answer to a decided packet is made.
type form uint8

const (
	fast       form = iota // by the fast path
	overloaded             // by the slow path: it had to wait, and there is no room
	servfail               // SERVFAIL: deciding panicked
)

// newHandler returns what answers the packets of one reader.
func (s *Server) newHandler() dnsserver.Handler {
	g := &group{server: s}
	return g.handle
}

// group is the packets of one read on their way to their answers. It is for one
// goroutine and is used again.
type group struct {
	server    *Server
	exchanges []exchange
	decided   []bool
	events    []*audit.Event // of those that are recorded
	spare     *question      // memory for the next one that has to wait
}

// handle answers packets: it decides all of them, then writes the records of all
// by one write, and only then answers. Each that has to wait gets a goroutine.
func (g *group) handle(packets []dnsserver.Packet) {
	if n := len(packets); n > len(g.exchanges) {
		g.exchanges, g.decided = make([]exchange, n), make([]bool, n)
	}
	s, now := g.server, time.Now()
	g.events = g.events[:0]
	for i := range packets {
		p, x := &packets[i], &g.exchanges[i]
		g.decided[i] = g.decide(x, p, now)
		switch {
		case !g.decided[i]:
			g.startPending(x, p)
		case x.recorded():
			g.record(x, p, &g.decided[i])
		}
	}
	var err error
	if len(g.events) > 0 {
		err = s.record(g.events)
	}
	for i := range packets {
		if p := &packets[i]; g.decided[i] {
			p.Answer = s.answer(&g.exchanges[i], p.Data, err, p.Answer)
		}
	}
}

// record has the record of a decided packet written with those of the group. One of a
// refusal beyond the budget of its caller is shared instead: then the packet is answered
// later, or not at all, and here is nothing to do for it.
func (g *group) record(x *exchange, p *dnsserver.Packet, here *bool) {
	if x.Event.Verdict != verdict.Deny {
		g.events = append(g.events, &x.Event)
		return
	}
	switch postponed, course := g.next().postpone(x); course {
	case audit.Shared:
		q := g.spare
		g.spare, *here = nil, false
		q.moveFrom(x, p)
		p.Later(func(context.Context) []byte { return q.answerRefusal(postponed) })
	case audit.Dropped:
		*here = false
	default:
		g.events = append(g.events, &x.Event)
	}
}

// next returns the memory for the next question that has to wait.
func (g *group) next() *question {
	if g.spare == nil {
		g.spare = &question{server: g.server}
	}
	return g.spare
}

// startPending has a question that waits answered later, in memory of its own.
func (g *group) startPending(x *exchange, p *dnsserver.Packet) {
	q := g.spare
	g.spare = nil
	q.moveFrom(x, p)
	p.Later(q.answer)
}

// decide takes a packet as far as it goes without a record. False: it has to wait,
// and the group's next question holds its place; where there is none the packet is
// refused.
func (g *group) decide(x *exchange, p *dnsserver.Packet, now time.Time) (decided bool) {
	s := g.server
	defer func() {
		if fault := recover(); fault != nil {
			s.panicked(fault)
			x.form, x.Event.ID, decided = servfail, 0, true
		}
	}()
	x.judged = false // what the memory is left with of the question before
	if x.decideFast(s, p.Data, p.Client, now, p.TCP) {
		return true
	}
	if !x.judged {
		x.begin(s, p.Client)
		x.FindSource()
	}
	reason := g.next().acquire(x.caller())
	if reason == verdict.ReasonNone {
		return false
	}
	x.refuseOverload(p, reason)
	return true
}

// refuseOverload decides a question that had to wait where there is no place for it. Its
// record has who asked for what, and not what was found of that.
func (x *exchange) refuseOverload(p *dnsserver.Packet, reason verdict.Reason) {
	if !x.judged {
		if _, bad := x.readSlow(p.Data, p.TCP); bad {
			x.query.Name = nil
		}
		x.form = overloaded
	}
	e := x.Event
	x.beginEvent(p.Client)
	x.Event.Host, x.Event.QType = e.Host, e.QType
	x.Event.Function, x.Event.Owner, x.Event.Via = e.Function, e.Owner, e.Via
	x.Refuse(reason)
	x.number()
}

// record writes the records of decided questions, by one write. Nobody may be
// answered before it has returned.
func (s *Server) record(events []*audit.Event) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			s.panicked(fault)
			err = audit.ErrUnavailable
		}
	}()
	_, err = s.opt.Audit.RecordAll(events)
	return err
}

// answer appends the answer to a decided packet to dst; failed: its record, if
// it has one, could not be written.
func (s *Server) answer(x *exchange, pkt []byte, failed error, dst []byte) (reply []byte) {
	start := len(dst)
	defer func() {
		if fault := recover(); fault != nil {
			s.panicked(fault)
			reply = wire.AppendFailure(dst[:start], pkt)
		}
	}()
	if x.form == servfail {
		return wire.AppendFailure(dst, pkt)
	}
	if !x.recorded() {
		failed = nil
	}
	if x.form == overloaded {
		x.conclude(failed)
		return append(dst, x.writeRefusal(pkt, x.Reason, x.refusal(x.Reason))...)
	}
	return x.answerFast(pkt, dst, failed)
}

// panicked counts a panic and tells where it was, not for which question.
func (s *Server) panicked(fault any) {
	s.metrics.panics.Inc()
	s.log.LogAttrs(context.Background(), slog.LevelError, "answering a question panicked",
		slog.Any("panic", fault), slog.String("stack", string(debug.Stack())))
}
