// Package record reads one line as a record.
//
// What it does: Parse makes a typed Record of a line, a Parser does so for many
// with less memory, and Facts are what a verification of the chain needs.
//
// What it does not do: it does not compare a line with others, and it shares no
// code with what writes records.
//
//	r, err := record.Parse(line)
//	if errors.Is(err, record.ErrOtherJSON) {
//		// metrics, or an operational log
//	}
package record

import (
	"errors"
	"net/netip"
	"time"
)

// ErrOtherJSON is returned by Parse for a line that is JSON and no record: the
// metrics and the operational log that may share the stream.
var ErrOtherJSON = errors.New("the line is JSON but no record")

// ErrNoRecord is wrapped by the errors of Parse for a line that is not JSON, or
// that has the members of a record with values that no record has.
var ErrNoRecord = errors.New("the line is not a record")

// Record is a parsed record. A field is zero where the record has null or no
// such member.
type Record struct {
	Time    time.Time
	Event   string // started, reloaded, reload_failed, heartbeat, challenged, refused, opened, closed, answered or stopped
	Process string // the field boot
	Seq     uint64 // from 1
	Prev    string // 64 hex digits
	Policy  string
	Version string

	// The fields below are of requests.

	Protocol   string // connect, http or dns
	ID         string
	Client     netip.AddrPort
	Function   string // "": not identified
	Owner      string
	Via        string
	Method     string
	Host       string
	Port       uint16
	Verdict    string // allow, report or deny
	Reason     string // "": none
	Rule       string // "": no rule decided
	Line       int    // of the rule, in the policy file
	Ticket     string
	Addresses  []netip.Addr
	Dialed     netip.AddrPort // not valid: nothing was dialed
	SNI        *string        // nil: no server name was seen
	BytesUp    int64
	BytesDown  int64
	Duration   time.Duration
	Ended      string
	Type       string // of a DNS question
	Suppressed uint64 // see Count

	// The fields below are of started, reloaded and reload_failed.

	Functions int
	Rules     int
	Detail    string

	// The fields below are of heartbeat and stopped.

	Totals map[string]map[string]uint64 // event, then reason, "none" where records have null
	Lost   uint64                       // events that have no record
}

// Count returns how many events the record stands for.
func (r *Record) Count() uint64 { return 1 + r.Suppressed }
