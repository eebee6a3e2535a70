package dnsfilter

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
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
		g.decided[i] = s.decide(x, p.Data, p.Client, now, p.TCP)
		switch {
		case !g.decided[i]:
			s.startPending(x, p)
		case x.recorded():
			g.events = append(g.events, &x.Event)
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

// startPending has a question that waits answered later, in memory of its own.
func (s *Server) startPending(x *exchange, p *dnsserver.Packet) {
	x, own := x.handOver(p.Data)
	client, tcp := p.Client, p.TCP
	p.Later(func(ctx context.Context) []byte { return s.handlePending(ctx, x, own, client, tcp) })
}

// decide takes a packet as far as it goes without a record. False: it has to wait,
// and holds a token of pending, which handlePending gives back; where there is
// none the question is refused.
func (s *Server) decide(x *exchange, pkt []byte, client netip.AddrPort, now time.Time, tcp bool) (decided bool) {
	defer func() {
		if fault := recover(); fault != nil {
			s.panicked(fault)
			x.form, x.Event.ID, decided = servfail, 0, true
		}
	}()
	x.judged = false // what the memory is left with of the question before
	if x.decideFast(s, pkt, client, now, tcp) {
		return true
	}
	select {
	case s.pending <- struct{}{}:
		s.metrics.inFlight.Inc()
		return false
	default:
	}
	x.refuseOverload(s, pkt, client, tcp)
	return true
}

// refuseOverload decides a question that had to wait where there is no room. Its
// record has what was asked, and not what was found of it.
func (x *exchange) refuseOverload(s *Server, pkt []byte, client netip.AddrPort, tcp bool) {
	if x.judged {
		host, qtype := x.Event.Host, x.Event.QType
		x.beginEvent(client)
		x.Event.Host, x.Event.QType = host, qtype
	} else {
		x.begin(s, client)
		if _, bad := x.readSlow(pkt, tcp); bad {
			x.query.Name = nil
		}
		x.form = overloaded
	}
	x.Refuse(verdict.ReasonLimitTotal)
	x.number()
}

// handOver returns packet and exchange of a question that waits in memory of
// their own, with all that has been found; x and pkt are free for the next one.
func (x *exchange) handOver(pkt []byte) (*exchange, []byte) {
	own := bytes.Clone(pkt)
	if !x.judged {
		return &exchange{}, own
	}
	next := *x
	*x = exchange{}
	next.query.MoveTo(own)
	return &next, own
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
		return append(dst, x.writeRefusal(pkt, x.Reason, s.refusalOf(x.Reason))...)
	}
	return x.answerFast(pkt, dst, failed)
}

// handlePending answers a packet that decide said has to wait, in memory of its
// own; see handOver. ctx ends when Shutdown gives up.
func (s *Server) handlePending(ctx context.Context, x *exchange, pkt []byte, client netip.AddrPort, tcp bool) (reply []byte) {
	defer func() {
		<-s.pending
		s.metrics.inFlight.Dec()
		if fault := recover(); fault != nil {
			s.panicked(fault)
			reply = wire.AppendFailure(nil, pkt)
		}
	}()
	if x.judged {
		return x.answerMiss(ctx, pkt)
	}
	return x.answerSlow(ctx, s, pkt, client, time.Now(), tcp)
}

// panicked counts a panic and tells where it was, not for which question.
func (s *Server) panicked(fault any) {
	s.metrics.panics.Inc()
	s.log.LogAttrs(context.Background(), slog.LevelError, "answering a question panicked",
		slog.Any("panic", fault), slog.String("stack", string(debug.Stack())))
}
