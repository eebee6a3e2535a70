package policies

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/commandline"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/ownaddrs"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policyfile"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/reach"
)

// whoFlags are the flags of who.
type whoFlags struct{ config, format string }

// newWho returns the command that says which functions may reach a target.
func newWho() *cobra.Command {
	var f whoFlags
	cmd := &cobra.Command{
		Use:   "who HOST:PORT --config FILE [--format text|json]",
		Short: "Say which functions may reach a target, and by which rule",
		Long: `who asks for each function of a policy whether it may reach the target now, as the
running proxy would: the deny list, the rules, report mode. It names the rule, its
line and what it covers. It looks no name up; explain says of one function what
comes of the addresses.

Exit code 0 also where no function may.`,
		Example: `  proxy who api.stripe.com:443 --config egress.yaml
  git show HEAD:egress.yaml | proxy who 203.0.113.7:22 --config - --format json`,
		Args: commandline.Arguments("HOST:PORT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := commandline.OneOf("format", f.format, "json", "text"); err != nil {
				return err
			}
			target, err := hostname.ParseTarget(args[0])
			if err != nil {
				return fmt.Errorf("%q is %w; write HOST:PORT, such as api.stripe.com:443", args[0], err)
			}
			cfg, err := policyfile.Load(cmd.Context(), f.config, cmd.InOrStdin())
			if err != nil {
				return commandline.Failed(err)
			}
			q := reach.Query{Config: cfg, File: commandline.NameOf(f.config), Target: target, Now: time.Now(), Self: ownaddrs.Of(cfg).Has}
			answer, err := reach.Find(q)
			if err != nil {
				return commandline.Failed(err)
			}
			if f.format == "json" {
				return commandline.Failed(answer.WriteJSON(cmd.OutOrStdout()))
			}
			return commandline.Failed(answer.Write(cmd.OutOrStdout()))
		},
	}
	cmd.Flags().StringVar(&f.config, "config", "", "policy `FILE`, s3://bucket/key or https://host/path; - is standard input")
	cmd.Flags().StringVar(&f.format, "format", "text", "`FORMAT` of the answer: text or json")
	_ = cmd.MarkFlagRequired("config")
	return cmd
}
