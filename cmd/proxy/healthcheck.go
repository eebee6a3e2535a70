package main

import (
	"github.com/spf13/cobra"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/commandline"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/healthcheck"
)

// newHealthcheck returns the command that a container's health check runs; the
// image has no shell and no curl.
func newHealthcheck() *cobra.Command {
	var admin string
	var live bool
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "Ask a running proxy whether it is ready, or alive",
		Long: `healthcheck asks /readyz of the admin listener, or /healthz with --live.

A container that is ended when it is not healthy has --live: a proxy that cannot write
its records is not ready, and to end it ends open tunnels and mends nothing.`,
		Example: `  proxy healthcheck
  proxy healthcheck --live
  proxy healthcheck --admin 127.0.0.1:9191`,
		Args: commandline.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			question := healthcheck.Ready
			if live {
				question = healthcheck.Live
			}
			return failed(healthcheck.Check(cmd.Context(), admin, question, cmd.OutOrStdout()))
		},
	}
	cmd.Flags().StringVar(&admin, "admin", "127.0.0.1:9090", "`ADDRESS` of the admin listener")
	cmd.Flags().BoolVar(&live, "live", false, "ask whether it is alive, not whether it is ready")
	return cmd
}
