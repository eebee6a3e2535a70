package report

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
)

// Format is how a report is written. The zero Format is Markdown.
type Format uint8

// The formats.
const (
	Markdown Format = iota // tables of GitHub's dialect
	CSV                    // RFC 4180: one flat table, whose first column says which section a row is of
	HTML                   // one page without scripts and without anything from elsewhere
)

// ErrFormat is returned for a word or a Format that is none.
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

// Report is what was counted, ready to be written in any format.
type Report struct {
	doc document
	// Whole reports whether internal/evidence found nothing amiss.
	Whole bool
}

// Write writes the report.
func (r *Report) Write(w io.Writer, f Format) error {
	switch f {
	case Markdown:
		return r.doc.markdown(w)
	case CSV:
		return r.doc.csv(w)
	case HTML:
		return r.doc.html(w)
	default:
		return ErrFormat
	}
}

// document is a report without a format: the formats write the same document, so
// they cannot disagree. Fields and methods with capitals are for the page's
// template.
type document struct {
	Title    string
	Facts    []fact // what stands on top
	Whole    bool
	Sections []section
}

// fact is a name and a value, and the name in the CSV.
type fact struct {
	Name  string
	Value cell
	key   string
}

// section is a heading and what stands below it.
type section struct {
	ID     string // an anchor; of letters, digits and dashes
	Title  string
	of     cell // whom it is about, behind the title; empty: nobody
	Notes  []string
	Charts []chart
	Tables []grid
}

// grid is one table.
type grid struct {
	id      string // the section column of CSV
	Caption string // "": none
	columns []column
	counted []*row            // rows that are made when they are written: there may be a million
	cells   func(*row) []cell // makes them
	rows    [][]cell          // behind them
	summed  bool              // the last row sums up what has no row of its own
	Empty   string            // what is said where there are no rows
	Note    string            // of read: what is said of rows that people are not shown
}

// column is one column of a grid.
type column struct {
	key   string // of CSV
	title string
	flat  bool // stands in CSV alone: elsewhere the heading says it
}

// columns makes columns of pairs of key and title.
func columns(pairs ...string) []column {
	all := make([]column, 0, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, column{key: pairs[i], title: pairs[i+1]})
	}
	return all
}

// Size returns how many rows there are.
func (g *grid) Size() int { return len(g.counted) + len(g.rows) }

// row returns one row.
func (g *grid) row(i int) []cell {
	if i < len(g.counted) {
		return g.cells(g.counted[i])
	}
	return g.rows[i-len(g.counted)]
}

// numbers reports whether a column is of numbers.
func (g *grid) numbers(column int) bool { return g.Size() > 0 && g.row(0)[column].kind == number }

// maxRead is how many rows of a table people are shown. The CSV has all.
const maxRead = 1_000

// read gives the rows that people are shown, and then sets the Note.
func (g *grid) read() iter.Seq[[]cell] {
	return func(yield func([]cell) bool) {
		left, sum := 0, uint64(0)
		at := slices.IndexFunc(g.columns, func(c column) bool { return c.key == "requests" })
		for i := range g.Size() {
			row := g.row(i)
			if g.Size() <= maxRead+1 || i < maxRead || g.summed && i == g.Size()-1 {
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
		g.Note = "Left out here are " + count(left) + " more rows"
		if at >= 0 {
			g.Note += " with " + several(sum, "request")
		}
		g.Note += ". The CSV has them."
	}
}
