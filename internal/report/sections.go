package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Report ends the counting. The Builder is of no use afterwards.
func (b *Builder) Report() *Report {
	v := b.verification()
	d := document{Title: "Egress report", Whole: v.whole, Facts: b.facts(v)}
	groups := b.sortedGroups()
	d.Sections = append(d.Sections, b.summary(groups), v.section, b.sourcesSection())
	d.Sections = append(d.Sections, b.refusalsSection(groups))
	for i, g := range groups {
		if g.callerKey != (callerKey{}) {
			d.Sections = append(d.Sections, g.section(fmt.Sprintf("function-%d", i+1)))
		}
	}
	d.Sections = append(d.Sections, b.callersSection(), b.rulesSection(), b.policySection(), b.bootsSection(v.result.Processes), b.floodsSection())
	d.Sections = append(d.Sections, b.controlsSection(groups, v))
	return &Report{doc: d, Whole: v.whole}
}

// facts are the lines on top.
func (b *Builder) facts(v verification) []fact {
	from, to := "the first record", "the last record"
	if !b.opt.From.IsZero() {
		from = at(b.opt.From).text
	}
	if !b.opt.To.IsZero() {
		to = at(b.opt.To).text + " (not included)"
	}
	all := []fact{
		{"Period", word("from " + from + " to " + to), "period"},
		{"First record of the period", at(b.first.time()), "first_record"},
		{"Last record of the period", at(b.last.time()), "last_record"},
		{"Records", word(v.verdict), "verification"},
	}
	if !b.opt.Generated.IsZero() {
		all = append(all, fact{"Made at", at(b.opt.Generated), "generated"})
	}
	return all
}

// sortedGroups returns the functions by name. Who is not a function stands last.
func (b *Builder) sortedGroups() []*group {
	return slices.SortedFunc(maps.Values(b.groups), func(x, y *group) int {
		last := func(w callerKey) int {
			switch w {
			case callerKey{}:
				return 2
			case others:
				return 1
			}
			return 0
		}
		return cmp.Or(last(x.callerKey)-last(y.callerKey), strings.Compare(x.function, y.function), strings.Compare(x.owner, y.owner))
	})
}

// sum adds up the requests of one table.
func (g *group) sum(t table) (rows, requests uint64) {
	rows, requests = uint64(g.sizes[t])+g.more[t].rows, g.more[t].requests
	for _, w := range g.rows {
		if w.table == t {
			requests += w.requests
		}
	}
	return rows, requests
}

// summary is what became of the requests, in all and by function.
func (b *Builder) summary(groups []*group) section {
	s := &b.sums
	sums := grid{id: "sums", columns: columns("what", "What", "requests", "Requests"), rows: [][]cell{
		{word("let through (opened), by a rule or by report mode"), num(s.Opened)},
		{word("refused"), num(s.Refused)},
		{word("asked for a credential (challenged)"), num(s.Challenged)},
		{word("DNS questions with a record (answered, refused ones included)"), num(s.Answered)},
		{word("less those that stand twice: opened, then refused"), num(s.RefusedOpen)},
		{word("less those that stand twice: opened by a rule, then let through by report mode"), num(s.ReportedAgain)},
		{word("requests in all"), num(s.Requests())},
		{word("of these summed up in the record of another (suppressed)"), num(s.Suppressed)},
	}}
	by := grid{
		id: "functions", Caption: "By function",
		columns: columns("function", "Function", "owner", "Owner", "allowed_destinations", "Destinations allowed", "allowed", "Requests allowed",
			"reported", "Let through by report mode", "refused_destinations", "Destinations refused", "refused", "Requests refused", "questions", "DNS questions"),
		Empty: "No record of the period is of a function.",
	}
	for _, g := range groups {
		if g.callerKey == (callerKey{}) {
			continue
		}
		allowedRows, allowed := g.sum(tableAllowed)
		_, reported := g.sum(tableReported)
		refusedRows, refused := g.sum(tableRefused)
		_, asked := g.sum(tableAsked)
		by.rows = append(by.rows, []cell{
			text(g.function), text(g.owner), num(allowedRows), num(allowed), num(reported), num(refusedRows), num(refused), num(asked),
		})
	}
	return section{
		ID: "summary", Title: "Summary",
		Notes: []string{
			"A request is what a client asked once. An attempt is a request with its repeats: the same source address, function, protocol, method, host, port, verdict and reason, each within ten seconds of the one before.",
			"A tunnel that was opened and then refused, because its first bytes were not what the rule wants, stands under both, marked as refused after opening, and counts once in the sum; the proxy sends the host nothing before that check. A plain HTTP request whose dial failed is counted so too.",
			"Bytes are of what ended in the period. A destination with bytes and without requests was opened before it.",
		},
		Tables: []grid{sums, by},
	}
}

// sourcesSection is what was read.
func (b *Builder) sourcesSection() section {
	g := grid{id: "sources", Empty: "Nothing was read.", columns: columns("source", "Source", "lines", "Lines", "records", "Records",
		"other_lines", "JSON of others", "unreadable_lines", "Unreadable", "first_seen", "First record", "last_seen", "Last record")}
	for _, s := range b.sources {
		g.rows = append(g.rows, []cell{text(s.name), num(s.lines), num(s.records), num(s.other), num(s.torn), at(s.first.time()), at(s.last.time())})
	}
	return section{ID: "sources", Title: "Sources", Tables: []grid{g},
		Notes: []string{"What was read, whole and not only for the period. JSON of others is metrics or logs that share the stream."}}
}

// destinationColumns are the columns that begin the tables of a function.
func destinationColumns(more ...string) []column {
	all := columns("function", "Function", "owner", "Owner", "host", "Host", "port", "Port", "protocol", "Protocol")
	all[0].flat, all[1].flat = true, true
	return append(all, columns(more...)...)
}

// section is all about one function.
func (g *group) section(id string) section {
	s := section{ID: id, Title: "Function", of: text(g.function)}
	s.Notes = []string{"Requests by how the caller was known, and requests that are summed up in the records of others:"}
	s.Tables = append([]grid{g.methodsTable(), g.allowed(), g.refused()}, g.further(tableReported, tableAsked)...)
	return s
}

// sorted returns the rows of one table, those with the most requests first.
func (g *group) sorted(t table) []*row {
	var all []*row
	for _, w := range g.rows {
		if w.table == t {
			all = append(all, w)
		}
	}
	slices.SortFunc(all, func(a, b *row) int {
		if c := cmp.Or(cmp.Compare(b.requests, a.requests), strings.Compare(a.host, b.host)); c != 0 {
			return c // nearly always
		}
		return compareKeys(&a.key, &b.key)
	})
	return all
}

// compareKeys orders rows that have the same number of requests and the same host.
func compareKeys(a, b *key) int {
	return cmp.Or(
		cmp.Compare(a.port, b.port), a.source.Compare(b.source),
		strings.Compare(a.protocol, b.protocol), strings.Compare(a.verdict, b.verdict), strings.Compare(a.reason, b.reason),
		strings.Compare(a.rule, b.rule), cmp.Compare(a.line, b.line), strings.Compare(a.ticket, b.ticket),
		strings.Compare(a.qtype, b.qtype), strings.Compare(a.event, b.event),
	)
}

// fill adds the rows of a table, and one for what has no row.
func (g *group) fill(into *grid, t table, cells func(w *row) []cell) {
	into.counted, into.cells = g.sorted(t), cells
	rest := g.more[t]
	if rest.requests == 0 && rest.rows == 0 {
		return
	}
	last := make([]cell, len(into.columns))
	for i, c := range into.columns {
		switch c.key {
		case "function":
			last[i] = text(g.function)
		case "owner":
			last[i] = text(g.owner)
		case "host", "source":
			last[i] = word("and " + count(rest.rows) + " more")
		case "requests":
			last[i] = num(rest.requests)
		case "attempts":
			last[i] = cell{"", number}
		}
	}
	into.rows, into.summed = append(into.rows, last), true
}

// allowed is what rules let through.
func (g *group) allowed() grid {
	into := grid{
		id: "allowed", Caption: "Allowed destinations", Empty: "Nothing was let through by a rule.",
		columns: destinationColumns("rule", "Rule", "line", "Line", "ticket", "Ticket", "attempts", "Attempts", "requests", "Requests",
			"bytes_up", "Bytes up", "bytes_down", "Bytes down", "first_seen", "First seen", "last_seen", "Last seen"),
	}
	g.fill(&into, tableAllowed, func(w *row) []cell {
		return []cell{
			text(g.function), text(g.owner), text(w.host), some(w.port), text(w.protocol), text(w.rule), some(w.line), text(w.ticket),
			num(w.attempts), num(w.requests), num(w.bytesUp), num(w.bytesDown), at(w.first.time()), at(w.last.time()),
		}
	})
	return into
}

// refused is what was refused.
func (g *group) refused() grid {
	into := grid{
		id: "refused", Caption: "Refused destinations", Empty: "Nothing was refused.",
		columns: destinationColumns("reason", "Reason", "attempts", "Attempts", "requests", "Requests", "after_opening", "Of these after opening",
			"first_seen", "First seen", "last_seen", "Last seen", "policy", "Policy in force"),
	}
	g.fill(&into, tableRefused, func(w *row) []cell {
		return []cell{
			text(g.function), text(g.owner), text(w.host), some(w.port), text(w.protocol), text(w.reason),
			num(w.attempts), num(w.requests), num(w.afterOpen), at(w.first.time()), at(w.last.time()), w.inForce(),
		}
	})
	return into
}

// inForce names the policies under which a row was met.
func (w *row) inForce() cell {
	names := strings.Join(w.policies, " ")
	if w.morePolicies {
		names += " and more"
	}
	return text(names)
}

// reported is what report mode let through.
func (g *group) reported() grid {
	into := grid{
		id: "reported", Caption: "Let through by report mode, would be refused",
		columns: destinationColumns("reason", "Reason", "rule", "Rule", "attempts", "Attempts", "requests", "Requests", "after_opening", "Of these after opening",
			"bytes_up", "Bytes up", "bytes_down", "Bytes down", "first_seen", "First seen", "last_seen", "Last seen", "policy", "Policy in force"),
	}
	g.fill(&into, tableReported, func(w *row) []cell {
		return []cell{
			text(g.function), text(g.owner), text(w.host), some(w.port), text(w.protocol), text(w.reason), text(w.rule),
			num(w.attempts), num(w.requests), num(w.afterOpen), num(w.bytesUp), num(w.bytesDown), at(w.first.time()), at(w.last.time()), w.inForce(),
		}
	})
	return into
}

// asked is what was asked of the DNS filter.
func (g *group) asked() grid {
	into := grid{
		id: "dns", Caption: "DNS questions",
		columns: columns("function", "Function", "owner", "Owner", "host", "Name", "type", "Type", "verdict", "Verdict", "reason", "Reason",
			"rule", "Rule", "attempts", "Attempts", "requests", "Questions", "first_seen", "First seen", "last_seen", "Last seen", "policy", "Policy in force"),
	}
	into.columns[0].flat, into.columns[1].flat = true, true
	g.fill(&into, tableAsked, func(w *row) []cell {
		return []cell{
			text(g.function), text(g.owner), text(w.host), text(w.qtype), text(w.verdict), text(w.reason), text(w.rule),
			num(w.attempts), num(w.requests), at(w.first.time()), at(w.last.time()), w.inForce(),
		}
	})
	return into
}

// callersSection is about callers that are not a function.
func (b *Builder) callersSection() section {
	g := b.groups[callerKey{}]
	if g == nil {
		g = &group{}
	}
	into := grid{
		id: "unidentified", Empty: "There were none.",
		columns: columns("source", "Source address", "event", "Event", "protocol", "Protocol", "reason", "Reason", "attempts", "Attempts",
			"requests", "Requests", "suppressed", "Of these suppressed", "first_seen", "First seen", "last_seen", "Last seen"),
	}
	g.fill(&into, tableCaller, func(w *row) []cell {
		source := ""
		if w.source.IsValid() {
			source = w.source.String()
		}
		return []cell{
			text(source), text(w.event), text(w.protocol), text(w.reason), num(w.attempts), num(w.requests), num(w.suppressed),
			at(w.first.time()), at(w.last.time()),
		}
	})
	s := section{ID: "unidentified", Title: "Callers that were not identified", Tables: []grid{into}, Notes: []string{
		"Requests that could be tied to no function: no credential (challenged; some clients always ask so first), one that does not hold, or a request that could not be read. " +
			"The source is the first address of its network where failures of many addresses are summed up.",
	}}
	s.Tables = append(s.Tables, g.further(tableAllowed, tableReported, tableAsked)...)
	return s
}

// further returns those of the tables that have something in them.
func (g *group) further(tables ...table) (all []grid) {
	for _, t := range tables {
		if g.sizes[t] == 0 && g.more[t].requests == 0 {
			continue
		}
		switch t {
		case tableAllowed:
			all = append(all, g.allowed())
		case tableReported:
			all = append(all, g.reported())
		case tableAsked:
			all = append(all, g.asked())
		}
	}
	return all
}
