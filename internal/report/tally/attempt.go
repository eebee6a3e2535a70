package tally

import (
	"net/netip"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
)

// repeatWindow is how soon a request must follow the one before to be a repeat
// of it.
const repeatWindow = 10 * time.Second

// maxAttempts bounds the attempts that are remembered. Beyond it all are
// forgotten, and repeats that are under way count as new attempts.
const maxAttempts = 1 << 18

// attempt is what a request and its repeats have in common. The row stands for
// function, protocol, host, port, verdict and reason.
type attempt struct {
	row    *Row
	source netip.Addr
	method string
	host   string // and port: where the row does not tell them apart
	port   uint16
}

// attempts tell repeats from new attempts.
type attempts struct {
	last  map[attempt]time.Time
	swept time.Time
}

// begins reports whether a record is the first of an attempt.
func (a *attempts) begins(w *Row, r *evidence.Record) bool {
	at := attempt{row: w, source: address(r.Client), method: r.Method}
	if w.Table == Caller {
		at.host, at.port = r.Host, r.Port
	}
	before, known := a.last[at]
	if !known {
		a.sweep(r.Time)
	}
	a.last[at] = r.Time
	return !known || apart(before, r.Time)
}

// apart reports whether two requests are too far from one another for a repeat.
// Of several files a later one may go back in time.
func apart(a, b time.Time) bool { return b.Sub(a).Abs() > repeatWindow }

// sweep forgets what nothing can repeat any more, each repeatWindow of the
// records' time.
func (a *attempts) sweep(now time.Time) {
	if len(a.last) >= maxAttempts {
		clear(a.last)
	}
	if !apart(a.swept, now) {
		return
	}
	a.swept = now
	for at, last := range a.last {
		if apart(last, now) {
			delete(a.last, at)
		}
	}
}
