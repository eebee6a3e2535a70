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

	"github.com/lambda-egress-proxy/lambda-egress-proxy/cmd/proxy/policies"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/commandline"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/suggest"
)

// The exit codes of the program.
const (
	exitOK      = commandline.ExitOK
	exitFailed  = commandline.ExitFailed
	exitUsage   = commandline.ExitUsage
	exitRefused = commandline.ExitRefused
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
	cmd, err := root.ExecuteContextC(ctx)
	var exit *commandline.Exit
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &exit):
		if exit.Err != nil {
			fmt.Fprintln(stderr, exit.Err)
		}
		return exit.Code
	default:
		// What is wrong is how the command was called.
		fmt.Fprintf(stderr, "%s: %v\n", cmd.CommandPath(), err)
		return exitUsage
	}
}

// failed wraps an error of a command that was called rightly.
func failed(err error) error { return commandline.Failed(err) }

// exitCodes is the sentence about them in help and manual.
const exitCodes = "0 ok, 1 failed, 2 called wrongly, 3 refused (explain, replay), gained (diff), found (check) or not ready (learn)."

const longHelp = `proxy is an egress gate for functions in a VPC. Each function reaches the
hostnames on its own list and nothing else, and every refusal is recorded before
the function sees it.

Every flag can also be set in the environment: --config is EGRESS_CONFIG.
HTTPS_PROXY and its kin in the proxy's own environment are ignored.

Exit codes: ` + exitCodes

// newRoot returns the command tree.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "proxy",
		Short: "An egress gate for functions in a VPC",
		Long:  longHelp,
		Example: `  proxy run
  curl -x http://demo:demo@127.0.0.1:3128 https://evil.example/`,
		Version:           build().String(),
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		PersistentPreRunE: commandline.AllFlags,
		Args:              commandline.IsCommand,
	}
	// Without a command there is nothing to do but to say what there is.
	root.RunE = func(*cobra.Command, []string) error {
		return fmt.Errorf("there is no command; %s", suggest.For("", commandline.Names(root)))
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(commandline.FlagError)
	root.SetHelpCommand(newHelp())
	root.AddCommand(newRun(), newExplain(), newToken(), newVerify(), newReport(), newExport(), newHealthcheck(),
		newVersion(), newCompletion(), newMan())
	root.AddCommand(policies.Commands()...)
	for _, c := range root.Commands() {
		c.DisableFlagsInUseLine = !c.HasFlags() || strings.Contains(c.Use, "--") // it names them
	}
	return root
}
