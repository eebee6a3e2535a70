package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
)

// newVerify returns the command that says whether records are whole.
func newVerify() *cobra.Command {
	var asJSON, strict bool
	cmd := &cobra.Command{
		Use:   "verify [--json] [--strict] FILE...",
		Short: "Say whether records are whole: nothing missing, changed, moved or repeated",
		Long: `verify reads records, of any number of boots and from files in any order, and
follows the numbers, the hashes and the totals of each boot. "-" is standard
input. Files may be compressed with gzip and packed as CloudWatch Logs, Firehose
or FireLens do.

A boot without a record of its end was killed, or still runs: what a kill may
have cut is told, and is an error with --strict alone. The records cannot show
what was removed behind the last one that is there, nor that someone has written
a boot anew to its end: keep the last hashes elsewhere.

Exit code 0: whole; 1: not whole, or a file cannot be read.`,
		Example: `  proxy verify records.jsonl
  aws s3 cp s3://logs/records.gz - | proxy verify --strict -`,
		Args: someArguments("FILE"),
		RunE: func(cmd *cobra.Command, files []string) error {
			v := evidence.NewVerifier()
			v.Expect(files)
			readErr := evidence.Read(files, cmd.InOrStdin(), func(l evidence.Line) error { v.Add(l); return nil })
			res := v.Result()
			res.Whole = res.Whole && readErr == nil && (res.Complete || !strict)
			print := printVerification
			if asJSON {
				print = printJSON
			}
			if err := errors.Join(readErr, print(cmd.OutOrStdout(), &res)); err != nil {
				return failed(err)
			}
			if !res.Whole {
				return &exitError{code: exitFailed}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	cmd.Flags().BoolVar(&strict, "strict", false, "what a kill may have cut, and what cannot be read, is an error too")
	return cmd
}

// printJSON prints the result as it is; whole goes with the exit code.
func printJSON(out io.Writer, res *evidence.Result) error {
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	return enc.Encode(res)
}

// printVerification prints a block for each boot and, last, whether all is whole.
func printVerification(out io.Writer, res *evidence.Result) error {
	var b strings.Builder
	for i := range res.Processes {
		printProcess(&b, &res.Processes[i])
	}
	for _, f := range res.Files {
		if f.OtherJSON > 0 {
			fmt.Fprintf(&b, "%s: %d lines are JSON and no records\n", printable(f.Name), f.OtherJSON)
		}
		if f.Unreadable > 0 {
			fmt.Fprintf(&b, "%s: %d lines cannot be read, the first is line %d\n", printable(f.Name), f.Unreadable, f.FirstUnreadable)
		}
	}
	for _, f := range res.Findings {
		printFinding(&b, f)
	}
	fmt.Fprintln(&b, conclusion(res))
	_, err := io.WriteString(out, b.String())
	return err
}

// printProcess prints the block of one process.
func printProcess(b *strings.Builder, process *evidence.Process) {
	word := "whole"
	if len(process.Findings) > 0 {
		word = "NOT whole"
	}
	fmt.Fprintf(b, "boot %s: %s\n", printable(process.Name), word)
	if process.Records > 0 {
		fmt.Fprintf(b, "  %s to %s\n", instant(process.From), instant(process.To))
		fmt.Fprintf(b, "  %d records, seq %d to %d, totals compared %d times\n", process.Records, process.First, process.Last, process.Totals)
		fmt.Fprintf(b, "  last hash %s\n", process.LastHash)
	}
	for _, pol := range process.Policies {
		fmt.Fprintf(b, "  policy %s from %s to %s, since seq %d\n", printable(pol.Policy), instant(pol.From), instant(pol.To), pol.Seq)
	}
	if t := process.Tail; t == nil {
		fmt.Fprintln(b, "  ended: it stopped orderly")
	} else {
		fmt.Fprintf(b, "  no record of its end: what a SIGKILL may have cut is after seq %d (torn lines: %d)\n", t.After, t.Partial)
	}
	for _, f := range process.Findings {
		printFinding(b, f)
	}
	if process.More > 0 {
		fmt.Fprintf(b, "  and %d findings more\n", process.More)
	}
	b.WriteByte('\n')
}

// printFinding prints one finding.
func printFinding(b *strings.Builder, f evidence.Finding) {
	fmt.Fprintf(b, "  %s:", f.Kind)
	switch {
	case f.From == 0:
	case f.From == f.To:
		fmt.Fprintf(b, " seq %d:", f.From)
	default:
		fmt.Fprintf(b, " seq %d to %d:", f.From, f.To)
	}
	if f.File != "" {
		fmt.Fprintf(b, " %s", printable(f.File))
		if f.Line > 0 {
			fmt.Fprintf(b, ":%d", f.Line)
		}
		b.WriteByte(':')
	}
	fmt.Fprintf(b, " %s\n", f.Text)
}

// conclusion is the last line.
func conclusion(res *evidence.Result) string {
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

// printable returns text that comes from outside, in quotes unless it prints as it is.
func printable(s string) string {
	if q := strconv.Quote(s); q[1:len(q)-1] != s || s == "" {
		return q
	}
	return s
}
