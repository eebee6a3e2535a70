package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/commandline"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence/conclusion"
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
		Args: commandline.SomeArguments("FILE"),
		RunE: func(cmd *cobra.Command, files []string) error {
			v := evidence.NewVerifier()
			v.Expect(files)
			readErr := evidence.Read(files, cmd.InOrStdin(), func(l evidence.Line) error { v.Add(l); return nil })
			res := v.Result()
			res.Whole = res.Whole && readErr == nil && (res.Complete || !strict)
			write := conclusion.Write
			if asJSON {
				write = conclusion.WriteJSON
			}
			if err := errors.Join(readErr, write(cmd.OutOrStdout(), &res)); err != nil {
				return failed(err)
			}
			if !res.Whole {
				return &commandline.Exit{Code: exitFailed}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	cmd.Flags().BoolVar(&strict, "strict", false, "what a kill may have cut, and what cannot be read, is an error too")
	return cmd
}
