package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/commandline"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/daemon"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/emf"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/logqueue"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/printable"
)

// shortest is the least time between two polls, or between two lots of metrics.
const shortest = time.Second

// lastWord is how long a program that failed waits for its reason to be written.
const lastWord = 500 * time.Millisecond

// newRun returns the command that serves.
func newRun() *cobra.Command {
	var o daemon.Options
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Serve; without --config an embedded quick-start policy on loopback",
		Example: `  proxy run
  proxy run --config egress.yaml
  proxy run --config s3://policies/egress.yaml --config-poll 30s --emf 60s`,
		Args: commandline.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkRun(&o, cmd.Flags()); err != nil {
				return failed(err)
			}
			b := build()
			o.Version, o.Commit, o.Log = b.Version, b.Commit, cmd.ErrOrStderr()
			err := daemon.Run(cmd.Context(), o)
			if err == nil {
				return nil
			}
			sayLast(cmd.ErrOrStderr(), err)
			return &commandline.Exit{Code: exitFailed}
		},
	}
	cmd.Flags().StringVar(&o.Config, "config", "", "policy `FILE`, s3://bucket/key, s3://bucket/prefix/ (by its manifest.json) or https://host/path")
	cmd.Flags().DurationVar(&o.Poll, "config-poll", 10*time.Second, "how often to look at a policy that is not a file")
	cmd.Flags().DurationVar(&o.EMF, "emf", 0, "how often to print CloudWatch metrics (EMF) on standard output; 0: never")
	cmd.Flags().StringVar(&o.Deployment, "emf-deployment", "", "a dimension Deployment=`NAME` on every CloudWatch metric; one for each deployment of an account and region")
	cmd.Flags().BoolVar(&o.Functions, "emf-functions", false, "print CloudWatch metrics by function too; each function is three metrics and more, which cost")
	cmd.Flags().BoolVar(&o.Profiles, "pprof", false, "serve /debug/pprof on the admin listener, which must be on loopback")
	return cmd
}

// sayLast says what has ended the program: a line of the log for each line of the error, and
// at a terminal the text alone. A standard error that nobody reads must not keep the process.
func sayLast(to io.Writer, err error) {
	last := logqueue.New(to, logqueue.Options{})
	defer last.Close(lastWord)
	if file, ok := to.(*os.File); ok && commandline.IsTerminal(file) {
		fmt.Fprintln(last, err)
		return
	}
	log := slog.New(slog.NewJSONHandler(printable.Writer{W: last}, nil))
	for line := range strings.Lines(err.Error()) {
		log.Error("the program has ended", slog.String("error", strings.TrimSpace(line)))
	}
}

// checkRun says what no command line may say.
func checkRun(o *daemon.Options, flags *pflag.FlagSet) error {
	switch {
	case o.Config == "" && flags.Changed("config"):
		// A variable that is not set must not mean the quick-start policy.
		return errors.New("--config: the name of the file is empty")
	case o.Poll < shortest:
		return fmt.Errorf("--config-poll: %v is less than %v", o.Poll, shortest)
	case o.EMF != 0 && o.EMF < shortest:
		return fmt.Errorf("--emf: %v is less than %v; 0 prints none", o.EMF, shortest)
	case flags.Changed("emf-deployment") && o.EMF == 0:
		return errors.New("--emf-deployment is there, and --emf is not, which prints the metrics")
	case o.Functions && o.EMF == 0:
		return errors.New("--emf-functions is there, and --emf is not, which prints the metrics")
	case flags.Changed("emf-deployment"):
		// Metrics under another name than was meant would leave alarms without any.
		if err := emf.CheckDeployment(o.Deployment); err != nil {
			return fmt.Errorf("--emf-deployment: %w", err)
		}
		return nil
	default:
		return nil
	}
}
