package proxy

import (
	"context"
	"log/slog"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/admission"
)

// watch does what is done by the clock: it ends the windows of failed
// credentials, looks at the memory, and logs who crowds, until ctx ends.
func (s *Server) watch(ctx context.Context, done chan<- struct{}) {
	defer close(done)
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case now := <-ticker.C:
			s.failures.Sweep(now.Add(-admission.FailureWindow))
			s.memory.Look()
			s.sweepLoops()
			s.logCrowding(now)
		case <-ctx.Done():
			s.logCrowding(time.Now().Add(admission.CrowdingEvery)) // whatever is left
			return
		}
	}
}

// logCrowding logs who has asked for more than its share, each kind once a minute; the
// metric has every one.
func (s *Server) logCrowding(now time.Time) {
	for _, c := range s.crowding.Report(now) {
		who := slog.String("function", c.Who.Function)
		if c.Who.Source.IsValid() {
			who = slog.String("source", c.Who.Source.String())
		}
		s.log.LogAttrs(context.Background(), slog.LevelWarn,
			"a caller asks for more than its share of what all need; it is refused, or its oldest is closed",
			slog.String("share", c.Row.String()), slog.Uint64("times", c.Times), who)
	}
}
