package perfunction

import "sync/atomic"

// Moved is how many bytes of what is open, or has ended, are counted each way. The zero Moved
// is none. Who counts at the same time counts none twice.
type Moved struct{ up, down atomic.Int64 }

// Count adds to two values what they lack for so many bytes.
func (m *Moved) Count(up, down *Value, ups, downs int64) {
	up.Add(raise(&m.up, ups))
	down.Add(raise(&m.down, downs))
}

// From takes over what another one has counted.
func (m *Moved) From(other *Moved) {
	m.up.Store(other.up.Load())
	m.down.Store(other.down.Load())
}

// raise brings a number up to another one, unless it is there already, and returns by how
// much.
func raise(n *atomic.Int64, to int64) int64 {
	for {
		switch now := n.Load(); {
		case now >= to:
			return 0
		case n.CompareAndSwap(now, to):
			return to - now
		}
	}
}
