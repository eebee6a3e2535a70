package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/daemon"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/lint"
)

// newCheck returns the command that reads files as run would.
func newCheck() *cobra.Command {
	var lints string
	cmd := &cobra.Command{
		Use:   "check [--lint[=fail]] FILE...",
		Short: "Say every error of policy files, each with its line and its cure",
		Long: `check reads policies as run would, and says every error of each, with its line and
its cure. A FILE is a path, s3://bucket/key, https://host/path, or "-", which is
standard input; files that it names are then relative to the current folder. A good
one may have notes: what of it ends within a week, or has ended: rules, report modes,
the certificate of listen.tls. With --lint it says too what is odd about a good one:
rules without an effect, sets that no rule names, functions without owner, and hosts
on which anyone can have data put.

Exit code 0: all are good, whatever is noted or found; 1: one is not, or cannot be
read; 3: with --lint=fail, all are good and something is found.`,
		Example: `  proxy check egress.yaml
  git show HEAD:egress.yaml | proxy check --lint -
  proxy check s3://policies/egress.yaml`,
		Args: someArguments("FILE"),
		RunE: func(cmd *cobra.Command, files []string) error {
			if err := oneOf("lint", lints, "", "fail", "say"); err != nil {
				return err
			}
			bad, found := false, 0
			for _, file := range files {
				lines, findings, err := check(cmd.Context(), file, cmd.InOrStdin(), lints != "")
				if err != nil {
					bad, lines = true, []string{err.Error()}
				}
				for _, line := range lines {
					if len(files) > 1 && err == nil {
						line = file + ": " + line
					}
					fmt.Fprintln(cmd.OutOrStdout(), line)
				}
				found += len(findings)
				for _, f := range findings {
					fmt.Fprintln(cmd.OutOrStdout(), f)
				}
			}
			switch {
			case bad:
				return &exitError{code: exitFailed}
			case found > 0 && lints == "fail":
				return &exitError{code: exitRefused}
			default:
				return nil
			}
		},
	}
	cmd.Flags().StringVar(&lints, "lint", "", "say what is odd about good files; `fail`: and exit with 3")
	cmd.Flags().Lookup("lint").NoOptDefVal = "say"
	return cmd
}

// check loads one file, and says what it holds, and what of it ends soon, or all that lint
// finds.
func check(ctx context.Context, file string, stdin io.Reader, lints bool) ([]string, []lint.Finding, error) {
	cfg, err := daemon.LoadConfig(ctx, file, stdin)
	if err != nil {
		return nil, nil, err
	}
	return lint.Summary(cfg, nameOf(file), time.Now(), lints)
}
