package report

import (
	"errors"
	"fmt"
	"io"
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
	doc  document
	sums sums
	// Whole tells whether internal/evidence found nothing amiss.
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

// Requests returns how many requests the report counts.
func (r *Report) Requests() uint64 { return r.sums.Requests() }

// Totals returns what the report counts by event and reason ("none" where
// there is none), as heartbeats of the records do. The caller must not change it.
func (r *Report) Totals() map[string]map[string]uint64 { return r.sums.events }

// document is a report without a format: the formats write the same document, so
// they cannot disagree.
type document struct {
	title    string
	facts    []fact // what stands on top
	whole    bool
	sections []section
}

// fact is a name and a value. A fact with a key is in the CSV too.
type fact struct {
	name  string
	value cell
	key   string
}

// section is a heading and what stands below it.
type section struct {
	id     string // an anchor; of letters, digits and dashes
	title  string
	of     cell // whom it is about, behind the title; empty: nobody
	depth  int  // 2, or 3 for what belongs to the section before
	notes  []string
	charts []chart
	tables []grid
}

// grid is one table.
type grid struct {
	id      string // the section column of CSV
	caption string // "": none
	columns []column
	rows    [][]cell
	summed  bool   // the last row sums up what has no row of its own
	empty   string // what is said where there are no rows
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

// maxRead is how many rows of a table people are shown. The CSV has all.
const maxRead = 1_000

// read returns the rows that people are shown, and what is said of the others.
func (g *grid) read() (rows [][]cell, note string) {
	if len(g.rows) <= maxRead+1 {
		return g.rows, ""
	}
	rows, rest := slices.Clone(g.rows[:maxRead]), g.rows[maxRead:]
	if g.summed {
		rows, rest = append(rows, rest[len(rest)-1]), rest[:len(rest)-1]
	}
	note = "Left out here are " + count(len(rest)) + " more rows"
	if at := slices.IndexFunc(g.columns, func(c column) bool { return c.key == "requests" }); at >= 0 {
		sum := uint64(0)
		for _, row := range rest {
			n, _ := strconv.ParseUint(row[at].text, 10, 64) // of num, so it is a number
			sum += n
		}
		note += " with " + several(sum, "request")
	}
	return rows, note + ". The CSV has them."
}

// shown returns the indexes of the columns that are not for CSV alone.
func (g *grid) shown() []int {
	var all []int
	for i, c := range g.columns {
		if !c.flat {
			all = append(all, i)
		}
	}
	return all
}
