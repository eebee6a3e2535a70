package audit

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// A flood of refusals must not fill the disk, and no client may see a refusal
// that no record shows. So a refusal beyond the budget is not dropped from the
// records: it waits with those that are like it, one record is written for all
// of them, and then all return, each with the ID of that record. Who floods is
// slowed by it; who keeps to the budget is not delayed.

const (
	// budgetSpan is the time in which a budget is filled again.
	budgetSpan = time.Minute
	// maxSources bounds the memory: with that many sources in the table the
	// others share one budget.
	maxSources = 4096
	// refusalWait and challengeWait are how long refusals gather company. Java
	// and .NET are challenged on every connection, so it is shorter there.
	refusalWait   = time.Second
	challengeWait = 100 * time.Millisecond
)

// budgets decides which refusals get a record of their own.
type budgets struct {
	log   *Log
	size  int           // 0: each does, but for those that ask to share one
	cost  time.Duration // after which one more record is there to be spent
	start time.Time     // what the durations of a budget count from

	mu      sync.Mutex // taken before that of the log, never while holding it
	parties map[party]*budget
	sources int // of parties
	windows map[likeness]*window
	sweeper *time.Timer // runs while there are parties
	closed  bool
}

// party is whose refusals are counted together: a function, or the source
// where no function is known. The zero party is all sources for which there
// is no room.
type party struct {
	function string
	source   netip.Addr // unmapped; of IPv6 the first address of the /64
}

// budget is what a party has left.
type budget struct {
	full  time.Duration // when nothing is spent any more
	over  uint64        // refusals of this flood beyond the budget; 0: there is none
	last  time.Duration // when the last of them came
	event Event         // the flood record, for the end of the flood
}

// likeness is what refusals have in common that one record stands for.
type likeness struct {
	party            party
	kind             Kind
	reason           verdict.Reason
	protocol, policy string
}

// window is refusals that wait for the record that they share.
type window struct {
	like  likeness
	event Event  // the first one
	count uint64 // all of them
	timer *time.Timer
	done  chan struct{} // closed when err is there
	err   error
}

// newBudgets returns budgets of that many records in a minute; 0 is no limit.
func newBudgets(l *Log, records int) *budgets {
	b := &budgets{
		log: l, size: max(records, 0), cost: budgetSpan / time.Duration(max(records, 1)), start: time.Now(),
		parties: map[party]*budget{}, windows: map[likeness]*window{},
	}
	b.sweeper = time.AfterFunc(budgetSpan, b.sweep)
	b.sweeper.Stop()
	return b
}

// counts reports whether an event is a refusal that has to keep to a budget. One
// that stands for others is a summary already, and one of a request that was
// opened is its end, which nothing else tells of.
func counts(e *Event) bool {
	return e != nil && e.Verdict == verdict.Deny && e.Suppressed == 0 && !e.Dialed.IsValid() &&
		(e.Kind == Refused || e.Kind == Challenged || e.Kind == Answered)
}

// join returns the window that e waits in, nil where it has a record of its
// own.
func (b *budgets) join(e *Event) *window {
	if !counts(e) || b.size == 0 && !e.Share {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	like, over := b.spend(e)
	if !over {
		return nil
	}
	w := b.windows[like]
	if w == nil {
		w = &window{like: like, event: first(e, like), done: make(chan struct{})}
		wait := refusalWait
		if e.Kind == Challenged {
			wait = challengeWait
		}
		w.timer = time.AfterFunc(wait, func() { b.end(w) })
		b.windows[like] = w
	}
	w.count++
	return w
}

// wait waits for the record that stands for e.
func (w *window) wait(e *Event) error {
	<-w.done
	e.ID = w.event.ID
	return w.err
}

// merge returns events with those beyond the budget that are alike made one,
// where the first of them stood. Nobody waits for others to come.
func (b *budgets) merge(events []*Event) []*Event {
	if b.size == 0 {
		return events
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var merged map[likeness]*Event
	some := events
	for i, e := range events {
		var like likeness
		over := false
		if counts(e) {
			like, over = b.spend(e)
		}
		if over && merged == nil {
			merged, some = map[likeness]*Event{}, append(make([]*Event, 0, len(events)), events[:i]...)
		}
		switch one := merged[like]; {
		case merged == nil:
		case !over:
			some = append(some, e)
		case one == nil:
			copied := first(e, like)
			merged[like] = &copied
			some = append(some, &copied)
		default:
			one.Suppressed++
			e.ID = one.ID
		}
	}
	return some
}

// first is the event of a record that may stand for others.
func first(e *Event, like likeness) Event {
	one := *e
	if like.party == (party{}) {
		one.Client = netip.AddrPort{} // they come from many
	}
	return one
}

// spend takes a record out of the budget of e's party. Where there is none
// left the refusal is part of a flood; that it begins is recorded here, ahead
// of what stands for it. One that asks to share a record spends nothing.
func (b *budgets) spend(e *Event) (like likeness, over bool) {
	p := party{function: e.Function}
	if p.function == "" {
		p.source = sourceOf(e.Client.Addr())
	}
	if e.Share {
		return likeness{p, e.Kind, e.Reason, e.Protocol, e.Policy}, !b.closed
	}
	p, k := b.of(p)
	now := time.Since(b.start)
	full := max(k.full, now) + b.cost
	if b.closed || full-now <= budgetSpan {
		k.full = full
		return likeness{}, false
	}
	if k.over == 0 {
		k.event = b.begins(p, e)
		b.log.Post(&k.event)
	}
	k.over++
	k.last, k.event.Policy = now, e.Policy
	return likeness{p, e.Kind, e.Reason, e.Protocol, e.Policy}, true
}

// begins is the event of a flood that begins with e.
func (b *budgets) begins(p party, e *Event) Event {
	f := Event{Kind: Flood, Policy: e.Policy, Function: p.function, Owner: e.Owner}
	who := ""
	switch {
	case p.source.IsValid():
		f.Client = netip.AddrPortFrom(p.source, 0)
	case p.function == "":
		who = fmt.Sprintf(" of all sources beyond %d together", maxSources)
	}
	f.Detail = fmt.Sprintf("more than %d refusals in a minute%s: those beyond it share records, see suppressed", b.size, who)
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

// of returns a party and its budget, those of all others where the table is
// full. Functions are a closed set and always have one of their own.
func (b *budgets) of(p party) (party, *budget) {
	if k := b.parties[p]; k != nil {
		return p, k
	}
	if p.source.IsValid() {
		if b.sources >= maxSources {
			return b.of(party{})
		}
		b.sources++
	}
	if len(b.parties) == 0 {
		b.sweeper.Reset(budgetSpan)
	}
	k := &budget{}
	b.parties[p] = k
	return p, k
}

// end writes the record of a window and lets all go that wait for it.
func (b *budgets) end(w *window) {
	b.mu.Lock()
	mine := b.windows[w.like] == w // flush may have been here
	if mine {
		delete(b.windows, w.like)
	}
	b.mu.Unlock()
	if !mine {
		return
	}
	w.event.Suppressed = w.count - 1
	_, w.err = b.log.record(&w.event)
	close(w.done)
}

// flush ends the windows that are open and waits for their records.
func (b *budgets) flush() {
	b.mu.Lock()
	var open []*window
	for _, w := range b.windows {
		w.timer.Reset(0) // at once, and all of them share a write
		open = append(open, w)
	}
	b.mu.Unlock()
	for _, w := range open {
		<-w.done
	}
}

// sweep tells of the floods that have ended, those without a refusal beyond
// the budget for a minute, and forgets who has spent nothing lately.
func (b *budgets) sweep() {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Since(b.start)
	for p, k := range b.parties {
		if k.over > 0 && now-k.last >= budgetSpan {
			b.over(k)
		}
		if k.over == 0 && k.full <= now {
			delete(b.parties, p)
			if p.source.IsValid() {
				b.sources--
			}
		}
	}
	if len(b.parties) > 0 && !b.closed {
		b.sweeper.Reset(budgetSpan)
	}
}

// over tells of the end of a flood.
func (b *budgets) over(k *budget) {
	k.event.Detail = fmt.Sprintf("the flood is over: %d refusals beyond the budget of %d a minute shared records", k.over, b.size)
	b.log.Post(&k.event)
	k.over = 0
}

// finish writes all that there is to say of floods, because the last record
// is about to be written.
func (b *budgets) finish() {
	b.flush()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, k := range b.parties {
		if k.over > 0 {
			b.over(k)
		}
	}
}

// close lets all go that wait. What comes later does not wait.
func (b *budgets) close() {
	b.mu.Lock()
	b.closed = true
	b.sweeper.Stop()
	b.mu.Unlock()
	b.flush()
}
