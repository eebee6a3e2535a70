package audit

import "github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit/flood"

// Course is what becomes of the record of a refusal whose caller must not wait.
type Course = flood.Course

// The courses; see package flood.
const (
	Own     = flood.Own
	Shared  = flood.Shared
	Dropped = flood.Dropped
)

// Waiter is who would have to wait; see package flood.
type Waiter = flood.Waiter

// Postponed is a refusal's wait for the record that it shares with others.
type Postponed struct {
	log *Log
	p   flood.Postponed
}

// Postpone is the beginning of Record for who must not wait. It says what becomes of the
// record of e: where that is Own the caller writes it by RecordAll; where it is Shared,
// the caller has Wait called from where waiting is possible; where it is Dropped, since
// w may not wait, there is no record, and nobody may see an answer.
func (l *Log) Postpone(e *Event, w Waiter) (Postponed, Course) {
	p, course := l.limiter.Postpone(e, w)
	return Postponed{l, p}, course
}

// Wait is the end of Record: it returns what became of the record that e, the event that
// was postponed or a copy of it, shares, and sets e.ID to the ID of that. Where w, the
// waiter of Postpone, is evicted before that, the refusal is Dropped after all.
func (p Postponed) Wait(e *Event, w Waiter) (Course, error) {
	course, err := p.p.Wait(e, w)
	return course, p.log.maskIfCounting(err)
}
