package admission

import (
	"sync"
	"time"
)

// CrowdingEvery is how often [Crowding.Report] names who crowds one row.
const CrowdingEvery = time.Minute

// Row is a kind of thing that callers have shares of.
type Row uint8

// The rows.
const (
	RowUnidentified Row = iota // connections that have not shown who they are
	RowLingering               // connections that have had their last reply
	RowTunnels                 // tunnels and plain requests of one function
	RowMemory                  // bytes that are held for requests
	RowDials                   // dials under way
	RowDialsBeside             // attempts to dial beside a host's first

	// Rows is how many there are.
	Rows
)

// String returns the row as metrics and the log have it.
func (r Row) String() string {
	return [...]string{"unidentified", "lingering", "tunnels", "memory", "dials", "dials_beside"}[r]
}

// Crowding keeps who asks for more than its share, for the log. It holds one caller of
// each row, however many crowd it.
type Crowding struct {
	// Over is told of each; nil: nobody is.
	Over func(Row)

	mu   sync.Mutex
	rows [Rows]crowdingRow
}

// crowdingRow is what has happened since the last report.
type crowdingRow struct {
	times uint64
	who   Caller // whoever was noted most, if anyone makes up half
	votes uint64 // by how many more than all others together, as far as they are remembered
	told  time.Time
}

// Crowd says how often callers were over their share of a row, and who most.
type Crowd struct {
	Row   Row
	Times uint64
	Who   Caller
}

// Note notes that a caller was over its share. A nil Crowding notes nothing.
func (c *Crowding) Note(r Row, who Caller) {
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
		row.who, row.votes = who, 1
	case row.who == who:
		row.votes++
	default:
		row.votes--
	}
}

// Report returns what is to be logged now: of each row at most once in CrowdingEvery.
func (c *Crowding) Report(now time.Time) (out []Crowd) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for r := range c.rows {
		row := &c.rows[r]
		if row.times == 0 || now.Sub(row.told) < CrowdingEvery {
			continue
		}
		out = append(out, Crowd{Row(r), row.times, row.who})
		*row = crowdingRow{told: now}
	}
	return out
}
