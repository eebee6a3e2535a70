package policies

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/commandline"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policyfile"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/replay"
)

// newReplay returns the command that says what a policy would do to past traffic.
func newReplay() *cobra.Command {
	var file, format string
	cmd := &cobra.Command{
		Use:   "replay --config NEW [--format text|json] RECORDS...",
		Short: "Say what of past traffic a policy would refuse, or newly allow",
		Long: `replay asks a policy about each target of past records, as of now: what was let
through then and would be refused, and what the policy refused then and would be let
through. The addresses that were connected to count, and whether a tunnel was TLS to
its host, as far as the records say so. Identities, limits and lookups are not replayed.

RECORDS are files as verify reads them; "-" is standard input. Records that were
changed or stand twice are an error. What is missing of them is said.

Exit code 0: nothing would be refused; 3: something would.`,
		Example: `  proxy replay --config egress.new.yaml records.jsonl
  proxy replay --config egress.new.yaml --format json records-*.gz`,
		Args: commandline.SomeArguments("RECORDS"),
		RunE: func(cmd *cobra.Command, files []string) error {
			if err := commandline.OneOf("format", format, "json", "text"); err != nil {
				return err
			}
			cfg, err := policyfile.Load(cmd.Context(), file, cmd.InOrStdin())
			if err != nil {
				return commandline.Failed(err)
			}
			t, err := readTraffic(cmd, files)
			if err != nil {
				return commandline.Failed(err)
			}
			a, err := replay.Run(replay.Query{Config: cfg, File: commandline.NameOf(file), Traffic: t, Now: time.Now()})
			if err != nil {
				return commandline.Failed(err)
			}
			write := a.Write
			if format == "json" {
				write = a.WriteJSON
			}
			if err := write(cmd.OutOrStdout()); err != nil {
				return commandline.Failed(err)
			}
			if len(a.Refuses) > 0 {
				return &commandline.Exit{Code: commandline.ExitRefused}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "policy `FILE`, s3://bucket/key or https://host/path; - is standard input")
	cmd.Flags().StringVar(&format, "format", "text", "`FORMAT` of the answer: text or json")
	_ = cmd.MarkFlagRequired("config")
	return cmd
}
