package admission

import (
	"math"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/bounds"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/fair"
)

// What a request makes the process hold at worst, its connections' part of the kernel
// included, measured by the cgroup of 800 of each that wait at the same time, with heads
// from 100 bytes to 15 KiB in one field and in 120: a plain request whose host does not
// answer 46 to 82 KiB, 119 KiB where it has content behind its head; a CONNECT that waits
// for its ClientHello 24 to 61 KiB, and 77 KiB more with 48 KiB of one.
const (
	plainBytes    = 52 << 10
	plainTimes    = 5 // of the head: as it came, its fields, and what goes to the host
	connectBytes  = 24 << 10
	connectTimes  = 3
	memoryForHeld = 2 // half of the memory is for requests
)

// HelloBytes is what a long ClientHello makes the process hold beside.
const HelloBytes = 80 << 10

// RequestBytes is what a request with a head of that many bytes holds: a plain one until
// its answer is over, a CONNECT until it is a tunnel.
func RequestBytes(connect bool, head int) int64 {
	if connect {
		return connectBytes + connectTimes*int64(head)
	}
	return plainBytes + plainTimes*int64(head)
}

// initHeld shares the memory out; 0: it is not known, and nothing is bounded by it.
func (s *Slots) initHeld(memory uint64) {
	total := int64(math.MaxInt64)
	if memory > 0 {
		total = int64(min(memory/memoryForHeld, math.MaxInt64))
	}
	s.held.init(total, total/int64(bounds.Memory.Part))
}

// Grow has a function hold more bytes for a request that has been let in; false: it
// may not, for want of its memory, and holds what it did.
func (s *Slots) Grow(u *Usage, bytes int64) bool {
	switch s.held.acquire(&u.held, bytes) {
	case acquired:
		return true
	case overShare:
		s.opt.Excess.Add(RowMemory, fair.Caller{Function: u.name})
	}
	return false
}

// Shrink gives bytes back before the slot is.
func (s *Slots) Shrink(u *Usage, bytes int64) { s.held.release(&u.held, bytes) }

// Held returns how many bytes are held for what has been let in, at worst.
func (s *Slots) Held() uint64 { return uint64(max(s.held.taken.Load(), 0)) }
