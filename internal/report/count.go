package report

import (
	"errors"
	"hash/maphash"
	"net/netip"
	"slices"

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
	eventHeartbeat    = "heartbeat"
	eventStopped      = "stopped"

	noReason = "none" // what totals have where a record has null
)

// The verdicts that let through, as records have them.
var verdictAllow, verdictReport = verdict.Allow.String(), verdict.Report.String()

// callerKey is a function with its owner, as records name them. The zero callerKey is
// everyone whom the proxy could not identify.
type callerKey struct{ function, owner string }

// others stands for the functions beyond maxGroups. No function has that name.
var others = callerKey{function: "(more functions)"}

// table says in which table a request is shown.
type table uint8

const (
	tableAllowed table = iota
	tableReported
	tableRefused
	tableAsked  // DNS questions
	tableCaller // of callers that are not a function: by source
	tableCount
)

// rowKind is what rows of many destinations have in common. Which fields are set
// depends on the table.
type rowKind struct {
	table                                                 table
	event, protocol, verdict, reason, rule, ticket, qtype string
	line                                                  int
}

// key is what the rows of one function tell apart. Callers that are not a function
// have a source and no destination. It is small: there may be a million.
type key struct {
	*rowKind
	host   string
	port   uint16
	source netip.Addr
}

// row is what was counted of one key.
type row struct {
	key
	attempts, requests uint64
	suppressed         uint64 // of requests
	afterOpen          uint64 // of requests: had been opened, or let through, before
	bytesUp, bytesDown int64
	first, last        micros
	policies           []string // in force, in the order of their first records; a few
	morePolicies       bool     // there were further ones
}

// group is what was counted of one function.
type group struct {
	callerKey
	rows       map[key]*row
	recent     [16]*row // of rows, by the hash of the host, and the table
	more       [tableCount]rest
	sizes      [tableCount]int
	via        map[string]uint64 // requests by how the caller was known
	suppressed uint64
}

// rest is what goes beyond the rows of one table.
type rest struct{ rows, requests uint64 }

// ruleUse is what became of one rule.
type ruleUse struct {
	through   uint64 // requests that it let through
	refusals  uint64 // requests that met it and were refused all the same
	elsewhere uint64 // requests let through by the same place of other files
}

// Add takes one line. Its error is always nil, so that it fits evidence.Read.
func (b *Builder) Add(l evidence.Line) error {
	b.verifier.Add(l)
	return nil
}

// add counts what a line was parsed to.
func (b *Builder) add(file string, r *evidence.Record, err error) {
	s := b.source(file)
	s.lines++
	switch {
	case errors.Is(err, evidence.ErrOtherJSON):
		s.other++
		return
	case err != nil:
		s.torn++
		return
	}
	s.records++
	period(&s.first, &s.last, r.Time)
	in := b.within(r.Time)
	again := b.follow(r, in)
	b.stream.add(r, in, again)
	if !in {
		return
	}
	period(&b.first, &b.last, r.Time)
	switch r.Event {
	case eventOpened, eventRefused, eventChallenged, eventAnswered:
		b.request(r, again)
	case eventClosed:
		b.closed(r)
	}
}

// orNone returns the word of totals for a reason.
func orNone(reason string) string {
	if reason == "" {
		return noReason
	}
	return reason
}

// follow keeps the requests that are open, and reports whether a record is the
// second one of a request that was counted already.
func (b *Builder) follow(r *evidence.Record, in bool) (again bool) {
	if r.ID == "" {
		return false
	}
	id := maphash.String(b.seed, r.ID)
	counted, open := b.open[id]
	switch r.Event {
	case eventOpened:
		if !open && len(b.open) < maxOpen {
			b.open[id] = in
		}
	case eventClosed, eventRefused:
		if open {
			delete(b.open, id)
		}
	}
	return counted
}

// request counts a record that begins or ends the decision about a request.
func (b *Builder) request(r *evidence.Record, again bool) {
	n, g := r.Count(), b.group(r)
	g.suppressed += n - 1
	b.sums.Suppressed += n - 1
	t := b.sums.add(r, again)
	if deniesAccess(r) {
		b.refusal(r, n)
	}
	if !again && r.Function != "" {
		g.via[orNone(r.Via)] += n
	}
	b.used(r, n)
	m, k := keyOf(t, r)
	w := b.row(g, m, k)
	if w == nil {
		g.more[m.table].requests += n
		return
	}
	w.requests += n
	w.suppressed += n - 1
	if again {
		w.afterOpen += n
	}
	if b.attempts.begins(w, r) {
		w.attempts++
	}
	b.see(w, r)
}

// add adds a record to the sums, and returns which table is for its kind.
func (s *sums) add(r *evidence.Record, again bool) table {
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
			return tableReported
		}
		return tableAllowed
	case eventRefused:
		s.Refused += n
		s.RefusedOpen += twice
		return tableRefused
	case eventAnswered:
		s.Answered += n
		return tableAsked
	default:
		s.Challenged += n
		return tableCaller
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
func (b *Builder) closed(r *evidence.Record) {
	t := tableAllowed
	if r.Verdict == verdictReport {
		t = tableReported
	}
	m, k := keyOf(t, r)
	w := b.row(b.group(r), m, k)
	if w == nil {
		return
	}
	w.bytesUp += max(r.BytesUp, 0)
	w.bytesDown += max(r.BytesDown, 0)
	b.see(w, r)
}

// keyOf returns what the rows of a table tell apart; the kind stands beside the
// key. Who is not a function has no destinations of its own: what counts is where
// the request came from.
func keyOf(t table, r *evidence.Record) (rowKind, key) {
	m := rowKind{table: t, protocol: r.Protocol, reason: r.Reason}
	if t == tableCaller || t == tableRefused && r.Function == "" {
		m.table, m.event = tableCaller, r.Event
		return m, key{source: address(r.Client)}
	}
	m.verdict, m.qtype = r.Verdict, r.Type
	if t != tableRefused {
		m.rule, m.line, m.ticket = r.Rule, r.Line, r.Ticket
	}
	return m, key{host: r.Host, port: r.Port}
}

// group returns the group of a record's function.
func (b *Builder) group(r *evidence.Record) *group {
	w := callerKey{r.Function, r.Owner}
	if g := b.groups[w]; g != nil {
		return g
	}
	if len(b.groups) >= b.most {
		w = others
		if g := b.groups[w]; g != nil {
			return g
		}
	}
	g := &group{callerKey: w, rows: map[key]*row{}, via: map[string]uint64{}}
	b.groups[w] = g
	return g
}

// row returns the row of a kind and a key; nil where the table has no room for
// another.
func (b *Builder) row(g *group, m rowKind, k key) *row {
	recent := &g.recent[(maphash.String(b.seed, k.host)+uint64(m.table))%uint64(len(g.recent))]
	if w := *recent; w != nil && w.host == k.host && w.port == k.port && w.source == k.source && *w.rowKind == m {
		return w
	}
	if k.rowKind = b.manners[m]; k.rowKind != nil {
		if w := g.rows[k]; w != nil {
			*recent = w
			return w
		}
	}
	if g.sizes[m.table] >= b.opt.MaxRows || b.rows >= maxAllRows {
		b.beyond(g, m, k)
		return nil
	}
	if k.rowKind == nil {
		k.rowKind = new(m)
		b.manners[m] = k.rowKind
	}
	w := &row{key: k}
	g.rows[k] = w
	g.sizes[k.table]++
	b.rows++
	return w
}

// beyond counts a destination that has no row, once. An attacker makes up hosts:
// of these a hash is kept, and of no more than maxDistinct.
func (b *Builder) beyond(g *group, m rowKind, k key) {
	type one struct {
		callerKey
		rowKind
		key
	}
	k.rowKind = nil
	h := maphash.Comparable(b.seed, one{g.callerKey, m, k})
	if _, seen := b.distinct[h]; seen || len(b.distinct) >= maxDistinct {
		return
	}
	b.distinct[h] = struct{}{}
	g.more[m.table].rows++
}

// maxPolicies is how many policies a row names.
const maxPolicies = 3

// see notes when and under which policy a row was met. Rows of one policy, which
// are nearly all, share the list that names it.
func (b *Builder) see(w *row, r *evidence.Record) {
	period(&w.first, &w.last, r.Time)
	switch {
	case slices.Contains(w.policies, r.Policy):
	case w.policies == nil:
		if len(b.single) == 0 || b.single[0] != r.Policy {
			b.single = []string{r.Policy}
		}
		w.policies = b.single
	case len(w.policies) < maxPolicies:
		w.policies = append(w.policies, r.Policy)
	default:
		w.morePolicies = true
	}
}

// refusal counts a refusal for the charts.
func (b *Builder) refusal(r *evidence.Record, n uint64) {
	hour := r.Time.Unix() / 3600
	by := b.hours[hour]
	if by == nil {
		if len(b.hours) >= maxHours {
			return
		}
		by = map[string]uint64{}
		b.hours[hour] = by
	}
	if _, known := by[r.Reason]; !known && len(by) >= 64 {
		by[noReason] += n
		return
	}
	by[orNone(r.Reason)] += n
}

// used notes that a request met a rule of the policy.
func (b *Builder) used(r *evidence.Record, n uint64) {
	u := b.rules[r.Rule]
	if u == nil {
		return
	}
	through := (r.Event == eventOpened || r.Event == eventAnswered) && passes(r)
	switch {
	case r.Policy != b.opt.Policy.Hash:
		if through {
			u.elsewhere += n
		}
	case through:
		u.through += n
	default:
		u.refusals += n
	}
}
