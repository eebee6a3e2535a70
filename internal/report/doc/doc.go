// Package doc is a document of headings, notes, tables and charts, and the formats
// it is written in: Markdown, CSV, and one HTML page.
//
// What it does: all formats write the same Document, so they cannot disagree; the
// same Document gives the same bytes. Untrusted text (a Cell of Text) may have been
// written by an attacker: it is shown, and is inert in every format.
//
// What it does not do: it counts nothing, and knows nothing of records.
//
//	d := doc.Document{Title: "Report", Sections: []doc.Section{{ID: "a", Title: "A", Tables: []doc.Grid{table}}}}
//	err := d.Write(os.Stdout, doc.Markdown)
package doc

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
)

// Format is how a Document is written. The zero Format is Markdown.
type Format uint8

// The formats.
const (
	Markdown Format = iota // tables of GitHub's dialect
	CSV                    // RFC 4180: one flat table, whose first column says which section a row is of
	HTML                   // one page without scripts and without anything from elsewhere
)

// ErrFormat is returned for a word or a Format that is not one of them.
var ErrFormat = errors.New("no such format; there are markdown, csv and html")

// ParseFormat returns the format that a word of the command line names.
func ParseFormat(s string) (Format, error) {
	switch s {
	case "markdown":
		return Markdown, nil
	case "csv":
		return CSV, nil
	case "html":
		return HTML, nil
	default:
		return Markdown, fmt.Errorf("%q: %w", s, ErrFormat)
	}
}

// Write writes the document.
func (d *Document) Write(w io.Writer, f Format) error {
	switch f {
	case Markdown:
		return d.markdown(w)
	case CSV:
		return d.csv(w)
	case HTML:
		return d.html(w)
	default:
		return ErrFormat
	}
}

// Document is what is shown, without a format. The zero Document is empty.
type Document struct {
	Title    string
	Facts    []Fact // what stands on top
	Whole    bool   // whether the records are; the page has it at its head
	Sections []Section
}

// Fact is a name and a value, and the name in the CSV.
type Fact struct {
	Name  string
	Value Cell
	Key   string
}

// Section is a heading and what stands below it.
type Section struct {
	ID     string // an anchor; of letters, digits and dashes
	Title  string
	About  Cell // whom it is about, behind the title; empty: nobody
	Notes  []string
	Charts []Chart
	Tables []Grid
}

// Grid is one table.
type Grid struct {
	ID      string // the section column of CSV
	Caption string // "": none
	Columns []Column
	Made    int              // rows that are made when they are written: there may be a million
	Make    func(int) []Cell // makes them
	Rows    [][]Cell         // behind them
	Summed  bool             // the last row sums up what has no row of its own
	Empty   string           // what is said where there are no rows

	Note string // set once all of View was read: what is said of rows that people are not shown
}

// Column is one column of a Grid.
type Column struct {
	Key   string // of CSV
	Title string
	Flat  bool // stands in CSV alone: elsewhere the heading says it
}

// Columns makes columns of pairs of key and title.
func Columns(pairs ...string) []Column {
	all := make([]Column, 0, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, Column{Key: pairs[i], Title: pairs[i+1]})
	}
	return all
}

// Size returns how many rows there are.
func (g *Grid) Size() int { return g.Made + len(g.Rows) }

// row returns one row.
func (g *Grid) row(i int) []Cell {
	if i < g.Made {
		return g.Make(i)
	}
	return g.Rows[i-g.Made]
}

// numbers reports whether a column is of numbers.
func (g *Grid) numbers(column int) bool { return g.Size() > 0 && g.row(0)[column].kind == number }

// maxRead is how many rows of a table people are shown. The CSV has all.
const maxRead = 1_000

// read gives the rows that people are shown, and then sets the Note.
func (g *Grid) read() iter.Seq[[]Cell] {
	return func(yield func([]Cell) bool) {
		left, sum := 0, uint64(0)
		at := slices.IndexFunc(g.Columns, func(c Column) bool { return c.Key == "requests" })
		for i := range g.Size() {
			row := g.row(i)
			if g.Size() <= maxRead+1 || i < maxRead || g.Summed && i == g.Size()-1 {
				if !yield(row) {
					return
				}
				continue
			}
			if left++; at >= 0 {
				n, _ := strconv.ParseUint(row[at].text, 10, 64) // of num, so it is a number
				sum += n
			}
		}
		if left == 0 {
			return
		}
		g.Note = "Left out here are " + Count(left) + " more rows"
		if at >= 0 {
			g.Note += " with " + Several(sum, "request")
		}
		g.Note += ". The CSV has them."
	}
}
