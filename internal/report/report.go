// Package report turns records into what an auditor asks for: who reached what
// by which rule, what was refused and why, which policy was in force, whether
// the records are whole, and what that shows of some well-known controls.
//
// What it does: it has the records of a period counted in one pass and in bounded
// memory (internal/report/tally), and the same lines verified (internal/evidence),
// says in words and tables what that shows, and writes it as Markdown, as CSV or
// as one HTML page that needs nothing else (internal/report/doc). The same lines
// and Options give the same bytes. Whatever stands in a record may have been
// written by an attacker: it is shown, and is inert in every format.
//
// What it does not do: it opens no files, knows no policy file (Policy is a
// plain list), keeps no records, and never says that a control is met.
//
//	b := report.New(report.Options{Generated: time.Now(), Sources: files})
//	err := evidence.Read(files, os.Stdin, b.Add)
//	…
//	err = b.Report().Write(os.Stdout, report.Markdown)
//
// # How it counts
//
// A request is what a client asked once. A record that says suppressed stands
// for that many more. A request that was opened and then refused (the
// ClientHello named another host) stands under both, and counts once in the sum.
// An attempt is a request with its repeats: the same source address, function,
// protocol, method, host, port, verdict and reason, each within ten seconds of
// the one before. Some clients ask five times where a person tried once.
package report

import (
	"fmt"
	"io"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/report/doc"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/report/probes"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/report/tally"
)

// Options says what a report is about. The zero Options counts every record.
type Options struct {
	From time.Time // records before it are not counted; zero: from the first
	To   time.Time // records at it or behind are not counted; zero: to the last
	// Sources are the names of what is read, as the report shows them.
	Sources   []string
	Generated time.Time // when the report was made; zero: it does not say
	// Policy is where the rules that were never used are looked for; nil: the
	// report says that they were not.
	Policy *Policy
	// Ready says which functions may be enforced, behind the last line; nil: the report
	// says that nobody has looked.
	Ready func() Readiness
	// Probes says that lines of posture probe were given too, none at all included.
	Probes bool
	// MaxRows bounds the rows of one function in one table; what goes beyond is
	// summed up in one row. Zero or less: 10,000.
	MaxRows int
}

// Policy is a policy file as far as the report knows it.
type Policy struct {
	File  string
	Hash  string // as records carry it
	Rules []Rule
}

// Rule is one entry of a function's allow list.
type Rule struct {
	Function, Owner string
	Path            string // as records carry it: functions.billing.allow[2]
	File            string // the included file that it stands in; "": the policy file itself
	Line            int
	Pattern         string    // what it covers, for people
	Ticket          string    // "": none
	Expires         time.Time // first instant at which it no longer holds; zero: it holds on
}

// defaultMaxRows bounds the rows of one function in one table.
const defaultMaxRows = 10_000

// Builder counts records. Make one with New. It is not safe for concurrent use.
type Builder struct {
	opt      Options
	verifier *evidence.Verifier
	counts   *tally.Counter
	probes   *probes.Counter // nil: there was no line of one
}

// New returns a Builder that has counted nothing.
func New(o Options) *Builder {
	if o.MaxRows <= 0 {
		o.MaxRows = defaultMaxRows
	}
	counted := tally.Options{From: o.From, To: o.To, Sources: o.Sources, MaxRows: o.MaxRows}
	if o.Policy != nil {
		counted.Policy = o.Policy.Hash
		for _, r := range o.Policy.Rules {
			counted.Rules = append(counted.Rules, r.Path)
		}
	}
	b := &Builder{opt: o, verifier: evidence.NewVerifier(), counts: tally.New(counted)}
	b.verifier.Records(b.counts.Add)
	return b
}

// Add takes one line. Its error is always nil, so that it fits evidence.Read.
func (b *Builder) Add(l evidence.Line) error {
	b.verifier.Add(l)
	return nil
}

// Format is how a report is written. The zero Format is Markdown.
type Format = doc.Format

// The formats.
const (
	Markdown = doc.Markdown // tables of GitHub's dialect
	CSV      = doc.CSV      // RFC 4180: one flat table, whose first column says which section a row is of
	HTML     = doc.HTML     // one page without scripts and without anything from elsewhere
)

// ErrFormat is returned for a word or a Format that is not one of them.
var ErrFormat = doc.ErrFormat

// ParseFormat returns the format that a word of the command line names.
func ParseFormat(s string) (Format, error) { return doc.ParseFormat(s) }

// ParseTime parses a day or an instant; "" is the zero time. Of a day it returns
// the beginning, or that of the day so many days later.
func ParseTime(s string, days int) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if day, err := time.Parse(time.DateOnly, s); err == nil {
		return day.AddDate(0, 0, days), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, fmt.Errorf("%q is neither a day such as 2026-11-30 nor an instant such as 2026-11-30T12:00:00Z", s)
	}
	return t, nil
}

// Report is what was counted, ready to be written in any format.
type Report struct {
	doc doc.Document
	// Whole reports whether internal/evidence found nothing amiss.
	Whole bool
	// Probes says what probes found, where one did not hold or could not be counted; "": each
	// held, or nobody asked for them.
	Probes string
}

// Write writes the report.
func (r *Report) Write(w io.Writer, f Format) error { return r.doc.Write(w, f) }
