package traffic

import (
	"fmt"
	"slices"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
)

// missing are the findings that say what is not there. All others say that records are not
// as they were written.
var missing = []evidence.Kind{
	evidence.KindBeginning, evidence.KindGap, evidence.KindPartial, evidence.KindLost, evidence.KindEmpty, evidence.KindReordered,
}

// longestSilence is how long there may be no process that writes records: one writes a
// heartbeat each minute, and a restart takes a moment.
const longestSilence = 5 * time.Minute

// judge returns what is missing of the records; an error: they are not as they were written.
func judge(res *evidence.Result) (gaps []string, err error) {
	findings := slices.Clone(res.Findings)
	for _, p := range res.Processes {
		for _, f := range p.Findings {
			f.Text = "boot " + p.Name + ": " + f.Text
			findings = append(findings, f)
		}
	}
	for _, f := range findings {
		if !slices.Contains(missing, f.Kind) {
			return nil, fmt.Errorf("the records are not as they were written, and nothing is taken from them: %s; proxy verify says more", f.Text)
		}
		if f.Kind != evidence.KindReordered {
			gaps = append(gaps, f.Text)
		}
	}
	for _, f := range res.Files {
		if f.Unreadable > 0 {
			gaps = append(gaps, fmt.Sprintf("%s:%d: a line cannot be read (of %d such lines)", f.Name, f.FirstUnreadable, f.Unreadable))
		}
	}
	return append(gaps, silences(res.Processes)...), nil
}

// silences returns when no process wrote records between the first and the last of them.
func silences(processes []evidence.Process) (all []string) {
	sorted := slices.Clone(processes)
	slices.SortFunc(sorted, func(a, b evidence.Process) int { return a.From.Compare(b.From) })
	var until time.Time
	for _, p := range sorted {
		if !until.IsZero() && p.From.Sub(until) > longestSilence {
			all = append(all, fmt.Sprintf("no records from %s to %s", until.UTC().Format(time.RFC3339), p.From.UTC().Format(time.RFC3339)))
		}
		if p.To.After(until) {
			until = p.To
		}
	}
	return all
}
