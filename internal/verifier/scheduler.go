package verifier

import (
	"context"
	"net/netip"
	"sync"
)

// lateShare is how many turns go to others for one of those that come late: late is
// behind, and not never.
const lateShare = 8

// scheduler shares out places among sources: a source has its next place when each other that
// waits has had one. Sources that come late have their own, which are given out where
// nobody else waits, and now and then.
type scheduler struct {
	mu   sync.Mutex
	free int
	n    int      // turns given out of queues, for lateShare
	each [2]queue // in time, late
}

// queue is who waits, by source.
type queue struct {
	lines map[netip.Addr]*line
	next  []*line // those whose turn comes, in order; each once
}

// line is who waits of one source, the first come first.
type line struct {
	source  netip.Addr
	pending []*waiter
}

// waiter is one that waits.
type waiter struct {
	granted chan struct{} // closed when its turn has come
	gone    bool          // it has given up
}

// init sets how many places there are.
func (t *scheduler) init(places int) {
	t.free = places
	for i := range t.each {
		t.each[i].lines = map[netip.Addr]*line{}
	}
}

// acquire waits for a place; the error is that of ctx, and then there is none.
func (t *scheduler) acquire(ctx context.Context, source netip.Addr, late bool) error {
	t.mu.Lock()
	if t.free > 0 {
		t.free--
		t.mu.Unlock()
		return nil
	}
	w := &waiter{granted: make(chan struct{})}
	t.queueOf(late).add(source, w)
	t.mu.Unlock()
	select {
	case <-w.granted:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-w.granted: // it has come meanwhile, and is given back
		t.passOn()
	default:
		w.gone = true
	}
	return context.Cause(ctx)
}

// release gives a place back.
func (t *scheduler) release() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.passOn()
}

// passOn gives a place to whose turn it is, or has it free. The lock is held.
func (t *scheduler) passOn() {
	t.n++
	first, second := &t.each[0], &t.each[1]
	if t.n%lateShare == 0 {
		first, second = second, first
	}
	w := first.pop()
	if w == nil {
		w = second.pop()
	}
	if w == nil {
		t.free++
		return
	}
	close(w.granted)
}

// queueOf returns the queue of those that come late, or of the others.
func (t *scheduler) queueOf(late bool) *queue {
	if late {
		return &t.each[1]
	}
	return &t.each[0]
}

// add adds a waiter behind those of its source.
func (q *queue) add(source netip.Addr, w *waiter) {
	l := q.lines[source]
	if l == nil {
		l = &line{source: source}
		q.lines[source] = l
		q.next = append(q.next, l)
	}
	l.pending = append(l.pending, w)
}

// pop returns the next waiter that has not given up; nil: there is none. Its source is
// then the last in turn.
func (q *queue) pop() *waiter {
	for len(q.next) > 0 {
		l := q.next[0]
		q.next = q.next[1:]
		w := l.pop()
		if len(l.pending) > 0 {
			q.next = append(q.next, l)
		} else {
			delete(q.lines, l.source)
		}
		if w != nil {
			return w
		}
	}
	q.next = nil
	return nil
}

// pop returns the first waiter of the line that has not given up; nil: there is none.
func (l *line) pop() *waiter {
	for len(l.pending) > 0 {
		w := l.pending[0]
		l.pending[0] = nil
		l.pending = l.pending[1:]
		if !w.gone {
			return w
		}
	}
	return nil
}
