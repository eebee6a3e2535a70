package proxy

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// slots counts open tunnels and plain requests, in all and by function.
type slots struct {
	max, maxPerFunction int64
	short               func() bool // whether there is too little memory for another
	total               atomic.Int64
	accounts            sync.Map // function name → *account; as many as files have named
	metrics             *metrics

	mu   sync.Mutex
	idle chan struct{} // closed when total falls to 0; nil while nobody waits
}

// account is what one function has open, and the metrics that go with it.
type account struct {
	open     atomic.Int64
	dialing  atomic.Int64       // dials under way
	allowed  prometheus.Counter // CONNECTs that were let through
	tunnels  prometheus.Gauge
	up, down prometheus.Counter // bytes
}

// init sets the limits, and who counts.
func (s *slots) init(total, perFunction int, short func() bool, m *metrics) {
	s.max, s.maxPerFunction = int64(total), int64(perFunction)
	s.short, s.metrics = short, m
}

// take takes a place for the function, or says which limit is reached.
func (s *slots) take(function string) (*account, verdict.Reason) {
	cause := ""
	switch {
	case s.total.Add(1) > s.max:
		cause = shedTunnels
	case s.short():
		cause = shedMemory
	}
	if cause != "" {
		s.giveTotal()
		s.metrics.shed.WithLabelValues(cause).Inc()
		return nil, verdict.ReasonLimitTotal
	}
	v, ok := s.accounts.Load(function)
	if !ok {
		v, _ = s.accounts.LoadOrStore(function, s.metrics.newAccount(function))
	}
	a := v.(*account)
	if a.open.Add(1) > s.maxPerFunction {
		a.open.Add(-1)
		s.giveTotal()
		s.metrics.shed.WithLabelValues(shedFunction).Inc()
		return nil, verdict.ReasonLimitFunction
	}
	return a, verdict.ReasonNone
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

// keep reports whether the connection may wait for its next request. One that may
// goes on to count until it is closed.
func (c *conn) keep() bool {
	if !c.kept {
		c.kept = c.server.kept.take()
	}
	return c.kept
}

// unkeep gives back what keep took.
func (c *conn) unkeep() {
	if c.kept {
		c.kept = false
		c.server.kept.give()
	}
}
