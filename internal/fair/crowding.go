package fair

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/bounds"
)

// crowdingEvery is how often one CrowdingLog says the same.
const crowdingEvery = time.Minute

// CrowdingLog logs who has more than its share of something, a line a minute at most:
// the first time at once. Its methods may be called from many goroutines.
type CrowdingLog struct {
	Row string       // of package bounds: what it has too much of
	Log *slog.Logger // required

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
	caller := slog.String("function", c.Function)
	if c.Source.IsValid() {
		caller = slog.String("source", c.Source.String())
	}
	l.Log.LogAttrs(context.Background(), slog.LevelWarn, bounds.OverShare, slog.String("share", l.Row), slog.Int("times", n), caller)
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
