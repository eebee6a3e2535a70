package dnsfilter

import (
	"sync"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/dnsfilter/cache"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
)

// snapshot is a policy with all that is derived from it. The packed answers
// are part of it: a change of the policy begins with none.
type snapshot struct {
	policy  *policy.Policy
	table   *identity.Table
	sources *identity.Sources
	packed  *cache.Cache
	union   func() *policy.Union // built when the first unknown source asks
}

// snapshot returns the one in force. One serves one question.
func (s *Server) snapshot() *snapshot {
	p, t := s.opt.Policy()
	if now := s.current.Load(); now != nil && now.policy == p && now.table == t {
		return now
	}
	s.building.Lock()
	defer s.building.Unlock()
	p, t = s.opt.Policy()
	if now := s.current.Load(); now != nil && now.policy == p && now.table == t {
		return now
	}
	next := &snapshot{
		policy: p, table: t,
		sources: identity.NewSources(t),
		packed:  cache.New(s.opt.Limits.CacheBytes),
	}
	next.union = sync.OnceValue(func() *policy.Union {
		u, err := policy.NewUnion(p)
		if err != nil {
			// A nil union refuses.
			s.log.Error("unknown sources are refused", "error", err)
		}
		return u
	})
	s.current.Store(next)
	return next
}

// prepare builds what is built on demand.
func (n *snapshot) prepare(union bool) {
	if union {
		n.union()
	}
}
