package policies

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/commandline"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/daemon"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/learn"
)

// learnFlags are the flags of learn.
type learnFlags struct {
	config, format string
	write          bool
}

// newLearn returns the command that proposes rules for what report mode has let through.
func newLearn() *cobra.Command {
	var f learnFlags
	cmd := &cobra.Command{
		Use:   "learn --config FILE [--write] [--format text|json] RECORDS...",
		Short: "Propose rules for what report mode has let through",
		Long: `learn reads records and proposes a rule for each host that report mode has let
through and that the rules of the file do not have: with the ports that were used, the
number of requests, and the days on which there were some. It never proposes a
wildcard. What a rule should not be made of is a doubt: more than 50 names below one
parent, hosts that are denied, rules that have expired, addresses that are not public.

RECORDS are files as verify reads them; "-" is standard input. Records that were
changed or stand twice are an error. What is missing of them is said.

With --write the rules are added to the file, behind those of their function. The
file gets the layout of fmt, and is replaced in one step.

Exit code 0: done, whatever is proposed; 1: a file is bad or cannot be read, or the
records are not as they were written.`,
		Example: `  proxy learn --config egress.yaml records.jsonl
  proxy learn --config egress.yaml --write records-*.gz`,
		Args: commandline.SomeArguments("RECORDS"),
		RunE: func(cmd *cobra.Command, files []string) error {
			if err := commandline.OneOf("format", f.format, "json", "text"); err != nil {
				return err
			}
			if f.write && f.config == "-" {
				return fmt.Errorf("--write needs a file; standard input cannot be written")
			}
			return commandline.Failed(f.learn(cmd, files))
		},
	}
	cmd.Flags().StringVar(&f.config, "config", "", "policy `FILE`, s3://bucket/key or https://host/path; - is standard input")
	cmd.Flags().StringVar(&f.format, "format", "text", "`FORMAT` of the rules: text, which is a part of a policy file, or json")
	cmd.Flags().BoolVar(&f.write, "write", false, "add the rules to the file")
	_ = cmd.MarkFlagRequired("config")
	return cmd
}

// learn reads the records, and prints or adds the rules.
func (f *learnFlags) learn(cmd *cobra.Command, files []string) error {
	cfg, err := daemon.LoadConfig(cmd.Context(), f.config, cmd.InOrStdin())
	if err != nil {
		return err
	}
	t, err := readTraffic(cmd, files)
	if err != nil {
		return err
	}
	p, err := learn.Propose(learn.Query{Config: cfg, File: commandline.NameOf(f.config), Traffic: t, Now: time.Now()})
	if err != nil {
		return err
	}
	write := p.Write
	if f.format == "json" {
		write = p.WriteJSON
	}
	if err := write(cmd.OutOrStdout()); err != nil || !f.write {
		return err
	}
	added, err := p.AddTo(f.config)
	if err == nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s: %d rules are added\n", f.config, added)
	}
	return err
}
