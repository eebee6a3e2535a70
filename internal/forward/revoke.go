package forward

import (
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/gate"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/inflight"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/tunnel"
)

// Rejudge judges every request that is under way by the policy now in force, and ends
// those that it would refuse as revoked.
func (s *Server) Rejudge() { s.open.Each(s.rejudge) }

// rejudge ends one request that the policy now in force would refuse.
func (s *Server) rejudge(r *inflight.Request) {
	o, ok := r.Value.(*gate.Opened)
	if !ok {
		return
	}
	p, identities := s.Policy()
	r.EndUnless(tunnel.Revoked, func() bool { return o.StillAllowed(p, identities, time.Now()) })
}
