package report

import (
	"bufio"
	_ "embed"
	"html/template"
	"io"
	"strings"
)

//go:embed page.html
var page string

// html writes the document as one page. html/template escapes every value for
// the place where it stands; the page itself forbids whatever might get past
// that: no scripts, no frames, nothing from elsewhere.
func (d *document) html(out io.Writer) error {
	t, err := template.New("page").Parse(page)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(out)
	if err := t.Execute(w, d.view()); err != nil {
		return err
	}
	return w.Flush()
}

// pageView is the document as the template wants it.
type pageView struct {
	Title    string
	Whole    bool
	Facts    []factView
	Sections []sectionView
}

type factView struct {
	Name  string
	Value cellView
}

type sectionView struct {
	ID, Title string
	Of        string
	Notes     []string
	Charts    []chart
	Tables    []tableView
}

type tableView struct {
	Caption, Empty string
	Note           string
	Head           []cellView
	Rows           [][]cellView
}

// cellView is a cell with the class of its kind: f for foreign text, n for a
// number, t for a time.
type cellView struct{ Text, Class string }

// view makes the page of a document.
func (d *document) view() pageView {
	v := pageView{Title: d.title, Whole: d.whole}
	for _, f := range d.facts {
		v.Facts = append(v.Facts, factView{f.name, f.value.view()})
	}
	for _, s := range d.sections {
		one := sectionView{ID: s.id, Title: s.title, Of: visible(s.of.text), Notes: s.notes, Charts: s.charts}
		for i := range s.tables {
			one.Tables = append(one.Tables, s.tables[i].view())
		}
		v.Sections = append(v.Sections, one)
	}
	return v
}

// view makes the page's table of a grid.
func (g *grid) view() tableView {
	rows, note := g.read()
	v := tableView{Caption: g.caption, Empty: g.empty, Note: note, Rows: make([][]cellView, 0, len(rows))}
	shown := g.shown()
	for _, i := range shown {
		class := ""
		if len(g.rows) > 0 && g.rows[0][i].kind == number {
			class = "n"
		}
		v.Head = append(v.Head, cellView{g.columns[i].title, class})
	}
	for _, row := range rows {
		cells := make([]cellView, 0, len(shown))
		for _, i := range shown {
			cells = append(cells, row[i].view())
		}
		v.Rows = append(v.Rows, cells)
	}
	return v
}

// view makes the page's cell.
func (c cell) view() cellView {
	switch {
	case c.text == "":
		return cellView{"–", ""}
	case c.kind == foreign:
		return cellView{visible(c.text), "f"}
	case c.kind == number:
		return cellView{grouped(c.text), "n"}
	case c.kind == instant:
		return cellView{strings.Replace(c.text, "T", " ", 1), "t"} // where it may break
	default:
		return cellView{c.text, ""}
	}
}
