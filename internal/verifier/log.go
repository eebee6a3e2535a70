package verifier

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/attest"
)

// logEvery is how often a line of the log says that tokens fail the same check.
const logEvery = time.Minute

// failureLog says which checks tokens fail: callers are told nothing of it. Of each check
// there is a line at once and then one a minute, whoever shows how many of them.
type failureLog struct {
	log *slog.Logger // nil: nothing is said

	mu    sync.Mutex
	since map[attest.Result]*failureCount
}

// failureCount is what has not been said yet of one check.
type failureCount struct {
	logged time.Time
	times  int
}

// add counts a token that does not hold, and says so when it is time. Nothing of the token
// is said but a trusted issuer.
func (f *failureLog) add(o attest.Outcome, source netip.Addr, now time.Time) {
	if f.log == nil {
		return
	}
	f.mu.Lock()
	if f.since == nil {
		f.since = map[attest.Result]*failureCount{}
	}
	n := f.since[o.Result]
	if n == nil {
		n = &failureCount{}
		f.since[o.Result] = n
	}
	n.times++
	times := n.times
	due := n.logged.IsZero() || now.Sub(n.logged) >= logEvery
	if due {
		n.logged, n.times = now, 0
	}
	f.mu.Unlock()
	if due {
		f.log.LogAttrs(context.Background(), slog.LevelWarn, "a token of AWS does not hold",
			slog.String("check", o.Result.String()), slog.String("issuer", o.Principal.Issuer),
			slog.String("source", source.String()), slog.Int("times", times))
	}
}
