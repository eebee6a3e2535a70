package doc

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// markdown writes the document in GitHub's dialect.
func (d *Document) markdown(out io.Writer) error {
	w := bufio.NewWriter(out)
	fmt.Fprintf(w, "# %s\n\n", d.Title)
	for _, f := range d.Facts {
		fmt.Fprintf(w, "- %s: %s\n", f.Name, f.Value.Markdown())
	}
	for i := range d.Sections {
		d.Sections[i].markdown(w)
	}
	return w.Flush()
}

// markdown writes one section. The charts are left out: the tables have their
// numbers.
func (s *Section) markdown(w *bufio.Writer) {
	fmt.Fprintf(w, "\n## %s", s.Title)
	if s.About.text != "" {
		fmt.Fprintf(w, " %s", s.About.Markdown())
	}
	w.WriteString("\n")
	for _, text := range s.Notes {
		fmt.Fprintf(w, "\n%s\n", text)
	}
	for i := range s.Tables {
		s.Tables[i].markdown(w)
	}
}

// markdown writes one table.
func (g *Grid) markdown(w *bufio.Writer) {
	w.WriteString("\n")
	if g.Caption != "" {
		fmt.Fprintf(w, "**%s**\n\n", g.Caption)
	}
	if g.Size() == 0 {
		fmt.Fprintf(w, "%s\n", g.Empty)
		return
	}
	rule := "|"
	for i, c := range g.Columns {
		switch {
		case c.Flat:
			continue
		case g.numbers(i):
			rule += "---:|"
		default:
			rule += "---|"
		}
		w.WriteString("| " + c.Title + " ")
	}
	fmt.Fprintf(w, "|\n%s\n", rule)
	for row := range g.read() {
		for i, c := range g.Columns {
			if !c.Flat {
				w.WriteString("| ")
				w.WriteString(row[i].Markdown())
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

// Markdown returns the cell as it stands in a table. Foreign text is a code span,
// in which nothing has a meaning: no link, no HTML, no emphasis, no mention of a
// person. What ends a span or a column is shown as \u{…}, as Visible does, because
// renderers do not agree on how it would be escaped.
func (c Cell) Markdown() string {
	switch {
	case c.text == "":
		return "–"
	case c.kind == untrusted:
		return "`" + inSpan.Replace(Visible(c.text)) + "`"
	case c.kind == number:
		return grouped(c.text)
	default:
		return c.text
	}
}
