package tally

import (
	"errors"
	"hash/maphash"
	"net/netip"
	"slices"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// The words of records that the counting depends on.
const (
	eventOpened     = "opened"
	eventClosed     = "closed"
	eventRefused    = "refused"
	eventChallenged = "challenged"
	eventAnswered   = "answered"

	eventStarted      = "started"
	eventReloaded     = "reloaded"
	eventReloadFailed = "reload_failed"
	eventExpired      = "expired"
	eventHeartbeat    = "heartbeat"
	eventStopped      = "stopped"

	noReason = "none" // what totals have where a record has null
)

// The verdicts that let through, as records have them.
var verdictAllow, verdictReport = verdict.Allow.String(), verdict.Report.String()

// Add counts what a line was parsed to: a record, or the error of evidence.Parse.
func (c *Counter) Add(file string, r *evidence.Record, err error) {
	s := c.source(file)
	s.Lines++
	switch {
	case errors.Is(err, evidence.ErrOtherJSON):
		s.Other++
		return
	case err != nil:
		s.Unread++
		return
	}
	s.Records++
	s.widen(r.Time)
	in := c.within(r.Time)
	again := c.isSecond(r, in)
	c.lifecycle.add(r, in, again)
	if !in {
		return
	}
	c.period.widen(r.Time)
	switch r.Event {
	case eventOpened, eventRefused, eventChallenged, eventAnswered:
		c.request(r, again)
	case eventClosed:
		c.closed(r)
	}
}

// orNone returns the word of totals for a reason.
func orNone(reason string) string {
	if reason == "" {
		return noReason
	}
	return reason
}

// isSecond keeps the requests that are open, and reports whether a record is the
// second one of a request that was counted already.
func (c *Counter) isSecond(r *evidence.Record, in bool) (again bool) {
	if r.ID == "" {
		return false
	}
	id := maphash.String(c.seed, r.ID)
	counted, open := c.open[id]
	switch r.Event {
	case eventOpened:
		if !open && len(c.open) < maxOpen {
			c.open[id] = in
		}
	case eventClosed, eventRefused:
		if open {
			delete(c.open, id)
		}
	}
	return counted
}

// request counts a record that begins or ends the decision about a request.
func (c *Counter) request(r *evidence.Record, again bool) {
	n, g := r.Count(), c.group(r)
	g.Suppressed += n - 1
	c.sums.Suppressed += n - 1
	t := c.sums.add(r, again)
	if deniesAccess(r) {
		c.refusal(r, n)
	}
	if !again && r.Function != "" {
		g.Methods[orNone(r.Via)] += n
	}
	c.used(r, n)
	m, k := keyOf(t, r)
	w := c.row(g, m, k)
	if w == nil {
		g.rest[m.Table].Requests += n
		return
	}
	w.Requests += n
	w.Suppressed += n - 1
	if again {
		w.AfterOpen += n
	}
	if c.attempts.begins(w, r) {
		w.Attempts++
	}
	c.see(w, r)
}

// add adds a record to the sums, and returns which table is for its kind.
func (s *Sums) add(r *evidence.Record, again bool) Table {
	n := r.Count()
	twice := uint64(0)
	if again {
		twice = n
	}
	switch r.Event {
	case eventOpened:
		s.Opened += n
		s.ReportedAgain += twice
		if r.Verdict == verdictReport {
			return Reported
		}
		return Allowed
	case eventRefused:
		s.Refused += n
		s.RefusedOpen += twice
		return Refused
	case eventAnswered:
		s.Answered += n
		return Lookups
	default:
		s.Challenged += n
		return Caller
	}
}

// passes reports whether the verdict of a record lets through.
func passes(r *evidence.Record) bool { return r.Verdict == verdictAllow || r.Verdict == verdictReport }

// deniesAccess reports whether a record is of a refusal.
func deniesAccess(r *evidence.Record) bool {
	return r.Event == eventRefused || r.Event == eventAnswered && !passes(r)
}

// closed adds the bytes of what ended. What was opened before the period has a
// row with no requests in it.
func (c *Counter) closed(r *evidence.Record) {
	t := Allowed
	if r.Verdict == verdictReport {
		t = Reported
	}
	m, k := keyOf(t, r)
	w := c.row(c.group(r), m, k)
	if w == nil {
		return
	}
	w.BytesUp += max(r.BytesUp, 0)
	w.BytesDown += max(r.BytesDown, 0)
	c.see(w, r)
}

// keyOf returns what the rows of a table tell apart; the kind stands beside the
// key. A caller that is not a function has no destinations of its own: what counts
// is where the request came from.
func keyOf(t Table, r *evidence.Record) (RowKind, Key) {
	m := RowKind{Table: t, Protocol: r.Protocol, Reason: r.Reason}
	if t == Caller || t == Refused && r.Function == "" {
		m.Table, m.Event = Caller, r.Event
		return m, Key{Source: address(r.Client)}
	}
	m.Verdict, m.QType = r.Verdict, r.Type
	if t != Refused {
		m.Rule, m.Line, m.Ticket = r.Rule, r.Line, r.Ticket
	}
	return m, Key{Host: r.Host, Port: r.Port}
}

// group returns the group of a record's function.
func (c *Counter) group(r *evidence.Record) *Group {
	w := CallerKey{r.Function, r.Owner}
	if g := c.groups[w]; g != nil {
		return g
	}
	if len(c.groups) >= c.maxGroups {
		w = others
		if g := c.groups[w]; g != nil {
			return g
		}
	}
	g := &Group{CallerKey: w, rows: map[Key]*Row{}, Methods: map[string]uint64{}}
	c.groups[w] = g
	return g
}

// row returns the row of a kind and a key; nil where the table has no room for
// another.
func (c *Counter) row(g *Group, m RowKind, k Key) *Row {
	recent := &g.recent[(maphash.String(c.seed, k.Host)+uint64(m.Table))%uint64(len(g.recent))]
	if w := *recent; w != nil && w.Host == k.Host && w.Port == k.Port && w.Source == k.Source && *w.RowKind == m {
		return w
	}
	if k.RowKind = c.kinds[m]; k.RowKind != nil {
		if w := g.rows[k]; w != nil {
			*recent = w
			return w
		}
	}
	if g.sizes[m.Table] >= c.opt.MaxRows || c.rows >= maxAllRows {
		c.beyond(g, m, k)
		return nil
	}
	if k.RowKind == nil {
		k.RowKind = new(m)
		c.kinds[m] = k.RowKind
	}
	w := &Row{Key: k}
	g.rows[k] = w
	g.sizes[k.Table]++
	c.rows++
	return w
}

// beyond counts a destination that has no row, once. An attacker makes up hosts:
// of these a hash is kept, and of no more than maxDistinct.
func (c *Counter) beyond(g *Group, m RowKind, k Key) {
	type one struct {
		CallerKey
		RowKind
		Key
	}
	k.RowKind = nil
	h := maphash.Comparable(c.seed, one{g.CallerKey, m, k})
	if _, seen := c.distinct[h]; seen || len(c.distinct) >= maxDistinct {
		return
	}
	c.distinct[h] = struct{}{}
	g.rest[m.Table].Rows++
}

// maxPolicies is how many policies a row names.
const maxPolicies = 3

// see notes when and under which policy a row was met. Rows of one policy, which
// are nearly all, share the list that names it.
func (c *Counter) see(w *Row, r *evidence.Record) {
	w.widen(r.Time)
	switch {
	case slices.Contains(w.Policies, r.Policy):
	case w.Policies == nil:
		if len(c.single) == 0 || c.single[0] != r.Policy {
			c.single = []string{r.Policy}
		}
		w.Policies = c.single
	case len(w.Policies) < maxPolicies:
		w.Policies = append(w.Policies, r.Policy)
	default:
		w.MorePolicies = true
	}
}

// refusal counts a refusal for the charts.
func (c *Counter) refusal(r *evidence.Record, n uint64) {
	hour := r.Time.Unix() / 3600
	by := c.hours[hour]
	if by == nil {
		if len(c.hours) >= maxHours {
			return
		}
		by = map[string]uint64{}
		c.hours[hour] = by
	}
	if _, known := by[r.Reason]; !known && len(by) >= 64 {
		by[noReason] += n
		return
	}
	by[orNone(r.Reason)] += n
}

// used notes that a request met a rule of the policy.
func (c *Counter) used(r *evidence.Record, n uint64) {
	u := c.rules[r.Rule]
	if u == nil {
		return
	}
	through := (r.Event == eventOpened || r.Event == eventAnswered) && passes(r)
	switch {
	case r.Policy != c.opt.Policy:
		if through {
			u.Elsewhere += n
		}
	case through:
		u.Through += n
	default:
		u.Refusals += n
	}
}

// source returns what a name counts to; most lines are of the one before.
func (c *Counter) source(name string) *Source {
	if c.reading >= len(c.sources) || c.sources[c.reading].Name != name {
		c.reading = len(c.sources) - 1
		for c.reading >= 0 && c.sources[c.reading].Name != name {
			c.reading--
		}
		if c.reading < 0 {
			c.reading = len(c.sources)
			c.sources = append(c.sources, Source{Name: name})
		}
	}
	return &c.sources[c.reading]
}

// within reports whether an instant lies in the period.
func (c *Counter) within(t time.Time) bool {
	return (c.opt.From.IsZero() || !t.Before(c.opt.From)) && (c.opt.To.IsZero() || t.Before(c.opt.To))
}

// address returns the source address of a caller without its port.
func address(a netip.AddrPort) netip.Addr { return a.Addr().Unmap().WithZone("") }
