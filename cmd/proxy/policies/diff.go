package policies

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/commandline"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policyfile"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/diff"
)

// newDiff returns the command that says what a new version of a policy changes.
func newDiff() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "diff OLD NEW [--format text|markdown|json]",
		Short: "Say what each function gains and loses by a new version of a policy",
		Long: `diff compares two policies by what they mean, not by how they are written: what
each function may reach with one and not with the other, now and at any later time.
The order of rules, sets, wildcards that cover names, the deny list, report mode and
dates all count for what they do. OLD and NEW are read as check reads them; one of
them may be "-".

It does not compare who is identified as a function, nor the settings of the program.

Exit code 0: nothing is gained; 3: something is.`,
		Example: `  proxy diff egress.old.yaml egress.yaml
  git show main:egress.yaml | proxy diff - egress.yaml --format markdown`,
		Args: commandline.Arguments("OLD", "NEW"),
		RunE: func(cmd *cobra.Command, files []string) error {
			if err := commandline.OneOf("format", format, diff.Formats...); err != nil {
				return err
			}
			if files[0] == "-" && files[1] == "-" {
				return errors.New("OLD and NEW are both standard input; write a file for one of them")
			}
			d, err := compareFiles(cmd, files)
			if err != nil {
				return commandline.Failed(err)
			}
			if err := d.Write(cmd.OutOrStdout(), format); err != nil {
				return commandline.Failed(fmt.Errorf("writing the difference: %w", err))
			}
			if d.Gains() {
				return &commandline.Exit{Code: commandline.ExitRefused}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&format, "format", "text", "`FORMAT` of the difference: text, markdown or json")
	return cmd
}

// compareFiles loads two versions of a policy and compares them as of now.
func compareFiles(cmd *cobra.Command, files []string) (*diff.Diff, error) {
	show := commandline.Progress(cmd.ErrOrStderr())
	defer show("")
	sides := make([]diff.Side, len(files))
	for i, file := range files {
		show("reading " + commandline.NameOf(file))
		cfg, err := policyfile.Load(cmd.Context(), file, cmd.InOrStdin())
		if err != nil {
			return nil, err
		}
		sides[i] = diff.Side{File: commandline.NameOf(file), Spec: cfg.Spec()}
	}
	show("comparing")
	return diff.Compare(sides[0], sides[1], time.Now())
}
