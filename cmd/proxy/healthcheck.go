package main

import (
	"github.com/spf13/cobra"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/healthcheck"
)

// newHealthcheck returns the command that a container's health check runs; the
// image has no shell and no curl.
func newHealthcheck() *cobra.Command {
	var admin string
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "Ask a running proxy whether it is ready",
		Example: `  proxy healthcheck
  proxy healthcheck --admin 127.0.0.1:9191`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return failed(healthcheck.Check(cmd.Context(), admin, cmd.OutOrStdout()))
		},
	}
	cmd.Flags().StringVar(&admin, "admin", "127.0.0.1:9090", "`ADDRESS` of the admin listener")
	return cmd
}
