package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/commandline"
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
		Args: commandline.SomeArguments("FILE"),
		RunE: func(cmd *cobra.Command, files []string) error {
			if f.format != "ocsf" {
				return fmt.Errorf("--format: %q is not a schema; write ocsf", f.format)
			}
			if f.output == "" {
				return failed(export(cmd, cmd.OutOrStdout(), files))
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
	err = export(cmd, out, files)
	return errors.Join(err, out.Close())
}

// export reads the files, writes the events to out, and says on standard error how many.
func export(cmd *cobra.Command, out io.Writer, files []string) error {
	counts, err := ocsf.Export(cmd.Context(), files, cmd.InOrStdin(), out)
	if err != nil {
		return err
	}
	fmt.Fprintln(cmd.ErrOrStderr(), counts)
	if counts.Records() == 0 {
		return errors.New("no records were found")
	}
	return nil
}
