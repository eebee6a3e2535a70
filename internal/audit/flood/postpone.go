package flood

import "github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit/record"

// Course is what becomes of the record of a refusal whose caller must not wait.
type Course uint8

// The courses. The zero Course has a record.
const (
	Own     Course = iota // the refusal has a record of its own, which is to be written
	Shared                // it shares a record with others, for which it has to wait
	Dropped               // it would have to wait and may not: it has no record and must not be answered
)

// Waiter is who would have to wait.
type Waiter interface {
	// MayWait reports whether there is a place to wait in. It is called at most once, and
	// must not block or call the Limiter.
	MayWait() bool
	// Evicted returns what is closed when somebody else has the place; nil: never.
	Evicted() <-chan struct{}
}

// Postponed is a refusal's wait for the record that it shares with others.
type Postponed struct {
	limiter *Limiter
	w       *window
	group   <-chan struct{} // closed when it may go on
}

// Postpone decides what becomes of the record of e, a refusal whose caller must not wait
// here. Where it is Shared, Wait returns once the record is written. What is Dropped is
// in no record, and does not count as one that shares it.
func (l *Limiter) Postpone(e *record.Event, waiter Waiter) (Postponed, Course) {
	if !limited(e) || l.size == 0 && !e.Aggregate {
		return Postponed{}, Own
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	key, over := l.spend(e)
	switch {
	case !over:
		return Postponed{}, Own
	case !waiter.MayWait():
		if b := l.budgets[key.limit]; b != nil {
			b.dropped++
		}
		return Postponed{}, Dropped
	default:
		return l.add(e, key), Shared
	}
}

// Wait waits for the record, sets e.ID to the ID of it, and returns what became of it.
// Where the waiter is evicted first, the refusal is Dropped; else it is Shared.
func (p Postponed) Wait(e *record.Event, waiter Waiter) (Course, error) {
	select {
	case <-p.group:
	case <-waiter.Evicted():
		if p.limiter.withdraw(p.w) {
			return Dropped, nil
		}
		<-p.group
	}
	e.ID = p.w.event.ID
	return Shared, p.w.err
}

// withdraw takes one refusal out of those that wait for a record; false: it is being
// written. Where all have left there is none.
func (l *Limiter) withdraw(w *window) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.windows[w.key] != w {
		return false
	}
	if b := l.budgets[w.key.limit]; b != nil {
		b.dropped++
	}
	if w.count--; w.count == 0 {
		delete(l.windows, w.key)
		w.timer.Stop()
		close(w.done)
	}
	return true
}
