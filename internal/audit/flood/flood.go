// Package flood decides which refusals get a record of their own, so that a
// flood of them fills no disk and no client sees a refusal that no record shows.
//
// What it does: a refusal beyond the budget of its function or source is not
// sampled. It waits with those that are like it, one record is written for all
// of them, and then all return, each with the ID of that record. Who floods is
// slowed by it; who keeps to the budget is not delayed. That a flood begins and
// ends is a record of its own.
//
// What it does not do: it writes nothing itself, and it judges no request.
//
//	limiter := flood.NewLimiter(records, post, write)
//	if shared, err := limiter.Aggregate(e); shared {
//		return err // the record for e and others is written, or failed with err
//	}
//	return write(e)
package flood

import (
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/audit/record"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

const (
	// Span is the time in which a budget is filled again.
	Span = time.Minute
	// RefusalWait is how long refusals wait for others like them.
	RefusalWait = time.Second
	// challengeWait is that of challenges: Java and .NET are challenged on every
	// connection.
	challengeWait = 100 * time.Millisecond
	// atOnce is how many go on together when the record that they share is written.
	// Thousands would have every processor until the last of them has been answered, and
	// whoever comes meanwhile would have its turn behind them.
	atOnce = 16
	// pause is that between those who go on together and the next of them, and longest all
	// the pauses of one record: of more than go on so in that time, more go on together.
	pause   = time.Millisecond
	longest = 250 * time.Millisecond
	// maxSources bounds the memory: with that many sources in the table the
	// others share one budget.
	maxSources = 4096
)

// Limiter has the budgets of all functions and sources. Make one with NewLimiter.
// It is safe for concurrent use.
type Limiter struct {
	post  func(*record.Event)       // takes a record that nobody waits for
	write func(*record.Event) error // returns once a record is written or has failed
	size  int                       // 0: no limit, but for those that ask to share a record
	cost  time.Duration             // after which one more record is there to be spent
	start time.Time                 // what the durations of a budget count from

	mu      sync.Mutex // held while post is called, never while write is
	budgets map[limitKey]*budget
	sources int // of budgets
	windows map[aggregateKey]*window
	sweeper *time.Timer // runs while there are budgets
	closed  bool
}

// limitKey is whose refusals are counted together: a function, or the source
// where no function is known. The zero limitKey is all sources for which there
// is no room.
type limitKey struct {
	function string
	source   netip.Addr // unmapped; of IPv6 the first address of the /64
}

// budget is what a function or source has left.
type budget struct {
	full    time.Duration // when nothing is spent any more
	over    uint64        // refusals of this flood beyond the budget; 0: there is no flood
	dropped uint64        // of over: those that neither shared a record nor were answered
	last    time.Duration // when the last of them came
	event   record.Event  // the flood record, for the end of the flood
}

// aggregateKey is what refusals have in common that one record stands for.
type aggregateKey struct {
	limit            limitKey
	kind             record.Kind
	reason           verdict.Reason
	protocol, policy string
	opened           bool // it ends what has a record that it was opened
}

// window is refusals that wait for the record that they share.
type window struct {
	key      aggregateKey
	event    record.Event // the first one
	count    uint64       // all of them
	timer    *time.Timer
	done     chan struct{} // closed when err is set
	err      error
	groups   []chan struct{} // closed one after the other behind done: each is that of atOnce who wait
	draining bool            // the process ends: nobody pauses
}

// NewLimiter returns a Limiter that allows that many records in a minute; zero or
// less is no limit. post must not block and must not call the Limiter.
func NewLimiter(records int, post func(*record.Event), write func(*record.Event) error) *Limiter {
	l := &Limiter{
		post: post, write: write, size: max(records, 0), cost: Span / time.Duration(max(records, 1)), start: time.Now(),
		budgets: map[limitKey]*budget{}, windows: map[aggregateKey]*window{},
	}
	l.sweeper = time.AfterFunc(Span, l.sweep)
	l.sweeper.Stop()
	return l
}

// keyOf returns what e has in common with those that may share its record. What was
// opened has been dialed.
func keyOf(limit limitKey, e *record.Event) aggregateKey {
	return aggregateKey{limit, e.Kind, e.Reason, e.Protocol, e.Policy, e.Dialed.IsValid()}
}

// limited reports whether an event is a refusal that has to keep to a budget. One
// that stands for others is a summary already.
func limited(e *record.Event) bool {
	return e != nil && e.Verdict == verdict.Deny && e.Suppressed == 0 &&
		(e.Kind == record.Refused || e.Kind == record.Challenged || e.Kind == record.Answered)
}

// Aggregate reports whether e shares a record with others. Then it has waited for
// that record, has set e.ID to the ID of it, and returns what became of it. Where
// e does not, it returns at once, and the caller writes the record of e.
func (l *Limiter) Aggregate(e *record.Event) (shared bool, err error) {
	p := l.waitOf(e)
	if p.w == nil {
		return false, nil
	}
	<-p.group
	e.ID = p.w.event.ID
	return true, p.w.err
}

// waitOf returns the wait of e, the zero Postponed where it has a record of its own.
func (l *Limiter) waitOf(e *record.Event) Postponed {
	if !limited(e) || l.size == 0 && !e.Aggregate {
		return Postponed{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	key, over := l.spend(e)
	if !over {
		return Postponed{}
	}
	return l.add(e, key)
}

// add adds e to the window of those that are like it.
func (l *Limiter) add(e *record.Event, key aggregateKey) Postponed {
	w := l.windows[key]
	if w == nil {
		w = &window{key: key, event: first(e, key), done: make(chan struct{})}
		delay := RefusalWait
		if e.Kind == record.Challenged {
			delay = challengeWait
		}
		w.timer = time.AfterFunc(delay, func() { l.end(w) })
		l.windows[key] = w
	}
	if w.count%atOnce == 0 {
		w.groups = append(w.groups, make(chan struct{}))
	}
	w.count++
	return Postponed{l, w, w.groups[len(w.groups)-1]}
}

// first is the event of a record that may stand for others.
func first(e *record.Event, key aggregateKey) record.Event {
	one := *e
	if key.limit == (limitKey{}) {
		one.Client = netip.AddrPort{} // they come from many
	}
	return one
}

// spend takes a record out of the budget that e counts against. Where there is
// none left the refusal is part of a flood; that it begins is recorded here, ahead
// of what stands for it. One that asks to share a record spends nothing.
func (l *Limiter) spend(e *record.Event) (key aggregateKey, over bool) {
	limit := limitKey{function: e.Function}
	if limit.function == "" {
		limit.source = sourceOf(e.Client.Addr())
	}
	if e.Aggregate {
		return keyOf(limit, e), !l.closed
	}
	limit, b := l.budgetOf(limit)
	now := time.Since(l.start)
	full := max(b.full, now) + l.cost
	if l.closed || full-now <= Span {
		b.full = full
		return aggregateKey{}, false
	}
	if b.over == 0 {
		b.event = l.begins(limit, e)
		l.post(&b.event)
	}
	b.over++
	b.last, b.event.Policy = now, e.Policy
	return keyOf(limit, e), true
}

// begins is the event of a flood that begins with e.
func (l *Limiter) begins(limit limitKey, e *record.Event) record.Event {
	f := record.Event{Kind: record.Flood, Policy: e.Policy, Function: limit.function, Owner: e.Owner}
	of := ""
	switch {
	case limit.source.IsValid():
		f.Client = netip.AddrPortFrom(limit.source, 0)
	case limit.function == "":
		of = fmt.Sprintf(" of all sources beyond %d together", maxSources)
	}
	f.Detail = fmt.Sprintf("more than %d refusals in a minute%s: those beyond it share records, see suppressed", l.size, of)
	return f
}

// sourceOf returns what is one source: an IPv6 caller has a whole /64.
func sourceOf(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		p, _ := a.Prefix(64)
		a = p.Addr()
	}
	return a
}

// budgetOf returns a budget and its key, which is that of all others where the
// table is full. Functions are a closed set and always have one of their own.
func (l *Limiter) budgetOf(key limitKey) (limitKey, *budget) {
	if b := l.budgets[key]; b != nil {
		return key, b
	}
	if key.source.IsValid() {
		if l.sources >= maxSources {
			return l.budgetOf(limitKey{})
		}
		l.sources++
	}
	if len(l.budgets) == 0 {
		l.sweeper.Reset(Span)
	}
	b := &budget{}
	l.budgets[key] = b
	return key, b
}

// end writes the record of a window and releases all who wait for it, some at a time.
func (l *Limiter) end(w *window) {
	l.mu.Lock()
	mine := l.windows[w.key] == w // Flush may have been here
	if mine {
		delete(l.windows, w.key)
	}
	draining := w.draining
	l.mu.Unlock()
	if !mine {
		return
	}
	w.event.Suppressed = w.count - 1
	w.err = l.write(&w.event)
	close(w.done)
	together := 1 + len(w.groups)/int(longest/pause)
	for i, group := range w.groups {
		close(group)
		switch {
		case i%together < together-1, i == len(w.groups)-1:
		case draining:
			runtime.Gosched() // behind those who go on now
		default:
			time.Sleep(pause)
		}
	}
}

// Flush ends the windows that are open and waits for their records.
func (l *Limiter) Flush() {
	l.mu.Lock()
	var open []*window
	for _, w := range l.windows {
		w.draining = true
		w.timer.Reset(0) // at once, and all of them share a write
		open = append(open, w)
	}
	l.mu.Unlock()
	for _, w := range open {
		<-w.done
	}
}

// sweep records the end of floods, which is a minute without a refusal beyond
// the budget, and drops the budgets of which nothing is spent.
func (l *Limiter) sweep() {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Since(l.start)
	for key, b := range l.budgets {
		if b.over > 0 && now-b.last >= Span {
			l.ends(b)
		}
		if b.over == 0 && b.full <= now {
			delete(l.budgets, key)
			if key.source.IsValid() {
				l.sources--
			}
		}
	}
	if len(l.budgets) > 0 && !l.closed {
		l.sweeper.Reset(Span)
	}
}

// ends records the end of a flood.
func (l *Limiter) ends(b *budget) {
	b.event.Detail = fmt.Sprintf("the flood is over: %d refusals beyond the budget of %d a minute shared records", b.over-b.dropped, l.size)
	if b.dropped > 0 {
		b.event.Detail += fmt.Sprintf(", %d more got no answer", b.dropped)
	}
	l.post(&b.event)
	b.over, b.dropped = 0, 0
}

// Finish writes all records of floods, because the last record of the process is
// about to be written.
func (l *Limiter) Finish() {
	l.Flush()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.budgets {
		if b.over > 0 {
			l.ends(b)
		}
	}
}

// Close releases all who wait. What comes later does not wait.
func (l *Limiter) Close() {
	l.mu.Lock()
	l.closed = true
	l.sweeper.Stop()
	l.mu.Unlock()
	l.Flush()
}
