package admission

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/bounds"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/fair"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// Slots counts open tunnels and plain requests, in all and by function. Init makes it
// ready.
type Slots struct {
	opt       SlotsOptions
	total     atomic.Int64
	held      shares   // bytes
	extra     shares   // attempts to dial beside a host's first
	keepAlive shares   // connections that wait for their next request
	usages    sync.Map // function name → *Usage; as many as files have named

	mu   sync.Mutex
	idle chan struct{} // closed when total falls to 0; nil while nobody waits
}

// SlotsOptions is what Slots are made of; all of it is required.
type SlotsOptions struct {
	Total, PerFunction int                       // how many slots there are
	ExtraDials         int                       // attempts to dial beside a host's first; a quarter for one function
	KeepAlive          int                       // connections that wait for their next request; half for one function
	Memory             uint64                    // in bytes; half is for requests, a quarter of that for one function's; 0: not known
	Excess             *Excess                   // is told who asks for too much
	Short              func() bool               // whether there is too little memory for another
	NewData            func(function string) any // makes the Data of a function's Usage
}

// What there was too little of.
const (
	ShedTunnels  = "tunnels"  // slots in all
	ShedFunction = "function" // slots of the function
	ShedMemory   = "memory"
)

// Usage is what one function holds.
type Usage struct {
	Data      any // what NewData has made
	name      string
	slots     *Slots
	open      atomic.Int64 // slots
	held      atomic.Int64 // bytes
	dials     atomic.Int64 // dials under way
	extra     atomic.Int64 // of them, those beside a first
	keepAlive atomic.Int64 // connections that wait for their next request
}

// Init sets the bounds, and who is told.
func (s *Slots) Init(o SlotsOptions) {
	s.opt = o
	s.initHeld(o.Memory)
	s.extra.init(int64(o.ExtraDials), int64(bounds.ExtraDials.PartOf(o.ExtraDials)))
	s.keepAlive.init(int64(o.KeepAlive), int64(bounds.KeepAlive.PartOf(o.KeepAlive)))
}

// Acquire takes a slot for the function, and the bytes that its request holds at worst,
// or says which limit is reached, and what there was too little of: ShedTunnels,
// ShedFunction or ShedMemory.
func (s *Slots) Acquire(function string, bytes int64) (*Usage, verdict.Reason, string) {
	cause := ""
	switch {
	case s.total.Add(1) > int64(s.opt.Total):
		cause = ShedTunnels
	case s.opt.Short():
		cause = ShedMemory
	}
	if cause != "" {
		s.releaseTotal()
		return nil, verdict.ReasonLimitTotal, cause
	}
	v, ok := s.usages.Load(function)
	if !ok {
		v, _ = s.usages.LoadOrStore(function, &Usage{Data: s.opt.NewData(function), name: function, slots: s})
	}
	u := v.(*Usage)
	if u.open.Add(1) > int64(s.opt.PerFunction) {
		u.open.Add(-1)
		s.releaseTotal()
		s.opt.Excess.Add(RowTunnels, fair.Caller{Function: function})
		return nil, verdict.ReasonLimitFunction, ShedFunction
	}
	reason := verdict.ReasonNone
	switch s.held.acquire(&u.held, bytes) {
	case acquired:
		return u, reason, ""
	case overShare:
		s.opt.Excess.Add(RowMemory, fair.Caller{Function: function})
		reason = verdict.ReasonLimitFunction
	default:
		reason = verdict.ReasonLimitTotal
	}
	u.open.Add(-1)
	s.releaseTotal()
	return nil, reason, ShedMemory
}

// Release gives a slot back, and the bytes that its request still holds; once for each
// Acquire.
func (s *Slots) Release(u *Usage, bytes int64) {
	s.held.release(&u.held, bytes)
	u.open.Add(-1)
	s.releaseTotal()
}

// releaseTotal counts one down and wakes who waits for none.
func (s *Slots) releaseTotal() {
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

// Wait returns nil once nothing is open, or the error of ctx if that ends first.
func (s *Slots) Wait(ctx context.Context) error {
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

// Open returns how many slots are taken.
func (s *Slots) Open() int64 { return s.total.Load() }
