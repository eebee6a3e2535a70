package proxy

import (
	"context"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/admission"
)

// watch does what is done by the clock: it ends the windows of failed
// credentials and of challenges, looks at the memory, and logs who is over its share, until ctx ends.
func (s *Server) watch(ctx context.Context, done chan<- struct{}) {
	defer close(done)
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case now := <-ticker.C:
			s.shared.Failures.Sweep(now.Add(-admission.FailureWindow))
			s.shared.Challenges.Sweep(now)
			s.shared.MemoryWatch.Look()
			s.connect.Sweep()
			s.shared.Excess.Log(now, s.shared.Log)
		case <-ctx.Done():
			s.shared.Excess.Log(time.Now().Add(admission.ReportEvery), s.shared.Log) // whatever is left
			return
		}
	}
}
