// Command posture says what of AWS accounts is not behind the gate.
//
// What it does: it reads accounts, or a snapshot of some, makes the checks P01 to P21, and
// writes what they found. posture probe tries the ways round the gate from where it runs.
// It is a program of its own, because its clients of AWS have no place in the proxy.
//
// What it does not do: it changes nothing in an account.
//
//	posture --regions eu-west-1 --policy egress.yaml --fail-on high
//	posture --from snapshot.json --format html --output posture.html
//	posture probe --control api.example.com:443 --fail-on hole
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/spf13/cobra"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/buildinfo"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/posture/reader"
)

// The exit codes of the program.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
	exitFound  = 3 // --fail-on: something that bad was found, and nobody has accepted it
)

// version is set by the linker; "" is a build without it.
var version string

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := execute(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// execute runs one command line and returns the exit code.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 && inLambda() {
		args = []string{"probe"} // what is started there is a file without arguments
	}
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	failure := (*failedError)(nil)
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errFound):
		return exitFound
	case errors.As(err, &failure):
		fmt.Fprintf(stderr, "posture: %v\n", failure.err)
		return exitFailed
	default: // what is wrong is how it was called
		fmt.Fprintf(stderr, "posture: %v\n", err)
		return exitUsage
	}
}

// errFound says that --fail-on has something to fail on. The report has said what.
var errFound = errors.New("found")

// failedError is an error of a command that was called rightly.
type failedError struct{ err error }

func (e *failedError) Error() string { return e.err.Error() }
func (e *failedError) Unwrap() error { return e.err }

// failed wraps an error of a command that was called rightly.
func failed(err error) error {
	if err == nil {
		return nil
	}
	return &failedError{err}
}

const longHelp = `posture reads AWS accounts, or a snapshot of some, and says what of them is not
behind the gate: functions outside the VPC, routes that go round it, groups that
let too much through, who may call a function whatever the network says.

What could not be read is a finding, and high: a silence would read as an
all-clear. It changes nothing in an account, and takes no content of an
environment variable along.

Credentials are those of the SDK's default chain; posture iam-policy prints what
they need.

Exit codes: 0 ok, 1 failed, 2 called wrongly, 3 something as bad as --fail-on says
was found and is not accepted.`

// newRoot returns the command tree.
func newRoot() *cobra.Command {
	root := newPosture()
	root.SilenceUsage, root.SilenceErrors = true, true
	root.CompletionOptions = cobra.CompletionOptions{DisableDefaultCmd: true}
	root.Version = buildinfo.Read(version).Version
	root.SetVersionTemplate("posture {{.Version}}\n")
	root.AddCommand(newIAMPolicy(), newProbe())
	return root
}

// newIAMPolicy returns the command that prints what the reader needs.
func newIAMPolicy() *cobra.Command {
	var roles, buckets, policies []string
	cmd := &cobra.Command{
		Use:   "iam-policy",
		Short: "Print the IAM policy that reading needs, and nothing more",
		Long: `iam-policy prints a policy document for whoever runs posture: each call that it
makes, all of which read. Give it the --assume-role and --bucket that posture is
given, and its --policy where that is in S3; a role that is taken on needs the policy without them.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			document, err := reader.IAMPolicy(roles, buckets, policies)
			if err != nil {
				return failed(err)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), string(document))
			return failed(err)
		},
	}
	cmd.Flags().StringArrayVar(&roles, "assume-role", nil, "`ARN` of a role to take on; can be given several times")
	cmd.Flags().StringArrayVar(&buckets, "bucket", nil, "`NAME` of a bucket that a policy is read from; can be given several times")
	cmd.Flags().StringArrayVar(&policies, "policy", nil, "`URL` s3://BUCKET/KEY of the gate's policy; can be given several times")
	return cmd
}
