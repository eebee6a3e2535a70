package proxy

import (
	"context"
	"log/slog"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/admission"
)

// evictionsEvery is how often the log says that unidentified connections are
// evicted; the metric has every one.
const evictionsEvery = time.Minute

// watch does what is done by the clock: it ends the windows of failed
// credentials, looks at the memory, and logs evictions, until ctx ends.
func (s *Server) watch(ctx context.Context, done chan<- struct{}) {
	defer close(done)
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	var told time.Time
	for {
		select {
		case now := <-ticker.C:
			s.shared.Failures.Sweep(now.Add(-admission.FailureWindow))
			s.shared.MemoryWatch.Look()
			s.connect.Sweep()
			if now.Sub(told) >= evictionsEvery && s.logEvictions() {
				told = now
			}
		case <-ctx.Done():
			s.logEvictions()
			return
		}
	}
}

// logEvictions logs how many connections have been evicted since the last time.
func (s *Server) logEvictions() bool {
	n, from := s.shared.Conns.Evictions()
	if n == 0 {
		return false
	}
	s.shared.Log.LogAttrs(context.Background(), slog.LevelWarn,
		"a source has more connections that do not say who they are than it may; its oldest were closed",
		slog.Uint64("closed", n), slog.String("source", from.String()))
	return true
}
