package admission

import (
	"sync"
	"sync/atomic"
)

const (
	// Above shortAt per cent of the memory new requests are refused, until it is
	// below enoughAt again. It is not nearer to the whole because the collector
	// runs without a pause when what is live comes near its own limit, and because
	// what has been let in can still grow.
	shortAt  = 70
	enoughAt = 65
	// lookEvery is after how many requests the memory is looked at, beside once a
	// second: in between as many can come as fit into what is left.
	lookEvery = 64
)

// Memory says when there is too little left for another request. A client can repeat a
// request that was refused; the kernel, when memory has run out, kills the process.
type Memory struct {
	// Measure returns how much is in use and how much there is, in bytes, where requests
	// hold at worst held; a limit of 0 is none. Nil: nobody looks.
	Measure func(held uint64) (used, limit uint64)
	// Held returns what requests hold at worst; nil: that is not known.
	Held func() uint64

	requests atomic.Uint32
	high     atomic.Bool
	used     atomic.Uint64 // as the last look has found it
	mu       sync.Mutex    // of who looks
}

// LimitOf returns how much memory there may be by a Measure; 0: that is not known.
func LimitOf(measure func(held uint64) (used, limit uint64)) uint64 {
	if measure == nil {
		return 0
	}
	_, limit := measure(0)
	return limit
}

// Short reports whether there is too little memory for another request.
func (m *Memory) Short() bool {
	if m.Measure == nil {
		return false
	}
	if m.requests.Add(1)%lookEvery == 0 {
		m.Look()
	}
	return m.high.Load()
}

// ShortNow is Short by a look of its own, for what is rare and takes much.
func (m *Memory) ShortNow() bool {
	m.Look()
	return m.high.Load()
}

// Look measures, unless someone does already.
func (m *Memory) Look() {
	if m.Measure == nil || !m.mu.TryLock() {
		return
	}
	defer m.mu.Unlock()
	var held uint64
	if m.Held != nil {
		held = m.Held()
	}
	used, limit := m.Measure(held)
	m.used.Store(used)
	switch {
	case limit == 0:
	case used >= limit/100*shortAt:
		m.high.Store(true)
	case used < limit/100*enoughAt:
		m.high.Store(false)
	}
}

// High returns what the last look has found.
func (m *Memory) High() bool { return m.high.Load() }
