package proxy

import (
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/tunnel"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// The records of decisions are written in this file and nowhere else, and counted as
// they are written, so that records and metrics agree.

// record writes the record of a decision and counts it. The error is that the
// record could not be written; then audit_unavailable is counted instead.
func (x *exchange) record(kind audit.Kind, v verdict.Verdict, r verdict.Reason) error {
	x.Event.Kind, x.Event.Verdict, x.Event.Reason = kind, v, r
	err := x.server.opt.Audit.Record(&x.Event)
	x.recorded(err)
	return err
}

// recordOpened is record for many permits at once. It returns how many of them are on
// the output, and why the others are not; each is then told by recorded.
func (s *Server) recordOpened(all []*exchange) (n int, err error) {
	events := make([]*audit.Event, len(all))
	for i, x := range all {
		x.Event.Kind = audit.Opened
		events[i] = &x.Event
	}
	return s.opt.Audit.RecordAll(events)
}

// recorded counts a decision by how its record fared.
func (x *exchange) recorded(err error) {
	if err != nil {
		x.Event.Verdict, x.Event.Reason = verdict.Deny, verdict.ReasonAuditUnavailable
	}
	x.server.metrics.decided(x.series(), &x.Event)
}

// permit records that the request may pass; after it the first byte may flow.
func (x *exchange) permit() verdict.Reason {
	began := time.Now()
	if x.record(audit.Opened, x.Event.Verdict, x.Event.Reason) != nil {
		return verdict.ReasonAuditUnavailable
	}
	x.recording = time.Since(began)
	return verdict.ReasonNone
}

// ended writes the last record of what was opened and gives its place back.
func (x *exchange) ended(r tunnel.Result) {
	x.Event.Kind = audit.Closed
	x.Event.BytesUp, x.Event.BytesDown = r.Up, r.Down
	x.Event.Ended = r.Ended.String()
	x.Event.Duration = time.Since(x.Start)
	// Nothing waits for this record; one that cannot be written is counted.
	x.server.opt.Audit.Post(&x.Event)
	x.series().moved(r)
	x.release()
}
