package upstream

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// muteFor is how long it is remembered that a server is silent about a question.
	muteFor = time.Minute
	// MostMutes bounds the questions that are remembered. One that is forgotten costs the
	// next who asks it the patience with that server.
	MostMutes = 4096
)

// mutes is which servers were silent about which questions, though they answered others.
// The zero mutes has none.
type mutes struct {
	n atomic.Int64 // len(until), for those who find none

	mu    sync.Mutex
	until map[muteKey]time.Duration
}

// muteKey is a question to a server.
type muteKey struct {
	server   *server
	question Question
}

// Mutes returns how many questions are remembered that a server was silent about.
func (p *Pool) Mutes() int { return int(p.mutes.n.Load()) }

// has reports whether the server was silent about the question lately.
func (m *mutes) has(s *server, q Question, now time.Duration) bool {
	if m.n.Load() == 0 {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.until[muteKey{s, q}] > now
}

// add remembers that the server was silent about the question.
func (m *mutes) add(s *server, q Question, now time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.until == nil {
		m.until = map[muteKey]time.Duration{}
	}
	for k := range m.until {
		if len(m.until) < MostMutes {
			break
		}
		delete(m.until, k)
	}
	m.until[muteKey{s, q}] = now + muteFor
	m.n.Store(int64(len(m.until)))
}

// remove forgets it: the server has answered.
func (m *mutes) remove(s *server, q Question) {
	if m.n.Load() == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.until, muteKey{s, q})
	m.n.Store(int64(len(m.until)))
}
