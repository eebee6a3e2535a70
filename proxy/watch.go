package proxy

import (
	"context"
	"log/slog"
	"time"
)

// crowdedEvery is how often the log says that unidentified connections are put
// out; the metric has every one.
const crowdedEvery = time.Minute

// watch does what is done by the clock: it ends the windows of failed
// credentials, looks at the memory, and tells of crowds, until ctx ends.
func (s *Server) watch(ctx context.Context, done chan<- struct{}) {
	defer close(done)
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	var told time.Time
	for {
		select {
		case now := <-ticker.C:
			s.failed.sweep(now.Add(-failureWindow))
			s.memory.look()
			s.sweepLanes()
			if now.Sub(told) >= crowdedEvery && s.tellCrowd() {
				told = now
			}
		case <-ctx.Done():
			s.tellCrowd()
			return
		}
	}
}

// tellCrowd logs how many connections have been put out since the last time.
func (s *Server) tellCrowd() bool {
	n, from := s.crowd.tally()
	if n == 0 {
		return false
	}
	s.log.LogAttrs(context.Background(), slog.LevelWarn,
		"a source has more connections that do not say who they are than it may; its oldest were closed",
		slog.Uint64("closed", n), slog.String("source", from.String()))
	return true
}
