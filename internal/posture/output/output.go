// Package output writes what the checks found: as text, Markdown, JSON, OCSF, and one
// HTML page.
//
// What it does: every format writes the same Report. Names in it were given by whoever may
// name things in the account: they are shown, and act on nothing, neither on a terminal
// nor in a page.
//
// What it does not do: it finds and counts nothing.
//
//	err := output.Write(os.Stdout, &report, output.Text)
package output

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/finding"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/summary"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/printable"
)

// Format is how a report is written.
type Format string

// The formats.
const (
	Text     Format = "text"
	Markdown Format = "markdown"
	JSON     Format = "json"
	OCSF     Format = "ocsf" // a line for each finding
	HTML     Format = "html"
)

// Formats are the words of the formats.
func Formats() []string {
	return []string{string(Text), string(Markdown), string(JSON), string(OCSF), string(HTML)}
}

// errFormat is returned for a word that is no format.
var errFormat = errors.New("no such format")

// Report is what is written.
type Report struct {
	Made     string            `json:"made"`    // when the account was read, RFC 3339
	Version  string            `json:"version"` // of the program
	Headline string            `json:"headline"`
	Summary  *summary.Summary  `json:"summary"`
	Findings []finding.Finding `json:"findings"` // never nil in JSON
}

// Write writes a report.
func Write(out io.Writer, r *Report, f Format) error {
	w := bufio.NewWriter(out)
	var err error
	switch f {
	case Text:
		writeText(w, r)
	case Markdown:
		writeMarkdown(w, r)
	case JSON:
		if r.Findings == nil {
			r.Findings = []finding.Finding{}
		}
		err = printable.WriteJSON(w, r)
	case OCSF:
		err = writeOCSF(w, r)
	case HTML:
		err = writeHTML(w, r)
	default:
		err = fmt.Errorf("%q: %w", f, errFormat)
	}
	if err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

// visible replaces what does not print.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}

// place writes where a finding is.
func place(f *finding.Finding) string {
	return strings.Join(strings.Fields(f.Owner+" "+f.Region+" "+f.Resource), " ")
}

// counts writes how many findings there are of each severity.
func counts(s *summary.Summary) string {
	var parts []string
	for _, severity := range []finding.Severity{finding.High, finding.Medium, finding.Low, finding.Info} {
		parts = append(parts, fmt.Sprintf("%d %s", s.Counts[severity.String()], severity))
	}
	return strings.Join(parts, ", ") + fmt.Sprintf("; %d accepted", s.Accepted)
}

// writeText writes for a terminal.
func writeText(w *bufio.Writer, r *Report) {
	fmt.Fprintf(w, "%s\n%s; read %s\n", r.Headline, counts(r.Summary), visible(r.Made))
	for _, way := range r.Summary.Ways {
		fmt.Fprintf(w, "  %s %s: %d functions\n", way.ID, way.Title, way.Functions)
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		fmt.Fprintf(w, "\n%-6s %s %s: %s\n", f.Severity, visible(f.ID), f.Title, visible(place(f)))
		for _, line := range lines(f) {
			fmt.Fprintf(w, "       %-9s %s\n", line[0], visible(line[1]))
		}
	}
}

// lines are what is said of a finding below its title.
func lines(f *finding.Finding) (out [][2]string) {
	for _, line := range [][2]string{
		{"seen", f.Evidence}, {"so that", f.Consequence}, {"cure", f.Cure}, {"functions", few(f.Functions)}, {"accepted", f.Accepted},
	} {
		if line[1] != "" {
			out = append(out, line)
		}
	}
	return out
}

// few lists the first ten names.
func few(names []string) string {
	if len(names) > 10 {
		return strings.Join(names[:10], ", ") + fmt.Sprintf(" and %d more", len(names)-10)
	}
	return strings.Join(names, ", ")
}

// span writes text as a code span of Markdown in which nothing acts: a table's cell ends
// at a bar, a span at a backquote.
func span(s string) string {
	if s == "" {
		return "–"
	}
	return "`" + strings.NewReplacer("`", "´", "|", "¦").Replace(visible(s)) + "`"
}

// writeMarkdown writes GitHub's dialect.
func writeMarkdown(w *bufio.Writer, r *Report) {
	fmt.Fprintf(w, "# %s\n\n%s; read %s.\n", r.Headline, counts(r.Summary), visible(r.Made))
	if len(r.Summary.Ways) > 0 {
		w.WriteString("\n| way out | functions |\n|---|---|\n")
		for _, way := range r.Summary.Ways {
			fmt.Fprintf(w, "| %s %s | %d |\n", way.ID, way.Title, way.Functions)
		}
	}
	w.WriteString("\n## Findings\n")
	if len(r.Findings) == 0 {
		w.WriteString("\nNone.\n")
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		fmt.Fprintf(w, "\n### %s %s: %s\n\n%s\n\n", f.ID, f.Severity, f.Title, span(place(f)))
		for _, line := range lines(f) {
			fmt.Fprintf(w, "- %s: %s\n", line[0], span(line[1]))
		}
	}
	w.WriteString("\n## Functions\n\n| account | region | function | state | findings |\n|---|---|---|---|---|\n")
	for _, f := range r.Summary.Functions {
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s |\n", span(f.Owner), span(f.Region), span(f.Name), f.State, strings.Join(f.Found, ", "))
	}
}
