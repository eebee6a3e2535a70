// Package acceptance reads what somebody has accepted, and marks the findings that it
// covers.
//
// What it does: a line of the file names a check and a resource, and has an owner, a
// reason and a last day. One that has ended, or that fits nothing, is a finding itself: a
// list of exceptions is otherwise never shorter.
//
// What it does not do: it takes no finding away. What is accepted stays in every output,
// with who accepted it; it does not fail a run, and it does not count as closed.
//
//	lines, err := acceptance.Parse("accepted.yaml", data)
//	findings = acceptance.Apply(lines, findings, time.Now())
package acceptance

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/finding"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/yamlread"
)

// maxText bounds each text of the file, in bytes.
const maxText = 1024

// Line is one exception.
type Line struct {
	Where    string // file and line
	Finding  string // ID of a check
	Resource string // as the finding has it; a star at the end stands for any rest
	Owner    string // who answers for it
	Reason   string
	Until    time.Time // the first instant at which it has ended
	// In and Region bound it to an account and a region; "": any.
	In, Region string
}

// Parse reads the file called name. The error names every line that is wrong.
func Parse(name string, data []byte) ([]Line, error) {
	r := yamlread.New(name, nil)
	root, ok := r.Document(data, yamlread.Hints{Empty: "write accept: []", Anchors: "write each line out"})
	if !ok {
		return nil, r.Err()
	}
	var lines []Line
	found := r.Object(root, yamlread.Key("accept", func(n yamlread.Node) {
		r.List(n, func(item yamlread.Node) { lines = append(lines, line(r, name, item)) })
	}))
	r.Require(root, found, "write accept: and a list", "accept")
	if err := r.Err(); err != nil {
		return nil, err
	}
	return lines, nil
}

// line reads one exception.
func line(r *yamlread.Reader, name string, n yamlread.Node) Line {
	l := Line{Where: fmt.Sprintf("%s:%d", name, n.Line())}
	text := func(into *string) func(yamlread.Node) {
		return func(n yamlread.Node) {
			if *into = r.Text(n, maxText); strings.TrimSpace(*into) == "" {
				r.Fail(n, "it is empty; say it, or take the line out")
			}
		}
	}
	found := r.Object(n,
		yamlread.Key("finding", text(&l.Finding)), yamlread.Key("resource", text(&l.Resource)), yamlread.Key("owner", text(&l.Owner)),
		yamlread.Key("reason", text(&l.Reason)), yamlread.Key("until", func(n yamlread.Node) { l.Until = r.LastDay(n) }),
		yamlread.Key("account", text(&l.In)), yamlread.Key("region", text(&l.Region)))
	r.Require(n, found, "who accepts what, why, and until which day", "finding", "resource", "owner", "reason", "until")
	if l.Finding == finding.Acceptance {
		r.Fail(found["finding"], "an exception cannot be excepted; mend the file")
	}
	return l
}

// covers reports whether a line is about a finding.
func (l *Line) covers(f *finding.Finding) bool {
	begin, open := strings.CutSuffix(l.Resource, "*")
	fits := f.Resource == l.Resource || open && strings.HasPrefix(f.Resource, begin)
	return fits && l.Finding == f.ID && (l.In == "" || l.In == f.Owner) && (l.Region == "" || l.Region == f.Region)
}

// Apply marks what is accepted, and adds what is wrong with the lines themselves. Of two
// lines that cover a finding the one that lasts longer holds.
func Apply(lines []Line, findings []finding.Finding, now time.Time) []finding.Finding {
	out := slices.Clone(findings)
	longest := slices.Clone(lines)
	slices.SortStableFunc(longest, func(a, b Line) int { return a.Until.Compare(b.Until) })
	for _, l := range longest {
		ended, fits := !now.Before(l.Until), 0
		for i := range findings {
			if !l.covers(&findings[i]) {
				continue
			}
			if fits++; !ended {
				// LastDay gives the first instant behind the day that is written.
				out[i].Accepted = fmt.Sprintf("%s until %s: %s", l.Owner, l.Until.Add(-time.Second).Format(time.DateOnly), l.Reason)
			}
		}
		f := finding.Finding{ID: finding.Acceptance, Owner: l.In, Region: l.Region, Resource: l.Where}
		switch {
		case fits == 0:
			f.Title, f.Severity = "an exception that fits nothing", finding.Low
			f.Evidence = fmt.Sprintf("no finding is %s of %s", l.Finding, l.Resource)
			f.Consequence, f.Cure = "it would hide one that comes later", "take "+l.Where+" out"
		case ended:
			f.Title, f.Severity = "an exception that has ended", finding.Medium
			f.Evidence = fmt.Sprintf("%s of %s was accepted by %s until %s", l.Finding, l.Resource, l.Owner, l.Until.Add(-time.Second).Format(time.DateOnly))
			f.Consequence, f.Cure = fmt.Sprintf("%d findings are accepted no longer", fits), "mend what it excused, or ask "+l.Owner
		default:
			continue
		}
		out = append(out, f)
	}
	finding.Sort(out)
	return out
}
