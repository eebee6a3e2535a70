package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/daemon"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/expiry"
)

// newCheck returns the command that reads files as run would.
func newCheck() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE...",
		Short: "Say every error of policy files, each with its line and its cure",
		Long: `check reads policies as run would, and says every error of each, with its line and
its cure. A FILE is a path, s3://bucket/key, https://host/path, or "-", which is
standard input; files that it names are then relative to the current folder. A good
one may have notes: what of it ends within a week, or has ended: rules, report modes,
the certificate of listen.tls.

Exit code 0: all are good, with or without notes; 1: one is not, or cannot be read.`,
		Example: `  proxy check egress.yaml
  git show HEAD:egress.yaml | proxy check -
  proxy check s3://policies/egress.yaml`,
		Args: someArguments("FILE"),
		RunE: func(cmd *cobra.Command, files []string) error {
			bad := false
			for _, file := range files {
				lines, err := check(cmd.Context(), file, cmd.InOrStdin(), time.Now())
				if err != nil {
					bad = true
					lines = []string{err.Error()}
				}
				for _, line := range lines {
					if len(files) > 1 && err == nil {
						line = file + ": " + line
					}
					fmt.Fprintln(cmd.OutOrStdout(), line)
				}
			}
			if bad {
				return &exitError{code: exitFailed}
			}
			return nil
		},
	}
}

// check loads and compiles one file, and says what it holds, and what of it ends soon.
func check(ctx context.Context, file string, stdin io.Reader, now time.Time) ([]string, error) {
	cfg, err := daemon.LoadConfig(ctx, file, stdin)
	if err != nil {
		return nil, err
	}
	p, _, err := cfg.Compile()
	if err != nil {
		return nil, err
	}
	lines := []string{fmt.Sprintf("ok: %d functions, %d rules", len(p.Functions()), p.Rules())}
	for _, e := range expiry.Of(p, cfg.Listen.TLS.Leaf()) {
		if e.Near(now) {
			lines = append(lines, "note: "+e.Text(now))
		}
	}
	return lines, nil
}
