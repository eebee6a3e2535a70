//go:build torture

package torture

import (
	"fmt"
	"slices"
	"time"
)

// keyHistory is what keys the program may have had, by what the issuer has answered. What
// it says for certain rests on what was seen: a process that was there, a record of a load,
// that the next request for keys came (there is one under way at most), or a process that
// said that it has all keys.
type keyHistory struct {
	answers []answer // good ones, in order of their requests
	boots   []*process
	lacking []interval  // when a policy without the account may have been in force
	dropped []time.Time // when one certainly was
	line    *timeline
}

// answer is a fetch that brought keys.
type answer struct {
	fetch
	// taken is from when on the program certainly had them, if it lives and has not forgotten
	// the account; zero: that is not known.
	taken time.Time
}

// takenAfter is how long behind the next request for keys the last answer counts as taken:
// a request of a process that has died may come to be seen behind the first of the next one.
const takenAfter = time.Second

// dateFetches finds out what the fetches say.
func (c *checker) dateFetches() {
	h := &keyHistory{boots: c.boots, line: c.world.timeline}
	for n, f := range c.round.fetches {
		if !f.sending.IsZero() {
			h.answers = append(h.answers, answer{f, h.taken(f, c.round.fetches[n+1:])})
		}
	}
	for _, w := range h.line.writes {
		if w.variant != nil && w.variant.unfetched {
			h.lacking = append(h.lacking, interval{w.at, w.upper})
		}
	}
	for _, e := range c.j.entries {
		if v := c.variants[e.Policy]; (e.Event == "started" || e.Event == "reloaded") && v != nil && v.unfetched {
			h.dropped = append(h.dropped, e.Time)
		}
	}
	c.fetches = h
}

// noteFetches notes how much was proved of the fetched keys.
func (c *checker) noteFetches() {
	holds, fails, either := 0, 0, 0
	for _, o := range c.operations {
		if o.function != epsilon || o.credential != awsToken {
			continue
		}
		switch s := c.fetches.during(o.start, o.end); {
		case s.all(o.key) && !s.none:
			holds++
		case !s.any(o.key):
			fails++
		default:
			either++
		}
	}
	c.t.notes = append(c.t.notes, fmt.Sprintf("fetched keys: asked for %d times, %d good answers; %d tokens had to hold, %d had to fail, %d might do either",
		len(c.round.fetches), len(c.fetches.answers), holds, fails, either))
}

// taken returns from when on the program certainly had an answer, by the requests behind it;
// zero: that is not known.
func (h *keyHistory) taken(f fetch, behind []fetch) (at time.Time) {
	n := slices.IndexFunc(behind, func(next fetch) bool { return !f.done.IsZero() && !next.arrived.Before(f.done) })
	if n < 0 || f.done.Sub(f.arrived) > keysWithin/2 {
		return at
	}
	next := behind[n].arrived.Add(takenAfter)
	if h.line.during(f.arrived.Add(-takenAfter), next, faultSlow) {
		return at
	}
	return next
}

// keyStates are what keys the program may have had during an operation.
type keyStates struct {
	none bool    // it may have had none
	sets [][]int // it may have had these
}

// any reports whether some of the sets has the key.
func (s keyStates) any(key int) bool {
	return slices.ContainsFunc(s.sets, func(some []int) bool { return slices.Contains(some, key) })
}

// all reports whether each of the sets has it.
func (s keyStates) all(key int) bool {
	return !slices.ContainsFunc(s.sets, func(some []int) bool { return !slices.Contains(some, key) })
}

// during returns the states of an instant of [from, to].
func (h *keyHistory) during(from, to time.Time) (s keyStates) {
	forgotten := h.forgotten(from)
	var superseded time.Time // what was asked for before is not in force any more
	for _, a := range h.answers {
		if !a.taken.IsZero() && !a.taken.After(from) && !h.isReset(a.arrived.Add(-takenAfter), a.arrived) {
			superseded = a.arrived
		}
	}
	for _, a := range h.answers {
		expired := !a.taken.IsZero() && !from.Before(a.taken.Add(keysLast))
		if a.sending.After(to) || a.arrived.Before(forgotten) || a.arrived.Before(superseded) || expired {
			continue
		}
		s.sets = append(s.sets, a.keys)
	}
	s.none = !h.certain(from, to)
	return s
}

// forgotten returns an instant such that all that was asked for before it is forgotten at
// another: that a process began, or that a policy without the account was recorded.
func (h *keyHistory) forgotten(at time.Time) (last time.Time) {
	for _, p := range h.boots {
		if !p.started.After(at) && p.started.After(last) {
			last = p.started
		}
	}
	for _, d := range h.dropped {
		if !d.After(at) && d.After(last) {
			last = d
		}
	}
	return last
}

// isReset reports whether the program may have forgotten its keys within [from, to]: a
// process began, or a policy without the account was in force.
func (h *keyHistory) isReset(from, to time.Time) bool {
	return slices.ContainsFunc(h.boots, func(p *process) bool { return p.started.After(from) && !p.started.After(to) }) ||
		slices.ContainsFunc(h.lacking, func(i interval) bool { return i.meets(from, to) })
}

// certain reports whether the program had keys all the time: those of an answer that it had
// taken, or those with which it said that it is ready, which are not too old either.
func (h *keyHistory) certain(from, to time.Time) bool {
	return slices.ContainsFunc(h.answers, func(a answer) bool {
		return !a.taken.IsZero() && !a.taken.After(from) && to.Before(a.sending.Add(keysLast)) && !h.isReset(a.arrived.Add(-takenAfter), to)
	}) || slices.ContainsFunc(h.boots, func(p *process) bool {
		return !p.ready.IsZero() && !p.ready.After(from) && to.Before(p.started.Add(keysLast)) && !h.isReset(p.started, to)
	})
}

// fetchedBy changes what is expected of a token by the keys that the program may have
// fetched.
func (c *checker) fetchedBy(o *operation, v *variant, e expectation) expectation {
	if o.function != epsilon || o.token == "" || v.unfetched {
		return e // it is nobody's token, whatever the keys
	}
	s := c.fetches.during(o.start, o.end)
	has, lacks := s.any(o.key), !s.all(o.key)
	var refuse []reason
	if lacks {
		refuse = append(refuse, "identity_rejected", "limit_failures")
	}
	if s.none {
		refuse = append(refuse, "keys_unavailable")
	}
	// Who has waited for keys has what is left of its time for the rest: a lookup ends after
	// three fifths of it, whenever it has begun.
	if took := o.end.Sub(o.start); took >= dialTimeout {
		refuse = append(refuse, "dns_timeout", "dns_failed", "dial_timeout", "limit_total")
	} else if took >= dialTimeout/5*3 {
		refuse = append(refuse, "dns_timeout", "dns_failed")
	}
	switch {
	case o.credential == awsToken && has && !lacks && !s.none:
		return e // it asks for no keys
	case o.credential == awsToken && !has:
		return refuseBy(refuse...)
	}
	e.refuse = append(slices.Clone(e.refuse), refuse...)
	return e
}

// fetchesInTime checks what the issuer has to see and what not: it is not asked more often
// than it may be, and no process is ready before it has been given keys.
func (c *checker) fetchesInTime() {
	c.noteFetches()
	all := c.round.fetches
	if len(all) == 0 || len(c.boots) == 0 {
		return
	}
	// What asks is new with each process and with each policy that has the account again.
	begin, end := c.boots[0].started, all[len(all)-1].arrived
	if most := len(c.boots) + len(c.world.timeline.writes) + int(end.Sub(begin)/keysApart); len(all) > most {
		c.t.violation("the issuer was asked for its keys %d times in %s, and %d is most", len(all), end.Sub(begin), most)
	}
	for _, p := range c.boots {
		policy := c.world.timeline.before(p.started)
		if p.ready.IsZero() || policy == nil || policy.unfetched {
			continue
		}
		if !slices.ContainsFunc(c.fetches.answers, func(a answer) bool { return a.arrived.After(p.started) && a.sending.Before(p.ready) }) {
			c.t.violation("a process that began at %s was ready at %s, and had been given no keys", p.started.UTC().Format("15:04:05.000000"), p.ready.UTC().Format("15:04:05.000000"))
		}
	}
}

// before returns the variant of the last write before an instant; nil: it is bad, or there
// is none.
func (t *timeline) before(at time.Time) *variant {
	var last *variant
	for _, w := range t.writes {
		if w.at.Before(at) {
			last = w.variant
		}
	}
	return last
}
