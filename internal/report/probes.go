package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/report/doc"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/report/probes"
)

// AddProbe takes one line of what posture probe has written. Its error is always nil, so that
// it fits evidence.Read.
func (b *Builder) AddProbe(l evidence.Line) error {
	if b.probes == nil {
		b.probes = probes.New(probes.Options{From: b.opt.From, To: b.opt.To, Now: b.opt.Generated})
	}
	return b.probes.Add(l)
}

// probed are the sums of probes; nil: nobody asked for them.
func (b *Builder) probed() *probes.Sums {
	if !b.opt.Probes {
		return nil
	}
	if b.probes == nil { // files without a line
		return &probes.Sums{}
	}
	s := b.probes.Sums()
	return &s
}

// probesLine says the sums in one line, and whether each probe was counted and held.
func probesLine(s *probes.Sums) (line string, held bool) {
	n := s.Probed()
	if n == 0 {
		line = "no result that counts was read"
	} else {
		line = fmt.Sprintf("probed %s, held %s", doc.Several(n, "time"), doc.Count(s.Held))
	}
	for _, further := range []struct {
		n    uint64
		what string
	}{{s.Hole, "a way round the gate was open"}, {s.Unclear, "unclear"}, {s.Unknown, "nothing known, for the control failed"}, {s.Faulty, "lines that count as no result"}} {
		if further.n > 0 {
			line += "; " + further.what + ": " + doc.Count(further.n)
		}
	}
	return line, n > 0 && s.Held == n && s.Faulty == 0
}

// probesSection says how often the fence was tried, and what of it held.
func probesSection(s *probes.Sums) doc.Section {
	row := func(what string, n uint64) []doc.Cell { return []doc.Cell{doc.Word(what), doc.Num(n)} }
	sums := doc.Grid{ID: "probes", Columns: doc.Columns("what", "What", "probes", "Results"), Rows: [][]doc.Cell{
		row("probes that count", s.Probed()),
		row("of these: no way that was tried was open", s.Held),
		row("a way round the gate was open", s.Hole),
		row("unclear: something took connections, or answered in a target's stead", s.Unclear),
		row("nothing known: what should work did not", s.Unknown),
		row("lines that may have been results and count as none", s.Faulty),
		row("lines that were read before", s.Repeated),
		row("results outside of the period", s.Outside),
		row("lines of something else: metrics, events, Lambda's own", s.Other),
	}}
	return doc.Section{
		ID: "probes", Title: "Probes of the fence", Tables: []doc.Grid{sums, probeTimes(s), probeWays(s), probesNotHeld(s), probeFaults(s)},
		Notes: []string{
			"A probe tries, from a network of functions, the ways round the gate, between two requests that should work. It says something about the subnets and groups in which it ran, about the ways and targets that it tried, and about that minute.",
			"Each verdict was made anew from the tries beside it. Results are neither signed nor chained: whoever can write the file can make one up, or take one out, which shows as time without one.",
		},
	}
}

// probeTimes says when there were probes, and when there were none.
func probeTimes(s *probes.Sums) doc.Grid {
	g := doc.Grid{ID: "probe_times", Caption: "When", Empty: "There was no probe.", Columns: doc.Columns("first_seen", "First", "last_seen", "Last", "gap", "Longest time without one", "gap_from", "From")}
	if !s.First.IsZero() {
		g.Rows = [][]doc.Cell{{doc.At(s.First), doc.At(s.Last), doc.Word(s.Gap.Round(time.Second).String()), doc.At(s.GapFrom)}}
	}
	return g
}

// probeWays says what was seen of each way.
func probeWays(s *probes.Sums) doc.Grid {
	g := doc.Grid{ID: "probe_ways", Caption: "By way", Empty: "No way was tried.",
		Columns: doc.Columns("way", "Way", "held", "Held", "open", "Open", "unclear", "Unclear", "not_tried", "Not tried", "first_seen", "First open", "last_seen", "Last open")}
	for i := range s.Ways {
		w := &s.Ways[i]
		g.Rows = append(g.Rows, []doc.Cell{doc.Text(w.Name), doc.Num(w.Held), doc.Num(w.Open), doc.Num(w.Unclear), doc.Num(w.Untried), doc.At(w.FirstOpen), doc.At(w.LastOpen)})
	}
	return g
}

// probesNotHeld lists the results that do not say that the fence holds.
func probesNotHeld(s *probes.Sums) doc.Grid {
	g := doc.Grid{ID: "probes_not_held", Caption: "Results that do not say that it holds, the first of them", Empty: "None.",
		Columns: doc.Columns("time", "Time", "verdict", "Verdict", "headline", "What it says", "source", "Source", "line_number", "Line")}
	for _, f := range s.NotHeld {
		g.Rows = append(g.Rows, []doc.Cell{doc.At(f.Time), doc.Text(string(f.Verdict)), doc.Text(f.Detail), doc.Text(f.File), doc.Some(f.Line)})
	}
	return g
}

// probeFaults lists the lines that count as no result.
func probeFaults(s *probes.Sums) doc.Grid {
	g := doc.Grid{ID: "probe_faults", Caption: "Lines that count as no result, the first of them", Empty: "None.",
		Columns: doc.Columns("source", "Source", "line_number", "Line", "detail", "What is wrong with it")}
	for _, f := range s.Faults {
		g.Rows = append(g.Rows, []doc.Cell{doc.Text(f.File), doc.Some(f.Line), doc.Word(f.Detail)})
	}
	return g
}

// probesForControls is what probes add to what a control is told; "": nobody asked for them.
func (b *Builder) probesForControls() string {
	s := b.probed()
	if s == nil {
		return ""
	}
	line, _ := probesLine(s)
	return " Probes of the ways round the proxy, from where they ran: " + strings.TrimSuffix(line, ".") + "."
}
