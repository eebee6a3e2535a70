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
	fmt.Fprintf(w, "# %s\n\n", d.title)
	for _, f := range d.facts {
		fmt.Fprintf(w, "- %s: %s\n", f.name, inMarkdown(f.value))
	}
	for i := range d.sections {
		d.sections[i].markdown(w)
	}
	return w.Flush()
}

// markdown writes one section. The charts are left out: the tables have their
// numbers.
func (s *section) markdown(w *bufio.Writer) {
	fmt.Fprintf(w, "\n%s %s", strings.Repeat("#", s.depth), s.title)
	if s.of.text != "" {
		fmt.Fprintf(w, " %s", inMarkdown(s.of))
	}
	w.WriteString("\n")
	for _, note := range s.notes {
		fmt.Fprintf(w, "\n%s\n", note)
	}
	for i := range s.tables {
		s.tables[i].markdown(w)
	}
}

// markdown writes one table.
func (g *grid) markdown(w *bufio.Writer) {
	w.WriteString("\n")
	if g.caption != "" {
		fmt.Fprintf(w, "**%s**\n\n", g.caption)
	}
	if len(g.rows) == 0 {
		fmt.Fprintf(w, "%s\n", g.empty)
		return
	}
	shown := g.shown()
	rule := "|"
	for _, i := range shown {
		fmt.Fprintf(w, "| %s ", g.columns[i].title)
		if g.rows[0][i].kind == number {
			rule += "---:|"
		} else {
			rule += "---|"
		}
	}
	fmt.Fprintf(w, "|\n%s\n", rule)
	rows, note := g.read()
	for _, row := range rows {
		for _, i := range shown {
			fmt.Fprintf(w, "| %s ", inMarkdown(row[i]))
		}
		w.WriteString("|\n")
	}
	if note != "" {
		fmt.Fprintf(w, "\n%s\n", note)
	}
}

// inMarkdown returns a cell as it stands in a table. Foreign text is a code span,
// in which nothing has a meaning: no link, no HTML, no emphasis, no mention of a
// person. What ends a span or a column is shown as \u{…}, as visible does, because
// renderers do not agree on how it would be escaped.
func inMarkdown(c cell) string {
	switch {
	case c.text == "":
		return "–"
	case c.kind == foreign:
		return "`" + strings.NewReplacer("`", `\u{60}`, "|", `\u{7c}`).Replace(visible(c.text)) + "`"
	case c.kind == number:
		return grouped(c.text)
	default:
		return c.text
	}
}
