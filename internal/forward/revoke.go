package forward

import (
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/exchange"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/inflight"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/tunnel"
)

// Rejudge judges every request that is under way by the policy now in force, and ends
// those that it would refuse as revoked.
func (s *Server) Rejudge() { s.open.Each(s.rejudge) }

// rejudge ends one request that the policy now in force would refuse.
func (s *Server) rejudge(r *inflight.Request) {
	o, ok := r.Value.(*exchange.Exchange)
	if !ok {
		return
	}
	p, identities := s.Policy()
	r.EndUnless(tunnel.Revoked, func() bool { return o.StillAllowed(p, identities, time.Now()) })
}

// CountBytes counts what the answers that are under way have moved so far. Of a request
// without one nothing is counted yet: it may still be refused, and then has no bytes.
func (s *Server) CountBytes() {
	s.open.Each(func(r *inflight.Request) {
		if x, ok := r.Value.(*exchange.Exchange); ok {
			r.WhileAnswering(x.Moved)
		}
	})
}
