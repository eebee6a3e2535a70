package report

import (
	"strconv"
	"strings"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
)

// verification is what the verifier says about all that was read.
type verification struct {
	whole   bool
	verdict string
	result  evidence.Result
	section section
}

// verification asks the verifier and makes its section.
func (b *Builder) verification() verification {
	res := b.verifier.Result()
	v := verification{whole: res.Whole, result: res}
	v.verdict = "NOT whole"
	if res.Whole {
		v.verdict = "whole"
	}
	v.verdict += ": " + several(res.Records, "record") + " of " + several(uint64(len(res.Processes)), "boot")
	open := 0
	for _, boot := range res.Processes {
		if boot.Tail != nil {
			open++
		}
	}
	if open > 0 {
		v.verdict += ", of which " + count(open) + " without a record of the end"
	}
	found := grid{
		id: "findings", Caption: "Findings", Empty: "None.",
		columns: columns("boot", "Boot", "kind", "Kind", "from_seq", "From seq", "to_seq", "To seq", "source", "Source", "line_number", "Line", "detail", "What it is"),
	}
	add := func(boot string, all []evidence.Finding) {
		for _, f := range all {
			found.rows = append(found.rows, []cell{
				text(boot), text(string(f.Kind)), seq(f.From), seq(f.To), text(f.File), some(f.Line), text(f.Text),
			})
		}
	}
	for _, boot := range res.Processes {
		add(boot.Name, boot.Findings)
		if boot.More > 0 {
			found.rows = append(found.rows, []cell{text(boot.Name), word("more"), {}, {}, {}, {}, word("and " + count(boot.More) + " more findings")})
		}
	}
	add("", res.Findings)
	v.section = section{ID: "verification", Title: "Verification", Tables: []grid{found}, Notes: []string{
		"The records are " + v.verdict + ". That is about all that was read, and not only about the period.",
		"Each record has a number and the hash of the one before, and heartbeats repeat the totals. So what is changed, removed, moved or added between two records shows. " +
			"It does not show what is cut off behind the last record of a boot, a boot that is removed whole, or the work of someone who can write all of a file and makes the chain anew: compare the last hashes below with copies that were kept elsewhere.",
	}}
	if !v.whole {
		v.section.Notes = append(v.section.Notes, "The counts of this report are of the records as they stand: what is missing is not in them, and what stands twice is counted twice.")
	}
	return v
}

// several returns a number of things.
func several(n uint64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return count(n) + " " + thing + "s"
}

// seq makes a cell of a record's number, empty for none.
func seq(n uint64) cell {
	if n == 0 {
		return cell{}
	}
	return word(strconv.FormatUint(n, 10))
}

// bootsSection is the lives of the processes.
func (b *Builder) bootsSection(all []evidence.Process) section {
	g := grid{id: "boots", Empty: "There are no records.", columns: columns("boot", "Boot", "version", "Version", "first_seen", "First record", "last_seen", "Last record",
		"start", "Start", "end", "End", "records", "Records", "lost", "Lost", "suppressed", "Suppressed", "last_hash", "Last hash")}
	for _, v := range all {
		known := b.stream.boots[v.Name]
		if known == nil {
			known = &boot{}
		}
		start := "not there"
		if known.started {
			start = "started"
		}
		g.rows = append(g.rows, []cell{
			text(v.Name), text(known.version), at(v.From), at(v.To), word(start), word(ending(v)), num(v.Records), num(v.Lost),
			num(known.suppressed), text(v.LastHash),
		})
	}
	return section{ID: "boots", Title: "Starts and stops", Tables: []grid{g}, Notes: []string{
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
func (b *Builder) policySection() section {
	force := grid{id: "policies", Caption: "Policies in the records of the period", Empty: "No record of the period names one.",
		columns: columns("policy", "Policy", "first_seen", "First record", "last_seen", "Last record", "requests", "Requests")}
	for _, name := range sortedSpans(b.stream.policies) {
		s := b.stream.policies[name]
		force.rows = append(force.rows, []cell{text(name), at(s.first.time()), at(s.last.time()), num(s.requests)})
	}
	changes := grid{id: "changes", Caption: "Changes", Empty: "There were none in the period.",
		columns: columns("time", "Time", "event", "Event", "policy", "Policy in force", "functions", "Functions", "rules", "Rules", "boot", "Boot", "version", "Version", "detail", "Detail")}
	for _, c := range inOrder(b.stream.changes) {
		changes.rows = append(changes.rows, []cell{
			at(c.time), text(c.event), text(c.policy), some(c.functions), some(c.rules), text(c.boot), text(c.version),
			text(strings.ReplaceAll(c.detail, "\n", "; ")),
		})
	}
	s := section{ID: "policy", Title: "Policy", Tables: []grid{force, changes}, Notes: []string{
		"A policy is named by the first 12 digits of the SHA-256 of its file and the files that it names. Each process loads for itself. After reload_failed the policy before stays in force.",
	}}
	if b.stream.moreChanges > 0 {
		s.Notes = append(s.Notes, "Of the changes the first "+count(maxChanges)+" are shown, and "+count(b.stream.moreChanges)+" more are not.")
	}
	return s
}

// floodsSection is refusals that came too fast, and what this package does not know.
func (b *Builder) floodsSection() section {
	floods := grid{id: "floods", Empty: "No record of the period tells of one.",
		columns: columns("time", "Time", "event", "Event", "function", "Function", "source", "Source address", "detail", "Detail", "boot", "Boot")}
	for _, c := range inOrder(b.stream.floods) {
		floods.rows = append(floods.rows, []cell{at(c.time), text(c.event), text(c.function), text(c.source), text(c.detail), text(c.boot)})
	}
	s := section{ID: "floods", Title: "Floods", Tables: []grid{floods}, Notes: []string{
		"Where one caller is refused too often, further refusals are summed up in the records of others (suppressed). The requests of this report have them all.",
	}}
	if b.stream.moreFloods > 0 {
		s.Notes = append(s.Notes, count(b.stream.moreFloods)+" more are not shown.")
	}
	if len(b.stream.unknown) == 0 {
		return s
	}
	other := grid{id: "other_events", Caption: "Records of events that this program does not know; they are counted nowhere else",
		columns: columns("event", "Event", "records", "Records", "first_seen", "First record", "last_seen", "Last record")}
	for _, name := range sortedSpans(b.stream.unknown) {
		u := b.stream.unknown[name]
		other.rows = append(other.rows, []cell{text(name), num(u.requests), at(u.first.time()), at(u.last.time())})
	}
	s.Tables = append(s.Tables, other)
	return s
}

// rulesSection is the rules that let nothing through.
func (b *Builder) rulesSection() section {
	s := section{ID: "unused", Title: "Rules that were never used"}
	p := b.opt.Policy
	if p == nil {
		s.Notes = []string{"Not looked for: no policy file was given (--config)."}
		return s
	}
	requests := uint64(0)
	if span := b.stream.policies[p.Hash]; span != nil {
		requests = span.requests
	}
	s.Notes = []string{
		"Entries of the allow lists of the policy file given that let no request of the period through while that policy was in force. An entry that names a set is one rule; the deny list is not looked at.",
		"Of " + count(b.sums.Requests()) + " requests of the period " + count(requests) + " were decided under this policy. " +
			"The last column counts what an entry at the same place of another policy let through, which may have been another rule.",
	}
	if requests == 0 {
		s.Notes = append(s.Notes, "No record of the period is of this policy, so the list says nothing about use.")
	}
	about := grid{id: "policy_file", columns: columns("source", "Policy file", "policy", "Policy", "rules", "Rules"),
		rows: [][]cell{{text(p.File), text(p.Hash), num(len(p.Rules))}}}
	g := grid{id: "unused", Empty: "Every rule was used.", columns: columns("function", "Function", "owner", "Owner", "rule", "Rule", "line", "Line", "pattern", "What it covers",
		"ticket", "Ticket", "last_day", "Last day", "refused_requests", "Requests refused all the same", "elsewhere", "Same place, other policies")}
	for _, r := range p.Rules {
		u := b.rules[r.Path]
		if u.through > 0 {
			continue
		}
		g.rows = append(g.rows, []cell{
			text(r.Function), text(r.Owner), text(r.Path), some(r.Line), text(r.Pattern), text(r.Ticket), word(lastDay(r.Expires)), num(u.refusals), num(u.elsewhere),
		})
	}
	s.Tables = []grid{about, g}
	return s
}

// lastDay returns the last day on which a rule holds, "" where it has none.
func lastDay(expires time.Time) string {
	if expires.IsZero() {
		return ""
	}
	return expires.UTC().Add(-time.Nanosecond).Format(time.DateOnly)
}
