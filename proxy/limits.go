package proxy

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
)

// slots counts open tunnels and plain requests, in all and by function.
type slots struct {
	max, maxPerFunction int64
	total               atomic.Int64
	accounts            sync.Map // function name → *account; as many as files have named
	open                func(function string) *account

	mu   sync.Mutex
	idle chan struct{} // closed when total falls to 0; nil while nobody waits
}

// account is what one function has open, and the metrics that go with it.
type account struct {
	open     atomic.Int64
	allowed  prometheus.Counter // CONNECTs that were let through
	tunnels  prometheus.Gauge
	up, down prometheus.Counter // bytes
}

// init sets the limits, and how an account is opened.
func (s *slots) init(total, perFunction int, open func(string) *account) {
	s.max, s.maxPerFunction, s.open = int64(total), int64(perFunction), open
}

// take takes a place for the function, or says which limit is reached.
func (s *slots) take(function string) (*account, policy.Reason) {
	if s.total.Add(1) > s.max {
		s.giveTotal()
		return nil, policy.ReasonLimitTotal
	}
	v, ok := s.accounts.Load(function)
	if !ok {
		v, _ = s.accounts.LoadOrStore(function, s.open(function))
	}
	a := v.(*account)
	if a.open.Add(1) > s.maxPerFunction {
		a.open.Add(-1)
		s.giveTotal()
		return nil, policy.ReasonLimitFunction
	}
	return a, policy.ReasonNone
}

// giveBack gives a place back; once for each take.
func (s *slots) giveBack(a *account) {
	a.open.Add(-1)
	s.giveTotal()
}

// giveTotal counts one down and wakes who waits for none.
func (s *slots) giveTotal() {
	if s.total.Add(-1) > 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idle != nil && s.total.Load() == 0 {
		close(s.idle)
		s.idle = nil
	}
}

// wait returns nil once nothing is open, or the error of ctx if that ends first.
func (s *slots) wait(ctx context.Context) error {
	s.mu.Lock()
	if s.total.Load() == 0 {
		s.mu.Unlock()
		return nil
	}
	if s.idle == nil {
		s.idle = make(chan struct{})
	}
	idle := s.idle
	s.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
