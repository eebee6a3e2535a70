package policies

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/commandline"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policyfile"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/learn"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/ready"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/schedule"
)

// learnFlags are the flags of learn.
type learnFlags struct {
	config, format, schedules string
	write, ready              bool
}

// newLearn returns the command that proposes rules for what report mode has let through.
func newLearn() *cobra.Command {
	var f learnFlags
	cmd := &cobra.Command{
		Use:   "learn --config FILE [--write | --ready [--schedules FILE]] [--format text|json] RECORDS...",
		Short: "Propose rules for what report mode has let through",
		Long: `learn reads records and proposes a rule for each host that report mode has let
through and that the rules of the file do not have: with the ports that were used, the
number of requests, and the days on which there were some. It never proposes a
wildcard. What a rule should not be made of is a doubt: more than 50 names below one
parent, hosts that are denied, rules that have expired, addresses that are not public.

RECORDS are files as verify reads them; "-" is standard input. Records that were
changed or stand twice are an error. What is missing of them is said.

With --write the rules are added to the file that has the function, which may be one
that FILE includes, behind those that are there. Each such file gets the layout of fmt,
and is replaced in one step; what it may not do it does not get, and then none changes.

With --ready it says instead of each function in report mode whether its list may be
enforced yet, or why not: the records have gaps or are of less than a week, a name was
new within the last three days, hosts have no rule yet, a schedule has not fired. A
line of --schedules is the name of a function and cron(...) or rate(...), as Amazon
EventBridge writes them, in UTC.

Exit code 0: done, whatever is proposed; 1: a file is bad or cannot be read, or the
records are not as they were written; 3: with --ready, a function is not.`,
		Example: `  proxy learn --config egress.yaml records.jsonl
  proxy learn --config egress.yaml --write records-*.gz
  proxy learn --config egress.yaml --ready --schedules schedules.txt records-*.gz`,
		Args: commandline.SomeArguments("RECORDS"),
		RunE: func(cmd *cobra.Command, files []string) error {
			if err := f.check(); err != nil {
				return err
			}
			return f.learn(cmd, files)
		},
	}
	cmd.Flags().StringVar(&f.config, "config", "", "policy `FILE`, s3://bucket/key or https://host/path; - is standard input")
	cmd.Flags().StringVar(&f.format, "format", "text", "`FORMAT` of the rules: text, which is a part of a policy file, or json")
	cmd.Flags().BoolVar(&f.write, "write", false, "add the rules to the file")
	cmd.Flags().BoolVar(&f.ready, "ready", false, "say of each function whether its list may be enforced yet")
	cmd.Flags().StringVar(&f.schedules, "schedules", "", "`FILE` with a function and its schedule in each line")
	_ = cmd.MarkFlagRequired("config")
	return cmd
}

// check says what no command line may say.
func (f *learnFlags) check() error {
	switch {
	case f.write && f.ready:
		return errors.New("--write and --ready exclude each other; add the rules first")
	case f.write && f.config == "-":
		return errors.New("--write needs a file; standard input cannot be written")
	case f.schedules != "" && !f.ready:
		return errors.New("--schedules is there, and --ready is not, which asks for them")
	default:
		return commandline.OneOf("format", f.format, "json", "text")
	}
}

// learn reads the records, and prints or adds the rules, or says who is ready.
func (f *learnFlags) learn(cmd *cobra.Command, files []string) error {
	cfg, err := policyfile.Load(cmd.Context(), f.config, cmd.InOrStdin())
	if err != nil {
		return commandline.Failed(err)
	}
	t, err := readTraffic(cmd, files)
	if err != nil {
		return commandline.Failed(err)
	}
	p, err := learn.Propose(learn.Query{Config: cfg, File: commandline.NameOf(f.config), Traffic: t, Now: time.Now()})
	if err != nil {
		return commandline.Failed(err)
	}
	if f.ready {
		return f.judge(cmd, ready.Query{Config: cfg, Traffic: t, Proposal: p})
	}
	if err := f.written(cmd.OutOrStdout(), p); err != nil || !f.write {
		return commandline.Failed(err)
	}
	added, err := p.AddTo(f.config)
	for _, one := range added {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s: %d rules are added\n", one.File, one.Rules)
	}
	return commandline.Failed(err)
}

// judge says of each function in report mode whether it is ready.
func (f *learnFlags) judge(cmd *cobra.Command, q ready.Query) error {
	if f.schedules != "" {
		var err error
		if q.Schedules, err = schedule.ReadFile(f.schedules); err != nil {
			return commandline.Failed(err)
		}
	}
	a := ready.Judge(q)
	if err := f.written(cmd.OutOrStdout(), a); err != nil {
		return commandline.Failed(err)
	}
	if !a.Ready() {
		return &commandline.Exit{Code: commandline.ExitRefused}
	}
	return nil
}

// written writes an answer in the format that was asked for.
func (f *learnFlags) written(w io.Writer, answer interface {
	Write(io.Writer) error
	WriteJSON(io.Writer) error
}) error {
	if f.format == "json" {
		return answer.WriteJSON(w)
	}
	return answer.Write(w)
}
