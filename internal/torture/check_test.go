//go:build torture

package torture

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// checker proves what the package comment promises of one round.
type checker struct {
	*round
	t        *tally
	j        *journal
	byOp     map[uint64]*operation
	visits   map[uint64][]*contact       // by operation
	shared   []*entry                    // records that stand for several refusals
	failures map[netip.Addr][]*operation // those that showed a bad credential, by source
	variants map[string]*variant         // by the hash of a good file
	fetches  *keyHistory                 // what keys the program may have fetched, and when
}

// check reads everything that was written down.
func (rd *round) check(t *tally) {
	for _, w := range rd.wrong {
		t.violation("%s", w)
	}
	for _, p := range rd.boots {
		for _, line := range p.failures() {
			t.violation("%s", line)
		}
	}
	t.contacts, t.queries = len(rd.contacts), len(rd.queries)
	j, err := rd.openJournal(t)
	if err != nil {
		t.violation("reading the records: %v", err)
		return
	}
	c := &checker{round: rd, t: t, j: j, byOp: map[uint64]*operation{}, visits: map[uint64][]*contact{}, variants: map[string]*variant{}, failures: map[netip.Addr][]*operation{}}
	c.index()
	c.dateWrites()
	c.dateFetches()
	rd.checkChains(t, j)
	beside := 0
	for _, o := range rd.operations {
		c.operation(o)
		if c.world.timeline.during(o.start, o.end, faultCrowding) {
			beside++
		}
	}
	t.notes = append(t.notes, fmt.Sprintf("%d operations were beside attackers", beside))
	c.records()
	c.contactsAndQueries()
	c.revocations()
	c.failedCredentials()
	c.fetchesInTime()
	c.resources()
}

// index makes what is looked up often.
func (c *checker) index() {
	for _, o := range c.operations {
		c.byOp[o.id] = o
		if o.credential == badToken || o.token != "" {
			c.failures[o.source] = append(c.failures[o.source], o)
		}
	}
	for _, k := range c.contacts {
		c.visits[k.op] = append(c.visits[k.op], k)
	}
	for _, e := range c.j.entries {
		if e.Suppressed > 0 {
			c.shared = append(c.shared, e)
		}
	}
	for _, w := range c.world.timeline.writes {
		if w.variant != nil {
			c.variants[w.hash] = w.variant
		}
	}
}

// dateWrites finds out until when each write of the policy may have been in
// force: until a record says that a later one is.
func (c *checker) dateWrites() {
	writes := c.world.timeline.writes
	serialOf := map[string]int{}
	for i, w := range writes {
		serialOf[w.hash] = i
		if w.variant == nil {
			serialOf[w.hash] = -1
		}
	}
	for _, e := range c.j.entries {
		if e.Event != "started" && e.Event != "reloaded" {
			continue
		}
		at, known := serialOf[e.Policy]
		if !known || at < 0 {
			c.t.violation("%s says that policy %s is in force, which was never a good file", e.Event, e.Policy)
			continue
		}
		for i := range at {
			if w := &writes[i]; w.upper.IsZero() || e.Time.Before(w.upper) {
				w.upper = e.Time
			}
		}
	}
}

// about says which operation a violation is about.
func (c *checker) about(o *operation) string {
	var b strings.Builder
	fmt.Fprintf(&b, "operation %d (%s), seed %d: %s %s as %q/%s, key %d, from %s%s, %s to %s: %s", o.id, o.kind, c.world.options.seed, o.method, o.target(),
		o.function, o.credential, o.key, o.source, o.network, o.start.UTC().Format("15:04:05.000000"), o.end.UTC().Format("15:04:05.000000"), o.outcome)
	fmt.Fprintf(&b, " %d %s %s %s, tail %q, sent %d, got %d, %q, plan %q hello %q early %v abort %d type %d %s", o.status, o.reason, o.recordID, o.addrs, o.tail, o.sent, o.got, o.detail,
		o.transfer.line(), o.hello, o.early, o.abort, o.qtype, o.proto)
	for _, e := range c.j.byHost[o.host] {
		if o.own() {
			fmt.Fprintf(&b, "\n    record %d of %s at %s: %s %s %s policy %s dialed %s up %d down %d ended %s", e.Seq, e.Process, e.Time.Format("15:04:05.000000"),
				e.Event, e.Verdict, e.Reason, e.Policy, e.Dialed, e.BytesUp, e.BytesDown, e.Ended)
		}
	}
	for _, k := range c.visits[o.id] {
		fmt.Fprintf(&b, "\n    contact of %s at %s: up %d down %d whole %v", k.local, k.at.UTC().Format("15:04:05.000000"), k.up, k.down, k.whole)
	}
	return b.String()
}

// operation checks one operation: it has one outcome, and that is one which a
// policy in force allows.
func (c *checker) operation(o *operation) {
	outcome := string(o.outcome)
	if o.outcome == refused {
		outcome = o.reason
	}
	c.t.count(o.kind, outcome)
	if o.detail != "" && (o.outcome == refused || o.tail == tailWrong || o.tail == tailWhole) {
		c.t.violation("%s", c.about(o))
	}
	switch o.outcome {
	case "", quit:
		c.behind(o)
	case hung:
		if !c.excusedSilence(o) {
			c.t.violation("%s: no answer: %s", c.world.blame(o, "dropped"), c.about(o))
		}
	case nothing, torn:
		if !c.excusedSilence(o) {
			c.t.violation("%s: the connection ended: %s", c.world.blame(o, "dropped"), c.about(o))
		}
	case refused:
		c.refused(o)
	case passed:
		c.passed(o)
	}
}

// behind checks that nothing came of a request behind a refusal.
func (c *checker) behind(o *operation) {
	if o.behind && len(c.j.byHost[o.host]) > 0 {
		c.t.violation("a request behind a refusal was read: %s", c.about(o))
	}
}

// excusedSilence reports whether something explains that no answer came.
func (c *checker) excusedSilence(o *operation) bool {
	slowHead := time.Duration(3*o.slow)*time.Millisecond >= headerTimeout
	lookup := o.method == "LOOKUP" && c.world.timeline.during(o.start, o.end, faultDNS, faultSink)
	broken := o.balancer == balancerNone || o.balancer == balancerBad
	revoked := o.method != "CONNECT" && c.ended(o, "revoked")
	return o.network != "" || broken || slowHead || lookup || revoked || c.world.forged(o) || c.world.timeline.during(o.start, o.end, faultDown, faultSlow)
}

// verdicts returns the expectations of an operation under each policy that may
// have been in force during it, by hash.
func (c *checker) verdicts(o *operation) map[string]expectation {
	all := map[string]expectation{}
	possible := c.world.timeline.possible(o.start, o.end)
	for _, w := range possible {
		all[w.hash] = c.fetchedBy(o, w.variant, keyed(o, possible, c.world.expect(o, w.variant)))
	}
	return all
}

// anyOf reports whether one of the expectations has the property.
func anyOf(all map[string]expectation, has func(expectation) bool) bool {
	for _, e := range all {
		if has(e) {
			return true
		}
	}
	return false
}

// refused checks a refusal that a client saw.
func (c *checker) refused(o *operation) {
	may := c.verdicts(o)
	if !anyOf(may, func(e expectation) bool { return e.may(o.reason) }) && !c.world.excuses(o, o.reason) {
		c.t.violation("%s: %s is expected: %s", c.world.blame(o, "refused"), fmt.Sprint(may), c.about(o))
	}
	if n := c.failedBefore(o); o.reason == "limit_failures" && n < failureBudget {
		c.t.violation("refused for another's doing: the source had shown %d bad credentials: %s", n, c.about(o))
	}
	if o.reason == "audit_unavailable" {
		if c.plan.count {
			c.t.violation("refused for want of a record, which this policy forgives: %s", c.about(o))
		}
		return
	}
	if o.method == "LOOKUP" {
		c.recordOf(o, c.j.byHost[o.host], "answered", o.reason, o.seen, may)
		return
	}
	if o.reason == "limit_failures" {
		return // see failedCredentials
	}
	event := "refused"
	if o.reason == "identity_required" {
		event = "challenged"
	}
	c.recordOf(o, c.j.byID[o.recordID], event, o.reason, o.seen, may)
}

// closedUnrecorded reports whether a tunnel may have been closed because the
// refusal of its ClientHello could not be recorded: nothing else is left to do
// there. The part of that record which the output took is completed when it
// takes bytes again.
func (c *checker) closedUnrecorded(o *operation, event string) bool {
	return event == "refused" && o.outcome == passed && c.world.timeline.during(o.start, o.end, faultSink)
}

// recordOf checks that a decision which was seen has its record: one, the same,
// from before it was seen, under a policy that was in force.
func (c *checker) recordOf(o *operation, all []*entry, event string, why reason, seen position, may map[string]expectation) {
	var found *entry
	for _, e := range all {
		if e.Event == event && e.Reason == why {
			if found != nil && o.method != "LOOKUP" {
				c.t.violation("two records: %s", c.about(o))
			}
			found = e
		}
	}
	if found == nil && c.sharing(o, event, why) || c.uncertain(o) {
		return
	}
	if found == nil {
		c.t.violation("seen, and no record shows it: %s", c.about(o))
		return
	}
	if c.closedUnrecorded(o, event) {
		return
	}
	if found.end.gen > seen.gen || found.end.gen == seen.gen && found.end.size > seen.size {
		c.t.violation("recorded after it was seen (record ends at %v, the file was %v): %s", found.end, seen, c.about(o))
	}
	if o.own() && len(o.want) == 0 && found.Host != o.host && found.Suppressed == 0 {
		c.t.violation("the record is of %s: %s", found.Host, c.about(o))
	}
	e, inForce := may[found.Policy]
	switch {
	case found.Event == "opened" && (found.Via == "aws") != (o.credential == awsToken):
		c.t.violation("the record says that the caller was known by %s: %s", found.Via, c.about(o))
	case !inForce:
		c.t.violation("judged by policy %s, which was not in force: %s", found.Policy, c.about(o))
	case found.Event == "refused" && o.tail == tailNone && !e.may(why) && !c.world.excuses(o, why):
		c.t.violation("policy %s expects %s: %s", found.Policy, e, c.about(o))
	case found.Event == "refused" && o.tail != tailNone && !slices.Contains(e.hello, why) && !c.world.excuses(o, why):
		c.t.violation("policy %s expects %s: %s", found.Policy, e, c.about(o))
	case found.Event == "answered" && !e.may(why) && !c.world.excuses(o, why):
		c.t.violation("policy %s expects %s: %s", found.Policy, e, c.about(o))
	case found.Event == "opened" && !e.pass:
		c.t.violation("policy %s expects %s: %s", found.Policy, e, c.about(o))
	}
}

// uncertain reports whether the record of an operation may be missing or late
// because it was let through without one.
func (c *checker) uncertain(o *operation) bool { return c.plan.count && c.sinkFailed(o.start, o.end) }

// sharing reports whether a decision may be in a record that stands for others
// and has the name and the ID of one of them.
func (c *checker) sharing(o *operation, event string, why reason) bool {
	return slices.ContainsFunc(c.shared, func(e *entry) bool {
		unknown := (why == "identity_rejected" || why == "keys_unavailable") && e.Function == ""
		return e.Event == event && e.Reason == why && (e.Function == o.function || unknown) && (interval{o.start, o.end}).meets(e.Time, e.Time)
	})
}

// passed checks a request that was let through.
func (c *checker) passed(o *operation) {
	may := c.verdicts(o)
	// An upstream that rebinds has no address of IPv6 for any name, and no alias.
	rebound := o.method == "LOOKUP" && o.qtype != 1 && c.world.timeline.during(o.start, o.end, faultDNS)
	if !rebound && !anyOf(may, func(e expectation) bool { return e.pass }) {
		c.t.violation("let through, but %s is expected: %s", fmt.Sprint(may), c.about(o))
	}
	if o.method == "LOOKUP" {
		c.answered(o, may)
		return
	}
	if o.own() {
		c.recordOf(o, c.opened(o), "opened", "", o.seen, may)
	}
	if o.tail == tailWrong || o.tail == tailHung && !c.excusedSilence(o) {
		c.t.violation("the tunnel is wrong: %s", c.about(o))
	}
	refusedLater := c.refusedLater(o)
	for hash, e := range may {
		if len(e.hello) == 0 || refusedLater == nil || refusedLater.Policy != hash {
			continue
		}
		c.recordOf(o, []*entry{refusedLater}, "refused", refusedLater.Reason, o.tailSeen, may)
	}
	c.tail(o, may, refusedLater)
}

// opened returns the first record of the request that was let through.
func (c *checker) opened(o *operation) []*entry {
	for _, e := range c.j.byHost[o.host] {
		if e.Event == "opened" {
			return []*entry{e}
		}
	}
	return nil
}

// refusedLater returns the record that ended a tunnel for its first bytes.
func (c *checker) refusedLater(o *operation) *entry {
	if !o.own() {
		return nil
	}
	for _, e := range c.j.byHost[o.host] {
		if e.Event == "refused" {
			return e
		}
	}
	return nil
}

// tail checks how a tunnel ended.
func (c *checker) tail(o *operation, may map[string]expectation, later *entry) {
	expected := anyOf(may, func(e expectation) bool { return e.pass && len(e.hello) == 0 })
	lossy := o.network != "" || o.word == "toxic" || c.world.timeline.during(o.start, o.end, faultDown, faultSlow, faultTerm)
	switch o.tail {
	case tailWhole:
		if !expected {
			c.t.violation("bytes came through a tunnel that its first bytes should have ended: %s", c.about(o))
		}
	case tailClosed, tailCut:
		silent := o.hello == helloSilent || o.hello == helloNotTLS || o.idle
		if expected && !lossy && !silent && !c.ended(o, "revoked") && !(later != nil && c.world.excuses(o, later.Reason)) && !c.sinkFailed(o.start, o.end) {
			c.t.violation("the tunnel ended early: %s", c.about(o))
		}
		if !expected && later == nil && !lossy && !c.sinkFailed(o.start, o.end) && o.own() && !c.endsShared(o.function) {
			c.t.violation("the tunnel's end for its first bytes has no record: %s", c.about(o))
		}
	}
}

// endsShared reports whether ends of what the function has opened share records, for the
// first bytes of a tunnel or because the host has failed: then they are in none of their own.
// A plain request is opened before it has a connection, so it may end in a dial.
func (c *checker) endsShared(function string) bool {
	return slices.ContainsFunc(c.shared, func(e *entry) bool {
		return e.Event == "refused" && e.Function == function && (e.Dialed.IsValid() || e.Protocol == "http" && strings.HasPrefix(e.Reason, "dial_"))
	})
}

// ended reports whether the record of the end of what was opened has the cause.
func (c *checker) ended(o *operation, cause string) bool {
	return slices.ContainsFunc(c.j.byHost[o.host], func(e *entry) bool { return e.Event == "closed" && e.Ended == cause })
}

// answered checks an answer of the DNS filter.
func (c *checker) answered(o *operation, may map[string]expectation) {
	for _, a := range o.addrs {
		if !anyOf(may, func(e expectation) bool { return slices.Contains(e.reach, a) }) {
			c.t.violation("answered with %s: %s", a, c.about(o))
		}
	}
	if o.status == 2 && !c.world.excuses(o, "dns_failed") {
		c.t.violation("%s: SERVFAIL without a reason: %s", c.world.blame(o, "refused"), c.about(o))
	}
}
