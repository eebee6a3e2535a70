package exchange

import (
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/admission"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/gate"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/perfunction"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/tunnel"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// The records of decisions are written in this file and nowhere else, and counted as
// they are written, so that records and metrics agree.

// Record writes the record of a decision and counts it. The error is that the
// record could not be written; then audit_unavailable is counted instead.
func (x *Exchange) Record(kind audit.Kind, v verdict.Verdict, r verdict.Reason) error {
	x.Event.Kind, x.Event.Verdict, x.Event.Reason = kind, v, r
	err := x.shared.Audit.Record(&x.Event)
	x.Recorded(err)
	return err
}

// RecordOpened is Record for many permits at once. It returns how many of them are on
// the output, and why the others are not; each is then told by Recorded.
func (s *Shared) RecordOpened(all []*Exchange) (n int, err error) {
	events := make([]*audit.Event, len(all))
	for i, x := range all {
		x.Event.Kind = audit.Opened
		events[i] = &x.Event
	}
	began := time.Now()
	n, err = s.Audit.RecordAll(events)
	took := time.Since(began)
	s.Metrics.recorded(n, nil, took)
	s.Metrics.recorded(len(all)-n, err, took)
	return n, err
}

// Recorded counts a decision by how its record fared.
func (x *Exchange) Recorded(err error) {
	if err != nil {
		x.Event.Verdict, x.Event.Reason = verdict.Deny, verdict.ReasonAuditUnavailable
	}
	x.shared.Metrics.decided(x.series(), &x.Event)
}

// recordRefusal writes the record of a refusal, or waits for the one that it shares. False:
// it may not wait, for its caller has its share of those who do. Then there is no record,
// nobody may see an answer, and it is counted.
func (x *Exchange) recordRefusal(kind audit.Kind, r verdict.Reason) (recorded bool, err error) {
	x.Event.Kind, x.Event.Verdict, x.Event.Reason = kind, verdict.Deny, r
	w := &x.wait
	w.pending, w.caller = &x.shared.refusals, x.caller()
	p, course := x.shared.Audit.Postpone(&x.Event, w)
	switch course {
	case audit.Own:
		began := time.Now()
		err = x.shared.Audit.RecordOne(&x.Event)
		x.shared.Metrics.recorded(1, err, time.Since(began))
	case audit.Shared:
		course, err = p.Wait(&x.Event, w)
		x.shared.refusals.places.Release(&w.place)
	}
	if course == audit.Dropped {
		x.shared.Metrics.refusalsDropped.Inc()
		x.shared.refusals.crowding.Add(w.caller)
		return false, nil
	}
	x.Recorded(err)
	return true, err
}

// Permit records that the request may pass; after it the first byte may flow.
func (x *Exchange) Permit() verdict.Reason {
	began := time.Now()
	err := x.Record(audit.Opened, x.Event.Verdict, x.Event.Reason)
	x.Recording = time.Since(began)
	x.shared.Metrics.recorded(1, err, x.Recording)
	if err != nil {
		return verdict.ReasonAuditUnavailable
	}
	return verdict.ReasonNone
}

// Open is what stays of an exchange that has become a tunnel.
type Open struct {
	gate.Opened

	shared  *Shared
	usage   *admission.Usage
	counted perfunction.Moved
}

// Open returns what stays of the exchange, which has its place from now on.
func (x *Exchange) Open() *Open {
	o := &Open{Opened: x.Opened, shared: x.shared, usage: x.usage}
	o.counted.From(&x.counted)
	x.shared.Slots.Shrink(x.usage, x.held)
	x.usage, x.held = nil, 0
	o.usage.Data.(*series).tunnels.Inc()
	return o
}

// Ended writes the last record of a tunnel and gives its places back.
func (o *Open) Ended(r tunnel.Result) {
	o.usage.Data.(*series).closed(r, time.Since(o.Start))
	o.shared.ended(&o.Opened, o.usage, 0, &o.counted, r)
	o.shared.Conns.Release()
}

// Ended writes the last record of what was opened, and is no tunnel, and gives its
// place back.
func (x *Exchange) Ended(r tunnel.Result) {
	x.shared.ended(&x.Opened, x.usage, x.held, &x.counted, r)
	x.usage, x.held = nil, 0
}

// ended writes the last record of what was opened and gives its place back, and the
// bytes that it has held until now. What it has moved and is not counted yet is.
func (s *Shared) ended(o *gate.Opened, usage *admission.Usage, held int64, counted *perfunction.Moved, r tunnel.Result) {
	o.Event.Kind = audit.Closed
	o.Event.BytesUp, o.Event.BytesDown = r.Up, r.Down
	o.Event.Ended = r.Ended.String()
	o.Event.Duration = time.Since(o.Start)
	// Nothing waits for this record; one that cannot be written is counted.
	s.Audit.Post(&o.Event)
	usage.Data.(*series).moved(counted, r.Up, r.Down)
	s.Slots.Release(usage, held)
}
