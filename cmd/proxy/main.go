// Command proxy is the egress gate: it serves HTTP CONNECT and plain HTTP to
// functions that a policy file knows by name, answers their DNS questions where
// the file says so, and refuses everything else.
//
// What it does: it reads the command line and its flags' variables in the
// environment, and hands them to the packages that do the work: internal/daemon
// serves, the other commands read files and print.
//
// What it does not do: it decides, serves and records nothing by itself.
//
//	proxy run --config egress.yaml
//	proxy check egress.yaml
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The exit codes of the program.
const (
	exitOK      = 0
	exitFailed  = 1
	exitUsage   = 2
	exitRefused = 3 // explain: the policy refuses
)

func main() {
	os.Exit(execute(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// execute runs one command line and returns the exit code.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var exit *exitError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &exit):
		if exit.err != nil {
			fmt.Fprintln(stderr, exit.err)
		}
		return exit.code
	default:
		// What cobra itself finds wrong is how the command was called.
		fmt.Fprintf(stderr, "proxy: %v\nRun \"proxy --help\" for how to call it.\n", err)
		return exitUsage
	}
}

// exitError is an error of a command that was called rightly. A nil err has
// been told already.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return fmt.Sprintf("exit %d: %v", e.code, e.err) }
func (e *exitError) Unwrap() error { return e.err }

// failed wraps an error of a command that was called rightly.
func failed(err error) error {
	if err == nil {
		return nil
	}
	return &exitError{code: exitFailed, err: err}
}

const longHelp = `proxy is an egress gate for functions in a VPC. Each function reaches the
hostnames on its own list and nothing else, and every refusal is recorded before
the function sees it.

Try it:

  proxy run
  curl -x http://demo:demo@127.0.0.1:3128 https://evil.example/

Every flag can also be set in the environment: --config is EGRESS_CONFIG.
HTTPS_PROXY and its kin in the proxy's own environment are ignored.

Exit codes: 0 ok, 1 failed, 2 called wrongly, 3 refused (explain).`

// newRoot returns the command tree.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:               "proxy",
		Short:             "An egress gate for functions in a VPC",
		Long:              longHelp,
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return fromEnvironment(cmd.Flags()) },
		// Without a subcommand there is nothing to do but to say what there is.
		RunE: func(*cobra.Command, []string) error {
			return errors.New("which command? run, check, explain, token, verify, report, export, healthcheck or version")
		},
		Args: cobra.NoArgs,
	}
	root.AddCommand(newRun(), newCheck(), newExplain(), newToken(), newVerify(), newReport(), newExport(), newHealthcheck(), newVersion())
	return root
}

// fromEnvironment sets the flags that the command line does not from
// EGRESS_<FLAG>, with dashes as underscores.
func fromEnvironment(flags *pflag.FlagSet) error {
	var errs []error
	flags.VisitAll(func(f *pflag.Flag) {
		name := "EGRESS_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value, ok := os.LookupEnv(name)
		if f.Changed || !ok || f.Name == "help" {
			return
		}
		if err := flags.Set(f.Name, value); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	})
	return errors.Join(errs...)
}
