// Package conclusion writes what a verifier has found, for people and for programs.
//
// What it does: Write says it in lines, a block for each boot, and whether all is whole
// in the last one; WriteJSON writes one document. Text that came out of records or from
// names of files is quoted where a terminal would not print it as it is.
//
// What it does not do: it judges nothing; what is whole says evidence.Result.
//
//	res := verifier.Result()
//	err := conclusion.Write(os.Stdout, &res)
package conclusion

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/printable"
)

// WriteJSON writes the result as one JSON document, all of it and as it is; what a
// terminal would not print is escaped.
func WriteJSON(out io.Writer, res *evidence.Result) error {
	enc := json.NewEncoder(printable.Writer{W: out})
	enc.SetIndent("", "  ")
	return enc.Encode(res)
}

// Write writes a block for each boot and, last, whether all is whole.
func Write(out io.Writer, res *evidence.Result) error {
	var b strings.Builder
	for i := range res.Processes {
		writeProcess(&b, &res.Processes[i])
	}
	for _, f := range res.Files {
		if f.OtherJSON > 0 {
			fmt.Fprintf(&b, "%s: %d lines are JSON and no records\n", quoted(f.Name), f.OtherJSON)
		}
		if f.Unreadable > 0 {
			fmt.Fprintf(&b, "%s: %d lines cannot be read, the first is line %d\n", quoted(f.Name), f.Unreadable, f.FirstUnreadable)
		}
	}
	for _, f := range res.Findings {
		writeFinding(&b, f)
	}
	fmt.Fprintln(&b, lastLine(res))
	_, err := io.WriteString(out, b.String())
	return err
}

// writeProcess writes the block of one process.
func writeProcess(b *strings.Builder, process *evidence.Process) {
	word := "whole"
	if len(process.Findings) > 0 {
		word = "NOT whole"
	}
	fmt.Fprintf(b, "boot %s: %s\n", quoted(process.Name), word)
	if process.Records > 0 {
		fmt.Fprintf(b, "  %s to %s\n", instant(process.From), instant(process.To))
		fmt.Fprintf(b, "  %d records, seq %d to %d, totals compared %d times\n", process.Records, process.First, process.Last, process.Totals)
		fmt.Fprintf(b, "  last hash %s\n", process.LastHash)
	}
	for _, pol := range process.Policies {
		fmt.Fprintf(b, "  policy %s from %s to %s, since seq %d\n", quoted(pol.Policy), instant(pol.From), instant(pol.To), pol.Seq)
	}
	if t := process.Tail; t == nil {
		fmt.Fprintln(b, "  ended: it stopped orderly")
	} else {
		fmt.Fprintf(b, "  no record of its end: what a SIGKILL may have cut is after seq %d (torn lines: %d)\n", t.After, t.Partial)
	}
	for _, f := range process.Findings {
		writeFinding(b, f)
	}
	if process.More > 0 {
		fmt.Fprintf(b, "  and %d findings more\n", process.More)
	}
	b.WriteByte('\n')
}

// writeFinding writes one finding.
func writeFinding(b *strings.Builder, f evidence.Finding) {
	fmt.Fprintf(b, "  %s:", f.Kind)
	switch {
	case f.From == 0:
	case f.From == f.To:
		fmt.Fprintf(b, " seq %d:", f.From)
	default:
		fmt.Fprintf(b, " seq %d to %d:", f.From, f.To)
	}
	if f.File != "" {
		fmt.Fprintf(b, " %s", quoted(f.File))
		if f.Line > 0 {
			fmt.Fprintf(b, ":%d", f.Line)
		}
		b.WriteByte(':')
	}
	fmt.Fprintf(b, " %s\n", f.Text)
}

// lastLine says whether all is whole.
func lastLine(res *evidence.Result) string {
	if res.Whole {
		return fmt.Sprintf("whole: %d records of %d boots", res.Records, len(res.Processes))
	}
	findings, bad, open := uint64(len(res.Findings)), 0, 0
	for i := range res.Processes {
		p := &res.Processes[i]
		findings += uint64(len(p.Findings)) + p.More
		if len(p.Findings) > 0 {
			bad++
		}
		if p.Tail != nil {
			open++
		}
	}
	return fmt.Sprintf("NOT whole: %d records of %d boots; %d findings, %d boots with some, %d boots without an end, %d lines that cannot be read",
		res.Records, len(res.Processes), findings, bad, open, res.Unreadable)
}

// instant prints a time; one that is not known is a dash.
func instant(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// quoted returns text that comes from outside, in quotes unless it prints as it is.
func quoted(s string) string {
	if q := strconv.Quote(s); q[1:len(q)-1] != s || s == "" {
		return q
	}
	return s
}
