package admission

import (
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/fair"
)

// AcquireKeepAlive takes a place among the connections that wait for their next request,
// if the function may have one more.
func (u *Usage) AcquireKeepAlive() bool {
	got := u.slots.keepAlive.acquire(&u.keepAlive, 1)
	if got == overShare {
		u.slots.opt.Excess.Add(RowKeepAlive, fair.Caller{Function: u.name})
	}
	return got == acquired
}

// ReleaseKeepAlive gives it back.
func (u *Usage) ReleaseKeepAlive() { u.slots.keepAlive.release(&u.keepAlive, 1) }

// IdleKeepAlive returns how many connections wait, or have waited, for a next request.
func (s *Slots) IdleKeepAlive() int64 { return s.keepAlive.taken.Load() }
