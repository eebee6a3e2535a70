package audit

import "github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit/record"

// Event is what one record says.
type Event = record.Event

// Kind says what a record is about. The zero Kind is none: Record refuses it.
type Kind = record.Kind

// ID names a request within one process. The zero ID is none.
type ID = record.ID

// Change is how many rules a function has gained and lost.
type Change = record.Change

// Total is how many events of one kind had one outcome since the start.
type Total = record.Total

// The kinds; package record says what each is about.
const (
	Started      = record.Started
	Reloaded     = record.Reloaded
	ReloadFailed = record.ReloadFailed
	Heartbeat    = record.Heartbeat
	Challenged   = record.Challenged
	Refused      = record.Refused
	Opened       = record.Opened
	Closed       = record.Closed
	Answered     = record.Answered
	Stopped      = record.Stopped
	Flood        = record.Flood
	Expired      = record.Expired
)

// Totals returns the totals of the requests recorded so far, sorted by kind,
// verdict and reason. Records of the write under way are in it.
func (l *Log) Totals() []Total {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tally.Totals()
}

// Lost returns how many events have no record because the output failed: the
// value of egress_audit_lost_total. A heartbeat that could not be written is
// not among them, the next one says all that it said.
func (l *Log) Lost() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tally.Lost()
}
