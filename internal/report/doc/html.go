package doc

import (
	"bufio"
	_ "embed"
	"html/template"
	"io"
	"iter"
	"strings"
)

//go:embed page.html
var page string

// html writes the document as one page. html/template escapes every value for
// the place where it stands; the page itself forbids whatever might get past
// that: no scripts, no frames, nothing from elsewhere.
func (d *Document) html(out io.Writer) error {
	t, err := template.New("page").Parse(page)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(out)
	if err := t.Execute(w, d); err != nil {
		return err
	}
	return w.Flush()
}

// cellView is a cell with the class of its kind: f for untrusted text, n for a
// number, t for a time.
type cellView struct{ Text, Class string }

// Of returns whom a section is about.
func (s *Section) Of() string { return Visible(s.About.text) }

// Head returns the headings of the columns.
func (g *Grid) Head() (head []cellView) {
	for i, c := range g.Columns {
		class := ""
		if g.numbers(i) {
			class = "n"
		}
		if !c.Flat {
			head = append(head, cellView{c.Title, class})
		}
	}
	return head
}

// View gives the rows that people are shown, and then sets the Note.
func (g *Grid) View() iter.Seq[[]cellView] {
	return func(yield func([]cellView) bool) {
		for row := range g.read() {
			cells := make([]cellView, 0, len(row))
			for i, c := range g.Columns {
				if !c.Flat {
					cells = append(cells, row[i].View())
				}
			}
			if !yield(cells) {
				return
			}
		}
	}
}

// View returns the cell as the page has it.
func (c Cell) View() cellView {
	switch {
	case c.text == "":
		return cellView{"–", ""}
	case c.kind == untrusted:
		return cellView{Visible(c.text), "f"}
	case c.kind == number:
		return cellView{grouped(c.text), "n"}
	case c.kind == instant:
		return cellView{strings.Replace(c.text, "T", " ", 1), "t"} // where it may break
	default:
		return cellView{c.text, ""}
	}
}
