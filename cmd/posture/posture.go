package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/buildinfo"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/emf"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/acceptance"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/checks"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/entries"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/finding"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/output"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/snapshot"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/summary"
)

// flags are those of posture itself.
type flags struct {
	from, save             string
	roles, regions         []string
	policy                 string
	buckets, gates, layers []string
	minFree                int
	accept, failOn         string
	format, output         string
	archive, deployment    string
}

// formats are the words of --format.
func formats() []string { return append(output.Formats(), formatEMF) }

// newPosture returns the command itself.
func newPosture() *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use:   "posture",
		Short: "Say what of AWS accounts is not behind the gate",
		Long:  longHelp,
		Example: `  posture --regions eu-west-1 --policy egress.yaml
  posture --assume-role arn:aws:iam::111122223333:role/posture --save snapshot.json
  posture --from snapshot.json --accept accepted.yaml --fail-on high
  posture --from snapshot.json --format html --output posture.html`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			return f.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	to := cmd.Flags()
	to.StringVar(&f.from, "from", "", "judge the snapshot in `FILE`, and ask AWS nothing")
	to.StringVar(&f.save, "save", "", "write the snapshot to `FILE` too")
	to.StringArrayVar(&f.roles, "assume-role", nil, "read the account of the role `ARN`; can be given several times")
	to.StringSliceVar(&f.regions, "regions", nil, "read these `REGIONS`, with commas between them (default: all that are enabled)")
	to.StringVar(&f.policy, "policy", "", "compare with the gate's policy in `FILE`, or at s3://BUCKET/KEY, s3://BUCKET/PREFIX/ or https://…")
	to.StringArrayVar(&f.buckets, "bucket", nil, "`NAME` of a bucket that the gate reads its policy from; can be given several times")
	to.StringArrayVar(&f.gates, "gate", nil, "`HOST` of the gate in proxy variables; can be given several times (default: any)")
	to.StringArrayVar(&f.layers, "layer", nil, "`PART` of the ARN of a layer that brings the gate's extension; can be given several times")
	to.IntVar(&f.minFree, "min-free", checks.DefaultMinFree, "how many addresses (`N`) a subnet should have free")
	to.StringVar(&f.accept, "accept", "", "`FILE`, or s3://BUCKET/KEY, of what is accepted, by whom, why and until when")
	to.StringVar(&f.failOn, "fail-on", "", "exit with 3 on findings of this `SEVERITY` or worse: high, medium, low or info")
	to.StringVar(&f.format, "format", string(output.Text), "`FORMAT` of the report: "+strings.Join(formats(), ", "))
	to.StringVar(&f.output, "output", "", "write the report to `FILE` (default: standard output)")
	to.StringVar(&f.archive, "archive", "", "keep the findings of each run in `FOLDER`, or s3://BUCKET/PREFIX, and say which are new")
	to.StringVar(&f.deployment, "deployment", "", "`NAME` of the dimension Deployment of the metrics (default: none)")
	return cmd
}

// check says what is wrong with the flags.
func (f *flags) check() error {
	severity := finding.High
	switch {
	case !slices.Contains(formats(), f.format):
		return fmt.Errorf("--format: %q is not known; write one of %s", f.format, strings.Join(formats(), ", "))
	case f.deployment != "" && emf.CheckDeployment(f.deployment) != nil:
		return fmt.Errorf("--deployment: %w", emf.CheckDeployment(f.deployment))
	case f.failOn != "" && severity.UnmarshalText([]byte(f.failOn)) != nil:
		return fmt.Errorf("--fail-on: %q is not known; write high, medium, low or info", f.failOn)
	case f.from != "" && (f.roles != nil || f.regions != nil || f.buckets != nil || f.save != ""):
		return errors.New("--from reads nothing of AWS; leave out --assume-role, --regions, --bucket and --save")
	case f.minFree < 1:
		return errors.New("--min-free: write 1 or more")
	}
	return nil
}

// run reads, judges and writes.
func (f *flags) run(ctx context.Context, stdout, stderr io.Writer) error {
	opts, lines, err := f.settings(ctx)
	if err != nil {
		return failed(err)
	}
	set, err := f.snapshot(ctx, stderr)
	if err != nil {
		return failed(err)
	}
	found := acceptance.Apply(lines, checks.All(set, opts), time.Now())
	counted := summary.Of(set, found)
	report := &output.Report{Made: set.Made, Version: buildinfo.Read(version).Version, Headline: counted.Headline(), Summary: counted, Findings: found}
	if err := f.deliver(ctx, stdout, report); err != nil {
		return failed(err)
	}
	return f.verdict(found)
}

// settings reads the files that are no snapshot.
func (f *flags) settings(ctx context.Context) (*checks.Options, []acceptance.Line, error) {
	opts := &checks.Options{Proxies: f.gates, Layers: f.layers, MinFree: f.minFree}
	if f.policy != "" {
		cfg, err := f.readPolicy(ctx)
		if err != nil {
			return nil, nil, err
		}
		var list []identity.Entry
		for _, fn := range cfg.Functions {
			list = append(list, fn.Identify)
		}
		opts.Entries = entries.New(list)
	}
	if f.accept == "" {
		return opts, nil, nil
	}
	data, err := readFile(ctx, f.accept)
	if err != nil {
		return nil, nil, fmt.Errorf("reading what is accepted: %w", err)
	}
	lines, err := acceptance.Parse(f.accept, data)
	return opts, lines, err
}

// readPolicy reads the gate's policy, wherever it is.
func (f *flags) readPolicy(ctx context.Context) (*config.Config, error) {
	if strings.Contains(f.policy, "://") {
		return readRemote(ctx, f.policy)
	}
	return config.Load(f.policy)
}

// snapshot reads the accounts, or the file of --from.
func (f *flags) snapshot(ctx context.Context, stderr io.Writer) (*snapshot.Set, error) {
	if f.from != "" {
		file, err := os.Open(f.from)
		if err != nil {
			return nil, fmt.Errorf("reading the snapshot: %w", err)
		}
		defer func() { _ = file.Close() }() // it was only read
		return snapshot.Read(file)
	}
	set, err := f.read(ctx, stderr)
	if err != nil || f.save == "" {
		return set, err
	}
	return set, save(f.save, set.Write)
}

// write writes the report to where it is wanted. Fresh is what is new, nil where nobody has
// compared.
func (f *flags) write(stdout io.Writer, report *output.Report, fresh *[]string) error {
	do := func(w io.Writer) error { return output.Write(w, report, output.Format(f.format)) }
	if f.format == formatEMF {
		do = func(w io.Writer) error { return f.writeMetrics(w, report, fresh) }
	}
	if f.output == "" {
		return do(stdout)
	}
	return save(f.output, do)
}

// save writes a file for its owner alone: what is in it is a map of the account.
func save(name string, write func(io.Writer) error) error {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(write(file), file.Close())
}

// verdict is errFound where something is as bad as --fail-on says.
func (f *flags) verdict(found []finding.Finding) error {
	if f.failOn == "" {
		return nil
	}
	worst := finding.High
	if err := worst.UnmarshalText([]byte(f.failOn)); err != nil {
		return err // check has seen to it
	}
	if slices.ContainsFunc(found, func(g finding.Finding) bool { return g.Accepted == "" && g.Severity <= worst }) {
		return errFound
	}
	return nil
}
