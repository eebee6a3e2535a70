package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/commandline"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool"
)

// tokenFlags are the flags of token.
type tokenFlags struct {
	file        string
	add, retire bool
}

// newToken returns the command that makes a token, and edits those of a file.
func newToken() *cobra.Command {
	var f tokenFlags
	cmd := &cobra.Command{
		Use:   "token FUNCTION [--file FILE --add|--retire]",
		Short: "Make a token: the function's HTTPS_PROXY and the line for the file",
		Long: `token makes a token of 256 random bits. It prints the function's HTTPS_PROXY, and
the hash, which is all that the policy file holds.

With --file and --add it writes the hash into the file, behind those that the
function has; with --retire it makes nothing, and takes the first one out. No other
byte of the file changes, the result is checked as check does it, and the file is
replaced in one step. So a token is rotated: --add, deploy the new one, --retire.`,
		Example: `  proxy token billing-webhook
  proxy token billing-webhook --file egress.yaml --add
  proxy token billing-webhook --file egress.yaml --retire`,
		Args:              commandline.Arguments("FUNCTION"),
		ValidArgsFunction: functionsOf("file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			if !identity.ValidFunction(args[0]) {
				return failed(fmt.Errorf("%q is not the name of a function: write 1 to 64 of A-Z a-z 0-9 - . _ ~", args[0]))
			}
			if f.retire {
				return failed(retireToken(cmd.OutOrStdout(), f.file, args[0]))
			}
			return failed(makeToken(cmd, f.file, args[0]))
		},
	}
	cmd.Flags().StringVar(&f.file, "file", "", "edit this policy `FILE`")
	cmd.Flags().BoolVar(&f.add, "add", false, "add the hash of a new token to the file")
	cmd.Flags().BoolVar(&f.retire, "retire", false, "take the function's first token out of the file")
	return cmd
}

// check says what no command line may say.
func (f *tokenFlags) check() error {
	switch {
	case f.add && f.retire:
		return errors.New("--add and --retire exclude each other; add first, and retire when the new token is in use")
	case f.file == "" && (f.add || f.retire):
		return errors.New("--file FILE is missing")
	case f.file != "" && !f.add && !f.retire:
		return errors.New("--file is there, and not what to do with it; write --add or --retire")
	default:
		return nil
	}
}

// retireToken takes the first token of a function out of a file.
func retireToken(out io.Writer, file, function string) error {
	retired, now, err := policytool.RetireToken(file, function)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s: functions.%s.identify.tokens: sha256:%x… is out, %d left\n", file, function, retired[:4], len(now.Identify.Tokens))
	return err
}

// makeToken makes a token and puts its hash into a file, or says how; "": no file.
func makeToken(cmd *cobra.Command, file, function string) error {
	secret, hash := identity.NewToken()
	where := fmt.Sprintf("# For the policy file, under functions.%s.identify; the token cannot be read from it:\ntokens: [\"sha256:%x\"]", function, hash)
	if file != "" {
		now, err := policytool.AddToken(file, function, hash)
		if err != nil {
			return err
		}
		where = fmt.Sprintf("# %s: functions.%s.identify.tokens: sha256:%x… is in, %d in all", file, function, hash[:4], len(now.Identify.Tokens))
		if len(now.Identify.Tokens)+len(now.Identify.Certificates) == 1 {
			fmt.Fprintf(cmd.ErrOrStderr(), "this is the first credential of %s: without it, its sources are not enough any more\n", function)
		}
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), `# For the function, as a secret; put the proxy's own name for PROXY:
HTTPS_PROXY=http://%s:%s@PROXY:3128

%s
`, function, secret, where)
	return err
}
