package doc

import (
	"encoding/csv"
	"io"
	"regexp"
	"slices"
	"strings"
)

// csv writes the document as one flat table. A row has the columns of its own
// section; the others are empty. Every report has the columns of its tables.
func (d *Document) csv(out io.Writer) error {
	w := csv.NewWriter(out)
	w.UseCRLF = true
	header := d.header()
	if err := w.Write(header); err != nil {
		return err
	}
	facts := Grid{ID: "report", Columns: Columns("name", "", "value", "")}
	for _, f := range d.Facts {
		facts.Rows = append(facts.Rows, []Cell{Word(f.Key), f.Value})
	}
	if err := facts.csv(w, header); err != nil {
		return err
	}
	for i := range d.Sections {
		for k := range d.Sections[i].Tables {
			if err := d.Sections[i].Tables[k].csv(w, header); err != nil {
				return err
			}
		}
	}
	w.Flush()
	return w.Error()
}

// header returns the columns of all tables, in the order in which they are met.
func (d *Document) header() []string {
	header := []string{"section", "name", "value"}
	seen := map[string]bool{}
	for _, s := range d.Sections {
		for _, g := range s.Tables {
			for _, c := range g.Columns {
				if !seen[c.Key] {
					seen[c.Key] = true
					header = append(header, c.Key)
				}
			}
		}
	}
	return header
}

// csv writes the rows of one table.
func (g *Grid) csv(w *csv.Writer, header []string) error {
	place := make([]int, len(g.Columns))
	for i, c := range g.Columns {
		place[i] = slices.Index(header, c.Key)
	}
	line := make([]string, len(header))
	for i := range g.Size() {
		line[0] = g.ID
		for k, c := range g.row(i) {
			line[place[k]] = inCSV(c)
		}
		if err := w.Write(line); err != nil {
			return err
		}
	}
	return nil
}

// formula matches where a spreadsheet would begin to calculate: at the beginning
// of a cell, or behind what may be taken for its end where the separator is
// another one.
var formula = regexp.MustCompile(`(^|[;,|"'])(\s*)([=+\-@＝＋－＠])`)

// inCSV returns a cell as it stands in CSV. Before what would begin a formula in
// untrusted text there is an apostrophe, which makes it text.
func inCSV(c Cell) string {
	if c.kind != untrusted {
		return c.text
	}
	s := Visible(c.text)
	if !strings.ContainsAny(s, `;,|"'`) && strings.IndexAny(strings.TrimLeft(s, " "), "=+-@＝＋－＠") != 0 {
		return s // nearly always, and cheaper than the expression
	}
	return formula.ReplaceAllString(s, "$1$2'$3")
}
