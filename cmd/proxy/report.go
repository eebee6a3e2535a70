package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/commandline"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/evidence"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/schedule"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/report"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/report/readiness"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/report/rulelist"
)

// reportFlags are the flags of report.
type reportFlags struct {
	from, to, config, schedules, format, output string
	probes                                      []string
}

// newReport returns the command that turns records into what an auditor asks for.
func newReport() *cobra.Command {
	var f reportFlags
	cmd := &cobra.Command{
		Use:   "report [--from TIME] [--to TIME] [--config FILE [--schedules FILE]] [--probes FILE] [--format markdown|csv|html] [--output FILE] FILE...",
		Short: "Say what records show of a period, for auditors",
		Long: `report reads records as the program writes them, also compressed and as
CloudWatch and S3 hold them; "-" is standard input. It says who reached what by
which rule, what was refused and why, which policy was in force, whether the
records are whole, and what that shows of some well-known controls.

TIME is a day, 2026-11-30, or an instant, 2026-11-30T12:00:00Z. --from begins
there; --to ends behind that day, or before that instant. With --config the
report lists the rules of that policy file that were never used, and says of its
functions in report mode whether their lists may be enforced yet, as learn --ready
does; --schedules is the file with their schedules. With --probes, which can be given
several times, it counts what posture probe has found (--format json): how often the
fence was tried, and how often it held. What was changed or cannot be read is named,
and counts as no result.`,
		Example: `  proxy report --from 2026-11-01 --to 2026-11-30 --format html --output november.html records.jsonl
  proxy report --config egress.yaml records-*.gz`,
		Args: commandline.SomeArguments("FILE"),
		RunE: func(cmd *cobra.Command, files []string) error {
			o, format, err := f.options()
			if err != nil {
				return err
			}
			return failed(f.report(cmd, o, format, files))
		},
	}
	cmd.Flags().StringVar(&f.from, "from", "", "count records from this `TIME`")
	cmd.Flags().StringVar(&f.to, "to", "", "count records up to this `TIME`")
	cmd.Flags().StringVar(&f.config, "config", "", "policy `FILE` in which to look for rules that were never used")
	cmd.Flags().StringVar(&f.schedules, "schedules", "", "`FILE` with a function and its schedule in each line")
	cmd.Flags().StringArrayVar(&f.probes, "probes", nil, "`FILE` of results of posture probe to count; can be given several times")
	cmd.Flags().StringVar(&f.format, "format", "markdown", "`FORMAT` of the report: markdown, csv or html")
	cmd.Flags().StringVar(&f.output, "output", "", "write to this `FILE` instead of standard output")
	return cmd
}

// options parses the flags.
func (f *reportFlags) options() (o report.Options, format report.Format, err error) {
	if o.From, err = report.ParseTime(f.from, 0); err != nil {
		return o, format, fmt.Errorf("--from: %w", err)
	}
	if o.To, err = report.ParseTime(f.to, 1); err != nil {
		return o, format, fmt.Errorf("--to: %w", err)
	}
	if f.schedules != "" && f.config == "" {
		return o, format, errors.New("--schedules is there, and --config is not, whose functions they are of")
	}
	if !o.From.IsZero() && !o.To.IsZero() && !o.From.Before(o.To) {
		return o, format, errors.New("--from is not before --to")
	}
	if format, err = report.ParseFormat(f.format); err != nil {
		return o, format, fmt.Errorf("--format: %w", err)
	}
	return o, format, nil
}

// report reads the files and writes the report.
func (f *reportFlags) report(cmd *cobra.Command, o report.Options, format report.Format, files []string) error {
	if err := f.sparesInputs(files); err != nil {
		return err
	}
	o.Sources, o.Generated, o.Probes = evidence.InTimeOrder(files), time.Now(), f.probes != nil
	ready, err := f.watch(&o)
	if err != nil {
		return err
	}
	b := report.New(o)
	if err := evidence.Read(o.Sources, cmd.InOrStdin(), func(l evidence.Line) error {
		return errors.Join(b.Add(l), ready.Add(l))
	}); err != nil {
		return err
	}
	if err := evidence.Read(f.probes, cmd.InOrStdin(), b.AddProbe); err != nil {
		return err
	}
	r := b.Report()
	if r.Probes != "" {
		fmt.Fprintln(cmd.ErrOrStderr(), "not every probe shows a fence that holds; the report says which:", r.Probes)
	}
	if !r.Whole {
		fmt.Fprintln(cmd.ErrOrStderr(), "the records are not whole; the report says where")
	}
	return f.write(cmd.OutOrStdout(), r, format)
}

// watch has the report know the policy file, where there is one, and returns what says of
// its functions whether they may be enforced.
func (f *reportFlags) watch(o *report.Options) (*readiness.Watch, error) {
	if f.config == "" {
		return nil, nil
	}
	cfg, err := config.Load(f.config)
	if err != nil {
		return nil, err
	}
	var list schedule.List
	if f.schedules != "" {
		if list, err = schedule.ReadFile(f.schedules); err != nil {
			return nil, err
		}
	}
	w := readiness.New(readiness.Options{Config: cfg, File: f.config, Schedules: list, Sources: o.Sources, From: o.From, To: o.To, Now: o.Generated})
	o.Policy, o.Ready = rulelist.Of(f.config, cfg), w.Ready
	return w, nil
}

// sparesInputs refuses to write over what is read: it is the evidence.
func (f *reportFlags) sparesInputs(files []string) error {
	if f.output == "" {
		return nil
	}
	target, err := os.Stat(f.output)
	if err != nil {
		return nil // a new file, or one that will be said to be out of reach
	}
	for _, file := range append(slices.Concat(files, f.probes), f.config, f.schedules) {
		if in, err := os.Stat(file); err == nil && os.SameFile(in, target) {
			return fmt.Errorf("--output %s is read too, and would be written over", f.output)
		}
	}
	return nil
}

// write writes to standard output or to the file.
func (f *reportFlags) write(stdout io.Writer, r *report.Report, format report.Format) error {
	if f.output == "" {
		return r.Write(stdout, format)
	}
	out, err := os.OpenFile(f.output, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	return errors.Join(r.Write(out, format), out.Close())
}
