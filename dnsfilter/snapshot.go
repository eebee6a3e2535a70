package dnsfilter

import (
	"sync"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/dnsfilter/cache"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/gate"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
)

// snapshot is a policy with all that is derived from it. The packed answers
// are part of it: a change of the policy begins with none.
type snapshot struct {
	rules  gate.LookupRules // its union is built when the first unknown source asks
	table  *identity.Table
	packed *cache.Cache
}

// of reports whether the snapshot is that of a policy and its identities.
func (n *snapshot) of(p *policy.Policy, t *identity.Table) bool {
	return n != nil && n.rules.Policy == p && n.table == t
}

// snapshot returns the one in force. One serves one question.
func (s *Server) snapshot() *snapshot {
	p, t := s.opt.Policy()
	if now := s.current.Load(); now.of(p, t) {
		return now
	}
	s.building.Lock()
	defer s.building.Unlock()
	p, t = s.opt.Policy()
	if now := s.current.Load(); now.of(p, t) {
		return now
	}
	next := &snapshot{
		rules:  gate.LookupRules{Policy: p, Sources: identity.NewSources(t), Types: s.types},
		table:  t,
		packed: cache.New(s.opt.Limits.CacheBytes),
	}
	if !s.opt.RefuseUnknown {
		next.rules.Union = sync.OnceValue(func() *policy.Union {
			u, err := policy.NewUnion(p)
			if err != nil {
				// A nil union refuses.
				s.log.Error("unknown sources are refused", "error", err)
			}
			return u
		})
	}
	s.current.Store(next)
	return next
}

// functions returns those of the policy in force.
func (s *Server) functions() []string {
	if now := s.current.Load(); now != nil {
		return now.rules.Policy.Functions()
	}
	return nil
}

// packedBytes returns how many bytes the packed answers in force take, by estimate.
func (s *Server) packedBytes() int {
	if now := s.current.Load(); now != nil {
		return now.packed.Bytes()
	}
	return 0
}

// prepare builds what is built on demand.
func (n *snapshot) prepare() {
	n.rules.Policy.PrepareLookups()
	if n.rules.Union != nil {
		n.rules.Union().Prepare()
	}
}
