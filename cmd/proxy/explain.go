package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/commandline"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/explain"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/lookup"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/ownaddrs"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policyfile"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// explainFlags are the flags of explain.
type explainFlags struct {
	config, function, principal, source string
	offline                             bool
}

// newExplain returns the command that decides one target and says why.
func newExplain() *cobra.Command {
	var f explainFlags
	cmd := &cobra.Command{
		Use:   "explain --config FILE --function NAME|--principal ARN [--source IP] HOST:PORT|URL",
		Short: "Decide one target as the running proxy would, and say why",
		Long: `explain decides one target as the running proxy would, step by step: the source
address, the deny list, the function's rules, and the addresses that the name
resolves to from where explain runs. A name that is refused is not looked up.
Of a URL the host and the port count, and that http:// is not TLS; nothing else of
it is read or printed. With --principal the function is the one that a token of AWS
for that ARN would be taken for.

Exit code 0: allowed (or let through by report mode); 3: refused.`,
		Example: `  proxy explain --config egress.yaml --function billing-webhook api.stripe.com:443
  proxy explain --config egress.yaml --function billing-webhook https://api.stripe.com/v1/charges
  proxy explain --config egress.yaml --function nightly-report --source 10.0.40.7 --offline example.org:443
  proxy explain --config egress.yaml --principal arn:aws:lambda:eu-west-1:111122223333:function:billing-webhook api.stripe.com:443`,
		Args: commandline.Arguments("HOST:PORT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.function == "" && f.principal == "" {
				return errors.New("--function NAME is missing, or --principal ARN")
			}
			cfg, err := policyfile.Load(cmd.Context(), f.config, cmd.InOrStdin())
			if err != nil {
				return failed(err)
			}
			q := &explain.Query{
				Config: cfg, File: f.config, Function: f.function, Principal: f.principal, Source: f.source, Target: args[0],
				Self: ownaddrs.Of(cfg).Has,
			}
			if !f.offline {
				q.Lookup = lookup.Once(cfg)
			}
			reason, err := q.Run(cmd.Context(), cmd.OutOrStdout())
			if err == nil && reason != verdict.ReasonNone {
				return &commandline.Exit{Code: exitRefused}
			}
			return failed(err)
		},
	}
	cmd.Flags().StringVar(&f.config, "config", "", "policy `FILE`, s3://bucket/key or https://host/path; - is standard input")
	cmd.Flags().StringVar(&f.function, "function", "", "`NAME` of the function that asks")
	cmd.Flags().StringVar(&f.principal, "principal", "", "the `ARN` of the function or role that a token of AWS names")
	cmd.Flags().StringVar(&f.source, "source", "", "the `IP` that it calls from")
	cmd.Flags().BoolVar(&f.offline, "offline", false, "do not look the name up; decide by the policy alone")
	_ = cmd.MarkFlagRequired("config")
	_ = cmd.RegisterFlagCompletionFunc("function", functionsOf("config"))
	return cmd
}
