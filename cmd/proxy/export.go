package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/ocsf"
)

// exportFlags are the flags of export.
type exportFlags struct{ format, output string }

// newExport returns the command that turns records into another schema.
func newExport() *cobra.Command {
	var f exportFlags
	cmd := &cobra.Command{
		Use:   "export --format ocsf [--output FILE] FILE...",
		Short: "Turn records into events that other products read",
		Long: `export turns records into events of the Open Cybersecurity Schema Framework
` + ocsf.Version + `, one line of JSON each: HTTP Activity (4002) and DNS Activity (4003). A FILE
of - is standard input; gzip and the forms in which log services export lines are
read as they are. What is not exported is counted on standard error: records that
are about no request, metrics, and lines that are torn.

export does not look at the chain: run verify on the same files.

Exit code 1: a file cannot be read, the output cannot be written, or there was no
record at all.`,
		Example: `  proxy export --format ocsf records.jsonl > events.jsonl
  proxy export --format ocsf --output events.jsonl records-*.gz`,
		Args: someArguments("FILE"),
		RunE: func(cmd *cobra.Command, files []string) error {
			if f.format != "ocsf" {
				return fmt.Errorf("--format: %q is not a schema; write ocsf", f.format)
			}
			if f.output == "" {
				return failed(export(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr(), files))
			}
			return failed(exportTo(cmd, f.output, files))
		},
	}
	cmd.Flags().StringVar(&f.format, "format", "", "`SCHEMA` of the events: ocsf")
	cmd.Flags().StringVar(&f.output, "output", "", "write to `FILE` instead of standard output")
	_ = cmd.MarkFlagRequired("format")
	return cmd
}

// exportTo exports to a file, which must not be one of those that are read:
// creating it would empty the evidence.
func exportTo(cmd *cobra.Command, output string, files []string) error {
	if there, err := os.Stat(output); err == nil {
		for _, file := range files {
			if in, err := os.Stat(file); err == nil && os.SameFile(there, in) {
				return fmt.Errorf("--output: %s is one of the files to read", output)
			}
		}
	}
	out, err := os.OpenFile(output, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	err = export(cmd.Context(), cmd.InOrStdin(), out, cmd.ErrOrStderr(), files)
	return errors.Join(err, out.Close())
}

// export reads the files, writes the events to out, and says to told how many.
func export(ctx context.Context, in io.Reader, out, told io.Writer, files []string) error {
	exporter := ocsf.New(out)
	err := evidence.Read(files, in, func(l evidence.Line) error {
		return errors.Join(ctx.Err(), exporter.Add(l.Raw))
	})
	// What came before an error is in the output too.
	if err := errors.Join(err, exporter.Flush()); err != nil {
		return err
	}
	counts := exporter.Counts()
	fmt.Fprintln(told, exported(&counts))
	if counts.Records() == 0 {
		return errors.New("no records were found")
	}
	return nil
}

// exported says in one line what became of the lines.
func exported(c *ocsf.Counts) string {
	text := fmt.Sprintf("exported: HTTP Activity %d, DNS Activity %d", c.HTTP, c.DNS)
	var not []string
	for _, event := range slices.Sorted(maps.Keys(c.Skipped)) {
		not = append(not, fmt.Sprintf("%s %d", event, c.Skipped[event]))
	}
	if c.OtherJSON > 0 {
		not = append(not, fmt.Sprintf("lines that are no records %d", c.OtherJSON))
	}
	if c.Partial > 0 {
		not = append(not, fmt.Sprintf("broken lines %d", c.Partial))
	}
	if len(not) > 0 {
		text += "; not exported: " + strings.Join(not, ", ")
	}
	return text
}
