package fair

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"
)

// crowdingEvery is how often one CrowdingLog says the same.
const crowdingEvery = time.Minute

// CrowdingLog logs who has more than its share of something, a line a minute at most:
// the first time at once. Its methods may be called from many goroutines.
type CrowdingLog struct {
	What string       // what there is too little of
	Log  *slog.Logger // required

	mu    sync.Mutex
	last  time.Time // of the last line
	since int       // refusals since then
}

// Add counts one refusal to the caller, and logs it with those since the last line if
// that is a minute ago.
func (l *CrowdingLog) Add(c Caller) {
	n, due := l.count(time.Now())
	if !due {
		return
	}
	l.Log.LogAttrs(context.Background(), slog.LevelWarn, "one caller crowds: what is beyond its share is refused",
		slog.String("of", l.What), slog.String("function", c.Function), slog.String("source", sourceText(c.Source)), slog.Int("refused", n))
}

// count counts one, and reports whether a line is due, with how many it is about.
func (l *CrowdingLog) count(now time.Time) (n int, due bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.since++
	if !l.last.IsZero() && now.Sub(l.last) < crowdingEvery {
		return 0, false
	}
	n, l.since, l.last = l.since, 0, now
	return n, true
}

// sourceText returns an address as the log has it, "" where there is none.
func sourceText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
