//go:build torture

package torture

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// records checks what every record has to be, whoever saw it.
func (c *checker) records() {
	for _, e := range c.j.entries {
		if e.Protocol == "" {
			continue
		}
		op := operationIn([]byte(e.Host))
		o := c.byOp[op]
		if o == nil {
			continue // a host that several share, or none
		}
		if e.Event == "opened" {
			c.permitted(e, o)
		}
	}
	for id, all := range c.j.byID {
		c.oneEnd(id, all)
	}
}

// permitted checks that a permit is one that the policy it names gives.
func (c *checker) permitted(e *entry, o *operation) {
	if v := c.variants[e.Policy]; v != nil {
		x := c.world.expect(o, v)
		if !x.pass || e.Dialed.IsValid() && !slices.Contains(x.reach, e.Dialed.Addr()) {
			c.t.violation("record %d of %s lets %s pass to %s, policy %s expects %s: %s", e.Seq, e.Process, e.Host, e.Dialed, e.Policy, x, c.about(o))
		}
		if wantReport := x.report && e.Reason != ""; (e.Verdict == "report") != wantReport {
			c.t.violation("record %d of %s has verdict %s: %s", e.Seq, e.Process, e.Verdict, c.about(o))
		}
		return
	}
	c.t.violation("record %d of %s is by policy %s, which no file was", e.Seq, e.Process, e.Policy)
}

// oneEnd checks the records of one request: what was opened ends once, unless
// the process did before.
func (c *checker) oneEnd(id string, all []*entry) {
	var opened, closed, denied int
	first := all[0]
	for _, e := range all {
		switch e.Event {
		case "opened":
			opened++
		case "closed":
			closed++
		case "refused", "challenged":
			denied++
		}
	}
	b := c.j.boots[first.Process]
	certain := b.stopped && b.lost == 0
	switch {
	case closed+denied > 1, opened > 2, opened == 2 && !slices.ContainsFunc(all, func(e *entry) bool { return e.Event == "opened" && e.Verdict == "report" }):
		c.t.violation("request %s of %s has %d opened, %d closed, %d refused", id, first.Host, opened, closed, denied)
	case opened == 0 && closed > 0 && !c.plan.count:
		c.t.violation("request %s of %s was closed and never opened", id, first.Host)
	case certain && opened > 0 && closed+denied != 1 && !c.endsShared(first.Function):
		c.t.violation("request %s of %s, opened in seq %d of boot %s, has no end", id, first.Host, first.Seq, first.Process)
	}
	o := c.byOp[operationIn([]byte(first.Host))]
	if o == nil || !o.own() || opened == 0 {
		return
	}
	for _, e := range all {
		if e.Event == "closed" {
			c.bytes(e, o)
		}
	}
}

// bytes compares the bytes of a record with those that both ends have counted,
// where both saw the end.
func (c *checker) bytes(e *entry, o *operation) {
	if e.Protocol == "http" {
		for _, q := range c.requests {
			if q.op == o.id && o.tail == tailWhole && q.body != e.BytesUp {
				c.t.violation("%d bytes of content reached the origin, %d are recorded: %s", q.body, e.BytesUp, c.about(o))
			}
		}
		if o.outcome == passed && o.tail == tailWhole && e.BytesDown != o.got {
			c.t.violation("%d bytes of content came, %d are recorded: %s", o.got, e.BytesDown, c.about(o))
		}
		return
	}
	var up, down int64
	for _, k := range c.visits[o.id] {
		up, down = up+k.up, down+k.down
	}
	if len(c.visits[o.id]) > 0 && (up > e.BytesUp || e.BytesUp > o.sent || o.got > e.BytesDown || e.BytesDown > down) {
		c.t.violation("recorded %d up, which is not between %d at the origin and %d at the client, or %d down, not between %d and %d: %s",
			e.BytesUp, up, o.sent, e.BytesDown, o.got, down, c.about(o))
	}
	if o.tail != tailWhole {
		return
	}
	for _, k := range c.visits[o.id] {
		if !k.whole {
			continue
		}
		if e.BytesUp != k.up || e.BytesUp != o.sent || e.BytesDown != k.down || e.BytesDown != o.got {
			c.t.violation("recorded %d up, %d down; the client counted %d, %d, the origin %d, %d: %s",
				e.BytesUp, e.BytesDown, o.sent, o.got, k.up, k.down, c.about(o))
		}
	}
}

// contactsAndQueries checks who was contacted and what was asked.
func (c *checker) contactsAndQueries() {
	for _, k := range c.contacts {
		c.contact(k)
	}
	for _, q := range c.requests {
		o := c.byOp[q.op]
		switch {
		case q.odd != "":
			c.t.violation("a forwarded request at %s: %s", q.local, q.odd)
		case o == nil:
			c.t.violation("a request at %s of no operation", q.local)
		case o.behind:
			c.t.violation("a request behind a refusal was forwarded: %s", c.about(o))
		default:
			c.bytesBehindRecord(o, q.local, q.first)
		}
	}
	for _, q := range c.queries {
		o := c.byOp[q.op]
		if o == nil {
			if q.op != 0 {
				c.t.violation("a question upstream for %s, which nobody asked for", q.name)
			}
			continue
		}
		if !anyOf(c.verdicts(o), func(e expectation) bool { return e.lookup }) {
			c.t.violation("a question upstream for a name that is refused, %s: %s", q.name, c.about(o))
		}
	}
}

// contact checks one connection to an origin.
func (c *checker) contact(k *contact) {
	o := c.byOp[k.op]
	if k.role == roleCanary {
		about := ""
		if o != nil {
			about = c.about(o)
		}
		c.t.violation("canary %s was contacted, %d bytes: %s", k.local, k.up, about)
		return
	}
	if k.wrong != "" {
		c.t.violation("at origin %s: %s", k.local, k.wrong)
	}
	if o == nil {
		if k.up > 0 && k.op != 0 {
			c.t.violation("origin %s got %d bytes of operation %d, which there is not", k.local, k.up, k.op)
		}
		return
	}
	if k.up > 0 {
		c.bytesBehindRecord(o, k.local, k.first)
	}
}

// bytesBehindRecord checks that bytes which reached an origin were permitted:
// to that address, and recorded before.
func (c *checker) bytesBehindRecord(o *operation, at netip.AddrPort, first position) {
	may := c.verdicts(o)
	local := at.Addr()
	if o.word == "toxic" && local == addrOf(1, 2, 1) {
		local = addrOf(1, 1, 1)
	}
	if !anyOf(may, func(e expectation) bool { return e.pass && len(e.hello) == 0 && slices.Contains(e.reach, local) }) || at.Port() != o.port {
		c.t.violation("origin %s got bytes, %v is expected: %s", at, may, c.about(o))
	}
	if !o.own() || c.uncertain(o) {
		return
	}
	all := c.opened(o)
	if len(all) == 0 {
		c.t.violation("origin %s got bytes that no record permits: %s", at, c.about(o))
		return
	}
	if e := all[0]; e.end.gen > first.gen || e.end.gen == first.gen && e.end.size > first.size {
		c.t.violation("origin %s got bytes before the record was written: %s", at, c.about(o))
	}
}

// graceOfRevocation is how long a tunnel may outlive the reload that refuses it.
const graceOfRevocation = 2 * time.Second

// revocations checks that no tunnel outlives a reload that refuses it.
func (c *checker) revocations() {
	reloads := slices.DeleteFunc(slices.Clone(c.j.entries), func(e *entry) bool { return e.Event != "reloaded" || c.variants[e.Policy] == nil })
	for _, e := range c.j.entries {
		if e.Event != "closed" || e.Protocol != "connect" {
			continue
		}
		o := c.byOp[operationIn([]byte(e.Host))]
		if o == nil || o.outcome != passed {
			continue
		}
		opened := e.Time.Add(-e.Duration)
		for _, f := range reloads {
			if f.Process != e.Process || f.Time.Before(opened) || e.Time.Sub(f.Time) < graceOfRevocation {
				continue
			}
			x := c.world.expect(o, c.variants[f.Policy])
			if !x.pass && !c.world.timeline.during(f.Time, e.Time, faultSlow, faultSink) && o.passedAt.Before(f.Time) {
				c.t.violation("the tunnel outlived the reload of %s at %s by %s: %s", f.Policy, f.Time.Format("15:04:05.000000"), e.Time.Sub(f.Time), c.about(o))
			}
		}
	}
}

// failedCredentials checks that what was refused beyond the budget of failed
// credentials is in the summaries: whole, where the process ended in order, and
// at least the beginning where it was killed.
func (c *checker) failedCredentials() {
	type party struct {
		boot   string
		source netip.Addr
	}
	seen, recorded := map[party]uint64{}, map[party]uint64{}
	for _, e := range c.j.entries {
		if e.Reason == "limit_failures" {
			recorded[party{e.Process, e.Client.Addr()}] += e.Count()
		}
	}
	for _, o := range c.operations {
		if o.reason == "limit_failures" && len(o.recordID) > 16 {
			seen[party{o.recordID[:16], o.source}]++
		}
	}
	for p, n := range seen {
		b := c.j.boots[p.boot]
		switch {
		case recorded[p] == 0 && c.plan.count && b != nil && !b.stopped:
			// It was killed with its disk full, and said so to nobody.
		case b == nil || recorded[p] == 0:
			c.t.violation("%d refusals with 429 to %s of boot %s, no record shows one", n, p.source, p.boot)
		case recorded[p] < n && b.stopped && b.lost == 0:
			c.t.violation("%d refusals with 429 to %s of boot %s, %d recorded", n, p.source, p.boot, recorded[p])
		}
	}
}

// resources checks what the last process still held, and that its metrics, its
// records and their totals are the same.
func (c *checker) resources() {
	if c.lastBoot == nil {
		return
	}
	for _, what := range c.leftovers() {
		c.t.violation("when the load is over the program holds %s", what)
	}
	var b *bootRecords
	for _, name := range c.j.order {
		if one := c.j.boots[name]; one.stopped && (b == nil || one.from.After(b.from)) {
			b = one
		}
	}
	if b == nil || c.lastBoot.killed {
		c.t.violation("the last boot has no last record")
		return
	}
	c.compareMetrics(b)
}

// compareMetrics compares the metrics of the last process with its records.
func (c *checker) compareMetrics(b *bootRecords) {
	recorded, counted := map[string]float64{}, map[string]float64{}
	var up, down int64
	for _, e := range c.j.entries {
		switch {
		case e.Process != b.name || e.Protocol == "":
		case e.Event == "closed":
			up, down = up+e.BytesUp, down+e.BytesDown
		default:
			recorded[fmt.Sprint(e.Function, " ", e.Verdict, " ", e.Reason, " ", e.Protocol)] += float64(e.Count())
		}
	}
	unavailable := 0.0
	for key, n := range c.last.metrics {
		l, ok := labels(key, "egress_decisions_total")
		switch {
		case !ok || n == 0:
		case l["reason"] == "audit_unavailable":
			unavailable += n
		default:
			counted[fmt.Sprint(l["function"], " ", l["verdict"], " ", l["reason"], " ", l["protocol"])] += n
		}
	}
	lost := c.last.metrics.sum("egress_audit_lost_total")
	if failed := c.sinkFailed(b.from, b.to); failed || lost > 0 {
		if !failed {
			c.t.violation("%v events lost where no output failed", lost)
		}
		return // what was answered audit_unavailable may be recorded or not
	}
	if unavailable > 0 {
		c.t.violation("%v decisions were audit_unavailable where no output failed", unavailable)
	}
	for _, key := range sortedKeys(counted) {
		if counted[key] != recorded[key] {
			c.t.violation("metrics count %v of %q, the records of boot %s %v", counted[key], key, b.name, recorded[key])
		}
	}
	for _, key := range sortedKeys(recorded) {
		if counted[key] == 0 && recorded[key] > 0 {
			c.t.violation("the records of boot %s have %v of %q, the metrics none", b.name, recorded[key], key)
		}
	}
	var sums [2]float64
	for key, n := range c.last.metrics {
		if l, ok := labels(key, "egress_bytes_total"); ok {
			sums[map[string]int{"up": 0, "down": 1}[l["direction"]]] += n
		}
	}
	if sums[0] != float64(up) || sums[1] != float64(down) {
		c.t.violation("metrics count %v bytes up and %v down, the records of boot %s %d and %d", sums[0], sums[1], b.name, up, down)
	}
}
