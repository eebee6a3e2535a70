package forward

import (
	"sync"
	"time"
)

// inflight are the requests that are permitted and not over. The zero inflight has none.
type inflight struct {
	mu  sync.Mutex
	all map[*plainRequest]func() // what breaks each off
}

// add takes a request in, and what breaks it off.
func (u *inflight) add(x *plainRequest, end func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.all == nil {
		u.all = map[*plainRequest]func(){}
	}
	u.all[x] = end
}

// remove takes a request out, and reports whether it has been revoked. Behind it nothing
// revokes the request, nor touches its connection; it may be called again.
func (u *inflight) remove(x *plainRequest) (revoked bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.all, x)
	return x.revoked
}

// revoke breaks a request off, unless it is over: whatever it waits for returns.
func (u *inflight) revoke(x *plainRequest) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if end, ok := u.all[x]; ok {
		x.revoked = true
		end()
	}
}

// list returns all requests that are under way.
func (u *inflight) list() []*plainRequest {
	u.mu.Lock()
	defer u.mu.Unlock()
	all := make([]*plainRequest, 0, len(u.all))
	for x := range u.all {
		all = append(all, x)
	}
	return all
}

// Rejudge judges every request that is under way by the policy now in force, and ends
// those that it would refuse as revoked.
func (s *Server) Rejudge() {
	for _, x := range s.inflight.list() {
		s.rejudge(x)
	}
}

// rejudge ends one request that the policy now in force would refuse.
func (s *Server) rejudge(x *plainRequest) {
	if p, identities := s.Policy(); !x.StillAllowed(p, identities, time.Now()) {
		s.inflight.revoke(x)
	}
}
