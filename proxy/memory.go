package proxy

import (
	"errors"
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

// memory says when there is too little left for another request. The kernel
// kills without a word; a refusal can be tried again.
type memory struct {
	measure func() (used, limit uint64) // nil: nobody looks
	asked   atomic.Uint32
	high    atomic.Bool
	mu      sync.Mutex // of who looks
}

// short reports whether there is too little memory for another request.
func (m *memory) short() bool {
	if m.measure == nil {
		return false
	}
	if m.asked.Add(1)%lookEvery == 0 {
		m.look()
	}
	return m.high.Load()
}

// shortNow is short by a look of its own, for what is rare and takes much.
func (m *memory) shortNow() bool {
	m.look()
	return m.high.Load()
}

// look measures, unless someone does already.
func (m *memory) look() {
	if m.measure == nil || !m.mu.TryLock() {
		return
	}
	defer m.mu.Unlock()
	used, limit := m.measure()
	switch {
	case limit == 0:
	case used >= limit/100*shortAt:
		m.high.Store(true)
	case used < limit/100*enoughAt:
		m.high.Store(false)
	}
}

// errShortOfMemory ends what would take more memory while there is too little.
var errShortOfMemory = errors.New("memory runs short")

// frugalReader reads a connection of which the beginning fits the buffer that
// every connection has. It gives no more than that while memory runs short: many
// can be let in while they hold little, and grow at the same time.
type frugalReader struct {
	c    *conn
	read int
}

// Read implements io.Reader.
func (r *frugalReader) Read(p []byte) (int, error) {
	if r.read+len(r.c.buffered()) >= headBuffer && r.c.server.memory.shortNow() {
		r.c.server.metrics.shed.WithLabelValues(shedMemory).Inc()
		return 0, errShortOfMemory
	}
	n, err := r.c.Conn.Read(p)
	r.read += n
	return n, err
}
