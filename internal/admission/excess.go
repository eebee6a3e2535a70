package admission

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/bounds"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/fair"
)

// ReportEvery is how often [Excess.Report] names a caller for one row.
const ReportEvery = time.Minute

// Row is a kind of thing that callers have shares of.
type Row uint8

// The rows.
const (
	RowUnidentified Row = iota // connections that have not shown who they are
	RowLingering               // connections that have had their last reply
	RowTunnels                 // tunnels and plain requests of one function
	RowMemory                  // bytes that are held for requests
	RowDials                   // dials under way
	RowExtraDials              // attempts to dial beside a host's first
	RowKeepAlive               // connections that wait for their next request

	// Rows is how many there are.
	Rows
)

// String returns the row as metrics and the log have it.
func (r Row) String() string {
	return [...]string{"unidentified", "lingering", "tunnels", "memory", "dials", "extra_dials", "kept_alive"}[r]
}

// Excess keeps who asks for more than its share, for the log. It holds one caller of
// each row, however many there are.
type Excess struct {
	// Over is told of each; nil: nobody is.
	Over func(Row)

	mu   sync.Mutex
	rows [Rows]excessRow
}

// excessRow is what has happened since the last report.
type excessRow struct {
	times  uint64
	caller fair.Caller // whoever was noted most, if anyone makes up half
	votes  uint64      // by how many more than all others together, as far as they are remembered
	told   time.Time
}

// Exceeded says how often callers were over their share of a row, and who most.
type Exceeded struct {
	Row    Row
	Times  uint64
	Caller fair.Caller
}

// Add notes that a caller was over its share. A nil Excess does nothing.
func (c *Excess) Add(r Row, caller fair.Caller) {
	if c == nil {
		return
	}
	if c.Over != nil {
		c.Over(r)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	row := &c.rows[r]
	row.times++
	switch {
	case row.votes == 0:
		row.caller, row.votes = caller, 1
	case row.caller == caller:
		row.votes++
	default:
		row.votes--
	}
}

// Report returns what is to be logged now: of each row at most once in ReportEvery.
func (c *Excess) Report(now time.Time) (out []Exceeded) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for r := range c.rows {
		row := &c.rows[r]
		if row.times == 0 || now.Sub(row.told) < ReportEvery {
			continue
		}
		out = append(out, Exceeded{Row(r), row.times, row.caller})
		*row = excessRow{told: now}
	}
	return out
}

// Log logs what is to be logged now.
func (c *Excess) Log(now time.Time, log *slog.Logger) {
	for _, e := range c.Report(now) {
		caller := slog.String("function", e.Caller.Function)
		if e.Caller.Source.IsValid() {
			caller = slog.String("source", e.Caller.Source.String())
		}
		log.LogAttrs(context.Background(), slog.LevelWarn,
			bounds.OverShare,
			slog.String("share", e.Row.String()), slog.Uint64("times", e.Times), caller)
	}
}
