package report

import (
	"strconv"
	"strings"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/report/doc"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/report/tally"
)

// verification is what the verifier says about all that was read.
type verification struct {
	whole   bool
	verdict string
	result  evidence.Result
	section doc.Section
}

// verification asks the verifier and makes its section.
func (b *Builder) verification() verification {
	res := b.verifier.Result()
	v := verification{whole: res.Whole, result: res}
	v.verdict = "NOT whole"
	if res.Whole {
		v.verdict = "whole"
	}
	v.verdict += ": " + doc.Several(res.Records, "record") + " of " + doc.Several(uint64(len(res.Processes)), "boot")
	open := 0
	for _, process := range res.Processes {
		if process.Tail != nil {
			open++
		}
	}
	if open > 0 {
		v.verdict += ", of which " + doc.Count(open) + " without a record of the end"
	}
	found := doc.Grid{
		ID: "findings", Caption: "Findings", Empty: "None.",
		Columns: doc.Columns("boot", "Boot", "kind", "Kind", "from_seq", "From seq", "to_seq", "To seq", "source", "Source", "line_number", "Line", "detail", "What it is"),
	}
	add := func(process string, all []evidence.Finding) {
		for _, f := range all {
			found.Rows = append(found.Rows, []doc.Cell{
				doc.Text(process), doc.Text(string(f.Kind)), seq(f.From), seq(f.To), doc.Text(f.File), doc.Some(f.Line), doc.Text(f.Text),
			})
		}
	}
	for _, process := range res.Processes {
		add(process.Name, process.Findings)
		if process.More > 0 {
			found.Rows = append(found.Rows, []doc.Cell{doc.Text(process.Name), doc.Word("more"), {}, {}, {}, {}, doc.Word("and " + doc.Count(process.More) + " more findings")})
		}
	}
	add("", res.Findings)
	v.section = doc.Section{ID: "verification", Title: "Verification", Tables: []doc.Grid{found}, Notes: []string{
		"The records are " + v.verdict + ". That is about all that was read, and not only about the period.",
		"Each record has a number and the hash of the one before, and heartbeats repeat the totals. So what is changed, removed, moved or added between two records shows. " +
			"It does not show what is cut off behind the last record of a boot, a boot that is removed whole, or the work of someone who can write all of a file and makes the chain anew: compare the last hashes below with copies that were kept elsewhere.",
	}}
	if !v.whole {
		v.section.Notes = append(v.section.Notes, "The counts of this report are of the records as they stand: what is missing is not in them, and what stands twice is counted twice.")
	}
	return v
}

// seq makes a cell of a record's number, empty for none.
func seq(n uint64) doc.Cell {
	if n == 0 {
		return doc.Cell{}
	}
	return doc.Word(strconv.FormatUint(n, 10))
}

// processesSection is the lives of the processes.
func (b *Builder) processesSection(all []evidence.Process) doc.Section {
	g := doc.Grid{ID: "boots", Empty: "There are no records.", Columns: doc.Columns("boot", "Boot", "version", "Version", "first_seen", "First record", "last_seen", "Last record",
		"start", "Start", "end", "End", "records", "Records", "lost", "Lost", "suppressed", "Suppressed", "last_hash", "Last hash")}
	for _, v := range all {
		known := b.counts.Lifecycle().Process(v.Name)
		start := "not there"
		if known.Started {
			start = "started"
		}
		g.Rows = append(g.Rows, []doc.Cell{
			doc.Text(v.Name), doc.Text(known.Version), doc.At(v.From), doc.At(v.To), doc.Word(start), doc.Word(ending(v)), doc.Num(v.Records), doc.Num(v.Lost),
			doc.Num(known.Suppressed), doc.Text(v.LastHash),
		})
	}
	return doc.Section{ID: "boots", Title: "Starts and stops", Tables: []doc.Grid{g}, Notes: []string{
		"One row for each process that wrote records, over all that was read. Lost are events without a record, because the output failed and the policy said to go on (on_failure: count); " +
			"suppressed are events that are summed up in the record of another.",
	}}
}

// ending says how a boot ended.
func ending(v evidence.Process) string {
	switch {
	case v.Tail == nil:
		return "stopped"
	case v.Tail.Partial > 0:
		return "killed, or still running: after seq " + strconv.FormatUint(v.Tail.After, 10) + " a line is torn, and more may be missing"
	default:
		return "killed, or still running: what is behind seq " + strconv.FormatUint(v.Tail.After, 10) + " may be missing"
	}
}

// policySection is which policy was in force, and how that changed.
func (b *Builder) policySection() doc.Section {
	force := doc.Grid{ID: "policies", Caption: "Policies in the records of the period", Empty: "No record of the period names one.",
		Columns: doc.Columns("policy", "Policy", "first_seen", "First record", "last_seen", "Last record", "requests", "Requests")}
	for _, s := range b.counts.Lifecycle().Policies() {
		force.Rows = append(force.Rows, []doc.Cell{doc.Text(s.Name), doc.At(s.First()), doc.At(s.Last()), doc.Num(s.Requests)})
	}
	changes := doc.Grid{ID: "changes", Caption: "Changes", Empty: "There were none in the period.",
		Columns: doc.Columns("time", "Time", "event", "Event", "policy", "Policy in force", "functions", "Functions", "rules", "Rules", "boot", "Boot", "version", "Version", "detail", "Detail")}
	all, more := b.counts.Lifecycle().Changes()
	for _, c := range all {
		changes.Rows = append(changes.Rows, []doc.Cell{
			doc.At(c.Time), doc.Text(c.Event), doc.Text(c.Policy), doc.Some(c.Functions), doc.Some(c.Rules), doc.Text(c.Process), doc.Text(c.Version),
			doc.Text(strings.ReplaceAll(c.Detail, "\n", "; ")),
		})
	}
	s := doc.Section{ID: "policy", Title: "Policy", Tables: []doc.Grid{force, changes}, Notes: []string{
		"A policy is named by the first 12 digits of the SHA-256 of its file and the files that it names. Each process loads for itself. After reload_failed the policy before stays in force.",
	}}
	if more > 0 {
		s.Notes = append(s.Notes, "Of the changes the first "+doc.Count(tally.MaxChanges)+" are shown, and "+doc.Count(more)+" more are not.")
	}
	return s
}

// floodsSection is refusals that came too fast, and what this package does not know.
func (b *Builder) floodsSection() doc.Section {
	floods := doc.Grid{ID: "floods", Empty: "No record of the period tells of one.",
		Columns: doc.Columns("time", "Time", "event", "Event", "function", "Function", "source", "Source address", "detail", "Detail", "boot", "Boot")}
	all, more := b.counts.Lifecycle().Floods()
	for _, c := range all {
		floods.Rows = append(floods.Rows, []doc.Cell{doc.At(c.Time), doc.Text(c.Event), doc.Text(c.Function), doc.Text(c.Source), doc.Text(c.Detail), doc.Text(c.Process)})
	}
	s := doc.Section{ID: "floods", Title: "Floods", Tables: []doc.Grid{floods}, Notes: []string{
		"Where one caller is refused too often, further refusals are summed up in the records of others (suppressed). The requests of this report have them all.",
	}}
	if more > 0 {
		s.Notes = append(s.Notes, doc.Count(more)+" more are not shown.")
	}
	unknown := b.counts.Lifecycle().Unknown()
	if len(unknown) == 0 {
		return s
	}
	other := doc.Grid{ID: "other_events", Caption: "Records of events that this program does not know; they are counted nowhere else",
		Columns: doc.Columns("event", "Event", "records", "Records", "first_seen", "First record", "last_seen", "Last record")}
	for _, u := range unknown {
		other.Rows = append(other.Rows, []doc.Cell{doc.Text(u.Name), doc.Num(u.Requests), doc.At(u.First()), doc.At(u.Last())})
	}
	s.Tables = append(s.Tables, other)
	return s
}

// rulesSection is the rules that let nothing through.
func (b *Builder) rulesSection() doc.Section {
	s := doc.Section{ID: "unused", Title: "Rules that were never used"}
	p := b.opt.Policy
	if p == nil {
		s.Notes = []string{"Not looked for: no policy file was given (--config)."}
		return s
	}
	requests := b.counts.Lifecycle().RequestsUnder(p.Hash)
	s.Notes = []string{
		"Entries of the allow lists of the policy file given that let no request of the period through while that policy was in force. An entry that names a set is one rule; the deny list is not looked at.",
		"Of " + doc.Count(b.counts.Sums().Requests()) + " requests of the period " + doc.Count(requests) + " were decided under this policy. " +
			"The last column counts what an entry at the same place of another policy let through, which may have been another rule.",
	}
	if requests == 0 {
		s.Notes = append(s.Notes, "No record of the period is of this policy, so the list says nothing about use.")
	}
	about := doc.Grid{ID: "policy_file", Columns: doc.Columns("source", "Policy file", "policy", "Policy", "rules", "Rules"),
		Rows: [][]doc.Cell{{doc.Text(p.File), doc.Text(p.Hash), doc.Num(len(p.Rules))}}}
	g := doc.Grid{ID: "unused", Empty: "Every rule was used.", Columns: doc.Columns("function", "Function", "owner", "Owner", "rule", "Rule", "file", "File", "line", "Line", "pattern", "What it covers",
		"ticket", "Ticket", "last_day", "Last day", "refused_requests", "Requests refused all the same", "elsewhere", "Same place, other policies")}
	for _, r := range p.Rules {
		u := b.counts.Rule(r.Path)
		if u.Through > 0 {
			continue
		}
		g.Rows = append(g.Rows, []doc.Cell{
			doc.Text(r.Function), doc.Text(r.Owner), doc.Text(r.Path), doc.Text(r.File), doc.Some(r.Line), doc.Text(r.Pattern), doc.Text(r.Ticket), doc.Word(lastDay(r.Expires)), doc.Num(u.Refusals), doc.Num(u.Elsewhere),
		})
	}
	s.Tables = []doc.Grid{about, g}
	return s
}

// lastDay returns the last day on which a rule holds, "" where it has none.
func lastDay(expires time.Time) string {
	if expires.IsZero() {
		return ""
	}
	return expires.UTC().Add(-time.Nanosecond).Format(time.DateOnly)
}
