package report

import (
	"fmt"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/report/doc"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/report/tally"
)

// Report ends the counting. The Builder is of no use afterwards.
func (b *Builder) Report() *Report {
	v := b.verification()
	d := doc.Document{Title: "Egress report", Whole: v.whole, Facts: b.facts(v)}
	groups := b.counts.Groups()
	d.Sections = append(d.Sections, b.summary(groups), v.section, b.sourcesSection())
	d.Sections = append(d.Sections, b.refusalsSection(groups))
	for i, g := range groups {
		if !g.IsNobody() {
			d.Sections = append(d.Sections, functionSection(g, fmt.Sprintf("function-%d", i+1)))
		}
	}
	d.Sections = append(d.Sections, b.callersSection(), b.rulesSection(), b.readySection(), b.policySection(), b.processesSection(v.result.Processes), b.floodsSection())
	r := &Report{Whole: v.whole}
	if s := b.probed(); s != nil {
		d.Sections = append(d.Sections, probesSection(s))
		line, held := probesLine(s)
		d.Facts = append(d.Facts, doc.Fact{Name: "Probes of the fence", Value: doc.Word(line), Key: "probes"})
		if !held {
			r.Probes = line
		}
	}
	d.Sections = append(d.Sections, b.controlsSection(groups, v))
	r.doc = d
	return r
}

// facts are the lines on top.
func (b *Builder) facts(v verification) []doc.Fact {
	from, to := "the first record", "the last record"
	if !b.opt.From.IsZero() {
		from = doc.At(b.opt.From).String()
	}
	if !b.opt.To.IsZero() {
		to = doc.At(b.opt.To).String() + " (not included)"
	}
	all := []doc.Fact{
		{Name: "Period", Value: doc.Word("from " + from + " to " + to), Key: "period"},
		{Name: "First record of the period", Value: doc.At(b.counts.First()), Key: "first_record"},
		{Name: "Last record of the period", Value: doc.At(b.counts.Last()), Key: "last_record"},
		{Name: "Records", Value: doc.Word(v.verdict), Key: "verification"},
	}
	if !b.opt.Generated.IsZero() {
		all = append(all, doc.Fact{Name: "Made at", Value: doc.At(b.opt.Generated), Key: "generated"})
	}
	return all
}

// summary is what became of the requests, in all and by function.
func (b *Builder) summary(groups []*tally.Group) doc.Section {
	s := b.counts.Sums()
	sums := doc.Grid{ID: "sums", Columns: doc.Columns("what", "What", "requests", "Requests"), Rows: [][]doc.Cell{
		{doc.Word("let through (opened), by a rule or by report mode"), doc.Num(s.Opened)},
		{doc.Word("refused"), doc.Num(s.Refused)},
		{doc.Word("asked for a credential (challenged)"), doc.Num(s.Challenged)},
		{doc.Word("DNS questions with a record (answered, refused ones included)"), doc.Num(s.Answered)},
		{doc.Word("less those that stand twice: opened, then refused"), doc.Num(s.RefusedOpen)},
		{doc.Word("less those that stand twice: opened by a rule, then let through by report mode"), doc.Num(s.ReportedAgain)},
		{doc.Word("requests in all"), doc.Num(s.Requests())},
		{doc.Word("of these summed up in the record of another (suppressed)"), doc.Num(s.Suppressed)},
	}}
	by := doc.Grid{
		ID: "functions", Caption: "By function",
		Columns: doc.Columns("function", "Function", "owner", "Owner", "allowed_destinations", "Destinations allowed", "allowed", "Requests allowed",
			"reported", "Let through by report mode", "refused_destinations", "Destinations refused", "refused", "Requests refused", "questions", "DNS questions"),
		Empty: "No record of the period is of a function.",
	}
	for _, g := range groups {
		if g.IsNobody() {
			continue
		}
		allowedRows, allowed := g.Sum(tally.Allowed)
		_, reported := g.Sum(tally.Reported)
		refusedRows, refused := g.Sum(tally.Refused)
		_, questions := g.Sum(tally.Lookups)
		by.Rows = append(by.Rows, []doc.Cell{
			doc.Text(g.Function), doc.Text(g.Owner), doc.Num(allowedRows), doc.Num(allowed), doc.Num(reported), doc.Num(refusedRows), doc.Num(refused), doc.Num(questions),
		})
	}
	return doc.Section{
		ID: "summary", Title: "Summary",
		Notes: []string{
			"A request is what a client asked once. An attempt is a request with its repeats: the same source address, function, protocol, method, host, port, verdict and reason, each within ten seconds of the one before.",
			"A tunnel that was opened and then refused, because its first bytes were not what the rule wants, stands under both, marked as refused after opening, and counts once in the sum; the proxy sends the host nothing before that check. A plain HTTP request whose dial failed is counted so too.",
			"Bytes are of what ended in the period. A destination with bytes and without requests was opened before it.",
		},
		Tables: []doc.Grid{sums, by},
	}
}

// sourcesSection is what was read.
func (b *Builder) sourcesSection() doc.Section {
	g := doc.Grid{ID: "sources", Empty: "Nothing was read.", Columns: doc.Columns("source", "Source", "lines", "Lines", "records", "Records",
		"other_lines", "JSON of others", "unreadable_lines", "Unreadable", "first_seen", "First record", "last_seen", "Last record")}
	for _, s := range b.counts.Sources() {
		g.Rows = append(g.Rows, []doc.Cell{doc.Text(s.Name), doc.Num(s.Lines), doc.Num(s.Records), doc.Num(s.Other), doc.Num(s.Unread), doc.At(s.First()), doc.At(s.Last())})
	}
	return doc.Section{ID: "sources", Title: "Sources", Tables: []doc.Grid{g},
		Notes: []string{"What was read, whole and not only for the period. JSON of others is metrics or logs that share the stream."}}
}

// destinationColumns are the columns that begin the tables of a function.
func destinationColumns(more ...string) []doc.Column {
	all := doc.Columns("function", "Function", "owner", "Owner", "host", "Host", "port", "Port", "protocol", "Protocol")
	all[0].Flat, all[1].Flat = true, true
	return append(all, doc.Columns(more...)...)
}

// functionSection is all about one function.
func functionSection(g *tally.Group, id string) doc.Section {
	s := doc.Section{ID: id, Title: "Function", About: doc.Text(g.Function)}
	s.Notes = []string{"Requests by how the caller was known, and requests that are summed up in the records of others:"}
	s.Tables = append([]doc.Grid{methodsTable(g), allowed(g), refused(g)}, further(g, tally.Reported, tally.Lookups)...)
	return s
}

// fill adds the rows of a table, and one for what has no row.
func fill(into *doc.Grid, g *tally.Group, t tally.Table, cells func(w *tally.Row) []doc.Cell) {
	rows := g.Rows(t)
	into.Made, into.Make = len(rows), func(i int) []doc.Cell { return cells(rows[i]) }
	rest := g.Rest(t)
	if rest.Requests == 0 && rest.Rows == 0 {
		return
	}
	last := make([]doc.Cell, len(into.Columns))
	for i, c := range into.Columns {
		switch c.Key {
		case "function":
			last[i] = doc.Text(g.Function)
		case "owner":
			last[i] = doc.Text(g.Owner)
		case "host", "source":
			last[i] = doc.Word("and " + doc.Count(rest.Rows) + " more")
		case "requests":
			last[i] = doc.Num(rest.Requests)
		case "attempts":
			last[i] = doc.Some(0)
		}
	}
	into.Rows, into.Summed = append(into.Rows, last), true
}

// allowed is what rules let through.
func allowed(g *tally.Group) doc.Grid {
	into := doc.Grid{
		ID: "allowed", Caption: "Allowed destinations", Empty: "Nothing was let through by a rule.",
		Columns: destinationColumns("rule", "Rule", "line", "Line", "ticket", "Ticket", "attempts", "Attempts", "requests", "Requests",
			"bytes_up", "Bytes up", "bytes_down", "Bytes down", "first_seen", "First seen", "last_seen", "Last seen"),
	}
	fill(&into, g, tally.Allowed, func(w *tally.Row) []doc.Cell {
		return []doc.Cell{
			doc.Text(g.Function), doc.Text(g.Owner), doc.Text(w.Host), doc.Some(w.Port), doc.Text(w.Protocol), doc.Text(w.Rule), doc.Some(w.Line), doc.Text(w.Ticket),
			doc.Num(w.Attempts), doc.Num(w.Requests), doc.Num(w.BytesUp), doc.Num(w.BytesDown), doc.At(w.First()), doc.At(w.Last()),
		}
	})
	return into
}

// refused is what was refused.
func refused(g *tally.Group) doc.Grid {
	into := doc.Grid{
		ID: "refused", Caption: "Refused destinations", Empty: "Nothing was refused.",
		Columns: destinationColumns("reason", "Reason", "attempts", "Attempts", "requests", "Requests", "after_opening", "Of these after opening",
			"first_seen", "First seen", "last_seen", "Last seen", "policy", "Policy in force"),
	}
	fill(&into, g, tally.Refused, func(w *tally.Row) []doc.Cell {
		return []doc.Cell{
			doc.Text(g.Function), doc.Text(g.Owner), doc.Text(w.Host), doc.Some(w.Port), doc.Text(w.Protocol), doc.Text(w.Reason),
			doc.Num(w.Attempts), doc.Num(w.Requests), doc.Num(w.AfterOpen), doc.At(w.First()), doc.At(w.Last()), policiesOf(w),
		}
	})
	return into
}

// policiesOf names the policies under which a row was met.
func policiesOf(w *tally.Row) doc.Cell {
	names := strings.Join(w.Policies, " ")
	if w.MorePolicies {
		names += " and more"
	}
	return doc.Text(names)
}

// reported is what report mode let through.
func reported(g *tally.Group) doc.Grid {
	into := doc.Grid{
		ID: "reported", Caption: "Let through by report mode, would be refused",
		Columns: destinationColumns("reason", "Reason", "rule", "Rule", "attempts", "Attempts", "requests", "Requests", "after_opening", "Of these after opening",
			"bytes_up", "Bytes up", "bytes_down", "Bytes down", "first_seen", "First seen", "last_seen", "Last seen", "policy", "Policy in force"),
	}
	fill(&into, g, tally.Reported, func(w *tally.Row) []doc.Cell {
		return []doc.Cell{
			doc.Text(g.Function), doc.Text(g.Owner), doc.Text(w.Host), doc.Some(w.Port), doc.Text(w.Protocol), doc.Text(w.Reason), doc.Text(w.Rule),
			doc.Num(w.Attempts), doc.Num(w.Requests), doc.Num(w.AfterOpen), doc.Num(w.BytesUp), doc.Num(w.BytesDown), doc.At(w.First()), doc.At(w.Last()), policiesOf(w),
		}
	})
	return into
}

// questions is what was asked of the DNS filter.
func questions(g *tally.Group) doc.Grid {
	into := doc.Grid{
		ID: "dns", Caption: "DNS questions",
		Columns: doc.Columns("function", "Function", "owner", "Owner", "host", "Name", "type", "Type", "verdict", "Verdict", "reason", "Reason",
			"rule", "Rule", "attempts", "Attempts", "requests", "Questions", "first_seen", "First seen", "last_seen", "Last seen", "policy", "Policy in force"),
	}
	into.Columns[0].Flat, into.Columns[1].Flat = true, true
	fill(&into, g, tally.Lookups, func(w *tally.Row) []doc.Cell {
		return []doc.Cell{
			doc.Text(g.Function), doc.Text(g.Owner), doc.Text(w.Host), doc.Text(w.QType), doc.Text(w.Verdict), doc.Text(w.Reason), doc.Text(w.Rule),
			doc.Num(w.Attempts), doc.Num(w.Requests), doc.At(w.First()), doc.At(w.Last()), policiesOf(w),
		}
	})
	return into
}

// callersSection is about callers that are not a function.
func (b *Builder) callersSection() doc.Section {
	g := b.counts.Nobody()
	into := doc.Grid{
		ID: "unidentified", Empty: "There were none.",
		Columns: doc.Columns("source", "Source address", "event", "Event", "protocol", "Protocol", "reason", "Reason", "attempts", "Attempts",
			"requests", "Requests", "suppressed", "Of these suppressed", "first_seen", "First seen", "last_seen", "Last seen"),
	}
	fill(&into, g, tally.Caller, func(w *tally.Row) []doc.Cell {
		source := ""
		if w.Source.IsValid() {
			source = w.Source.String()
		}
		return []doc.Cell{
			doc.Text(source), doc.Text(w.Event), doc.Text(w.Protocol), doc.Text(w.Reason), doc.Num(w.Attempts), doc.Num(w.Requests), doc.Num(w.Suppressed),
			doc.At(w.First()), doc.At(w.Last()),
		}
	})
	s := doc.Section{ID: "unidentified", Title: "Callers that were not identified", Tables: []doc.Grid{into}, Notes: []string{
		"Requests that could be tied to no function: no credential (challenged; some clients always ask so first), one that does not hold, or a request that could not be read. " +
			"The source is the first address of its network where failures of many addresses are summed up.",
	}}
	s.Tables = append(s.Tables, further(g, tally.Allowed, tally.Reported, tally.Lookups)...)
	return s
}

// further returns those of the tables that have something in them.
func further(g *tally.Group, tables ...tally.Table) (all []doc.Grid) {
	for _, t := range tables {
		if g.IsEmpty(t) {
			continue
		}
		switch t {
		case tally.Allowed:
			all = append(all, allowed(g))
		case tally.Reported:
			all = append(all, reported(g))
		case tally.Lookups:
			all = append(all, questions(g))
		}
	}
	return all
}
