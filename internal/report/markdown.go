package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// markdown writes the document in GitHub's dialect.
func (d *document) markdown(out io.Writer) error {
	w := bufio.NewWriter(out)
	fmt.Fprintf(w, "# %s\n\n", d.Title)
	for _, f := range d.Facts {
		fmt.Fprintf(w, "- %s: %s\n", f.Name, inMarkdown(f.Value))
	}
	for i := range d.Sections {
		d.Sections[i].markdown(w)
	}
	return w.Flush()
}

// markdown writes one section. The charts are left out: the tables have their
// numbers.
func (s *section) markdown(w *bufio.Writer) {
	fmt.Fprintf(w, "\n## %s", s.Title)
	if s.of.text != "" {
		fmt.Fprintf(w, " %s", inMarkdown(s.of))
	}
	w.WriteString("\n")
	for _, note := range s.Notes {
		fmt.Fprintf(w, "\n%s\n", note)
	}
	for i := range s.Tables {
		s.Tables[i].markdown(w)
	}
}

// markdown writes one table.
func (g *grid) markdown(w *bufio.Writer) {
	w.WriteString("\n")
	if g.Caption != "" {
		fmt.Fprintf(w, "**%s**\n\n", g.Caption)
	}
	if g.Size() == 0 {
		fmt.Fprintf(w, "%s\n", g.Empty)
		return
	}
	rule := "|"
	for i, c := range g.columns {
		switch {
		case c.flat:
			continue
		case g.numbers(i):
			rule += "---:|"
		default:
			rule += "---|"
		}
		w.WriteString("| " + c.title + " ")
	}
	fmt.Fprintf(w, "|\n%s\n", rule)
	for row := range g.read() {
		for i, c := range g.columns {
			if !c.flat {
				w.WriteString("| ")
				w.WriteString(inMarkdown(row[i]))
				w.WriteString(" ")
			}
		}
		w.WriteString("|\n")
	}
	if g.Note != "" {
		fmt.Fprintf(w, "\n%s\n", g.Note)
	}
}

// inSpan shows what ends a code span or a column.
var inSpan = strings.NewReplacer("`", `\u{60}`, "|", `\u{7c}`)

// inMarkdown returns a cell as it stands in a table. Foreign text is a code span,
// in which nothing has a meaning: no link, no HTML, no emphasis, no mention of a
// person. What ends a span or a column is shown as \u{…}, as visible does, because
// renderers do not agree on how it would be escaped.
func inMarkdown(c cell) string {
	switch {
	case c.text == "":
		return "–"
	case c.kind == foreign:
		return "`" + inSpan.Replace(visible(c.text)) + "`"
	case c.kind == number:
		return grouped(c.text)
	default:
		return c.text
	}
}
