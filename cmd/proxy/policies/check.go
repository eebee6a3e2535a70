package policies

import (
	"cmp"
	"time"

	"github.com/spf13/cobra"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/commandline"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policyfile"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/checkreport"
)

// newCheck returns the command that reads files as run would.
func newCheck() *cobra.Command {
	var lints, format string
	cmd := &cobra.Command{
		Use:   "check [--lint[=fail]] [--format text|json|github|sarif] FILE...",
		Short: "Say every error of policy files, each with its line and its cure",
		Long: `check reads policies as run would, and says every error of each, with its line and
its cure. A FILE is a path, s3://bucket/key, s3://bucket/prefix/ (see "proxy manifest"),
https://host/path, or "-", which is standard input; files that it names are then
relative to the current folder. A good one may have notes: what of it ends within a
week, or has ended: rules, report modes, the certificate of listen.tls. With --lint it says too what is odd about a good one:
rules without an effect, sets that no rule names, functions without owner, and hosts
on which anyone can have data put.

Exit code 0: all are good, whatever is noted or found; 1: one is not, or cannot be
read; 3: with --lint=fail, all are good and something is found.`,
		Example: `  proxy check egress.yaml
  git show HEAD:egress.yaml | proxy check --lint -
  proxy check --lint --format sarif egress.yaml > check.sarif
  proxy check s3://policies/egress.yaml`,
		Args: commandline.SomeArguments("FILE"),
		RunE: func(cmd *cobra.Command, files []string) error {
			if err := cmp.Or(commandline.OneOf("lint", lints, "", "fail", "say"), commandline.OneOf("format", format, checkreport.Formats...)); err != nil {
				return err
			}
			results, bad, found := []checkreport.Result{}, false, false
			for _, file := range files {
				cfg, err := policyfile.Load(cmd.Context(), file, cmd.InOrStdin())
				r := checkreport.Of(commandline.NameOf(file), cfg, err, time.Now(), lints != "")
				results, bad, found = append(results, r), bad || !r.OK, found || len(r.Findings) > 0
			}
			if err := checkreport.Write(cmd.OutOrStdout(), format, results); err != nil {
				return commandline.Failed(err)
			}
			switch {
			case bad:
				return &commandline.Exit{Code: commandline.ExitFailed}
			case found && lints == "fail":
				return &commandline.Exit{Code: commandline.ExitRefused}
			default:
				return nil
			}
		},
	}
	cmd.Flags().StringVar(&lints, "lint", "", "say what is odd about good files; `fail`: and exit with 3")
	cmd.Flags().StringVar(&format, "format", "text", "`FORMAT` of what is found: text, json, github (workflow commands) or sarif")
	cmd.Flags().Lookup("lint").NoOptDefVal = "say"
	return cmd
}
