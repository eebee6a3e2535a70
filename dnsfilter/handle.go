package dnsfilter

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// outcome is what deciding made of a packet.
type outcome uint8

const (
	drop    outcome = iota // no answer: the zero value
	decided                // record and answer are to come, without waiting
	pending                // the slow path has to answer
)

// form is how the answer to a decided packet is made.
type form uint8

const (
	fast       form = iota // by the fast path
	overloaded             // by the slow path: it had to wait, and there is no room
	servfail               // SERVFAIL: deciding panicked
)

// eligible reports whether a packet from that client is worth an answer, and counts
// it where it is not. Nothing is answered to who may not ask, and nothing to a
// response, so that two servers cannot keep each other busy.
func (s *Server) eligible(pkt []byte, client netip.Addr) bool {
	switch {
	case !s.mayAsk(client):
		s.metrics.drop(causeClient)
	case len(pkt) < headerLen:
		s.metrics.drop(causeShort)
	case pkt[2]&bitQR != 0:
		s.metrics.drop(causeResponse)
	default:
		return true
	}
	return false
}

// mayAsk reports whether the address may ask at all.
func (s *Server) mayAsk(a netip.Addr) bool {
	for _, p := range s.opt.Clients {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// decide takes a packet as far as it goes without a record. Of questions that
// wait it takes a token of flights, which handlePending gives back; where there
// is none the question is refused.
func (s *Server) decide(x *exchange, pkt []byte, client netip.AddrPort, now time.Time, tcp bool) (o outcome) {
	defer func() {
		if fault := recover(); fault != nil {
			s.panicked(fault)
			x.form, x.event.ID, o = servfail, 0, decided
		}
	}()
	x.judged = false // what the memory is left with of the question before
	if !s.eligible(pkt, client.Addr()) {
		return drop
	}
	if x.decideFast(s, pkt, client, now, tcp) {
		return decided
	}
	select {
	case s.flights <- struct{}{}:
		s.metrics.waiting.Inc()
		return pending
	default:
	}
	x.refuseOverload(s, pkt, client, now, tcp)
	return decided
}

// refuseOverload decides a question that had to wait where there is no room. Its
// record has what was asked, and not what was found of it.
func (x *exchange) refuseOverload(s *Server, pkt []byte, client netip.AddrPort, now time.Time, tcp bool) {
	if x.judged {
		host, qtype := x.event.Host, x.event.QType
		x.beginEvent()
		x.event.Host, x.event.QType = host, qtype
	} else {
		x.begin(s, client, now)
		if _, bad := x.readSlow(pkt, tcp); bad {
			x.query.wire = nil
		}
		x.form = overloaded
	}
	x.setDecision(verdict.Deny, verdict.ReasonLimitTotal)
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
	next.query.wire = own[headerLen : headerLen+len(next.query.wire)]
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
			reply = appendFailure(pkt, dst[:start])
		}
	}()
	if x.form == servfail {
		return appendFailure(pkt, dst)
	}
	if !x.recorded() {
		failed = nil
	}
	x.conclude(failed)
	if x.form == overloaded {
		reason := x.event.Reason
		return append(dst, x.writeRefusal(pkt, reason, s.refusalOf(reason))...)
	}
	return x.answerFast(pkt, dst)
}

// handleFast answers one packet without waiting, appending to dst. It returns
// decided where the answer is there.
func (s *Server) handleFast(x *exchange, pkt []byte, client netip.AddrPort, now time.Time, tcp bool, dst []byte) ([]byte, outcome) {
	o := s.decide(x, pkt, client, now, tcp)
	if o != decided {
		return dst, o
	}
	var err error
	if x.recorded() {
		err = s.record([]*audit.Event{&x.event})
	}
	return s.answer(x, pkt, err, dst), o
}

// handlePending answers a packet that handleFast said has to wait, in memory of
// its own; see handOver.
func (s *Server) handlePending(x *exchange, pkt []byte, client netip.AddrPort, tcp bool) (reply []byte) {
	defer func() {
		<-s.flights
		s.metrics.waiting.Dec()
		if fault := recover(); fault != nil {
			s.panicked(fault)
			reply = appendFailure(pkt, nil)
		}
	}()
	if x.judged {
		return x.answerMiss(s.base, pkt)
	}
	return x.answerSlow(s.base, s, pkt, client, time.Now(), tcp)
}

// panicked counts a panic and tells where it was, not for which question.
func (s *Server) panicked(fault any) {
	s.metrics.panics.Inc()
	s.log.LogAttrs(context.Background(), slog.LevelError, "answering a question panicked",
		slog.Any("panic", fault), slog.String("stack", string(debug.Stack())))
}

// appendFailure appends SERVFAIL to pkt, with its question where that can be
// found. It reads no more than it must: something has just gone wrong.
func appendFailure(pkt, dst []byte) []byte {
	questions := byte(0)
	wire, ok := rawName(pkt)
	if end := headerLen + len(wire) + 4; ok && end <= len(pkt) {
		pkt, questions = pkt[:end], 1
	} else {
		pkt = pkt[:headerLen]
	}
	dst = append(dst, pkt[0], pkt[1], bitQR|pkt[2]&(0x78|bitRD), bitRA|dns.RcodeServerFailure, 0, questions, 0, 0, 0, 0, 0, 0)
	return append(dst, pkt[headerLen:]...)
}
