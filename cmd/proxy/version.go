package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/buildinfo"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/commandline"
)

// version is stamped by the linker (-X main.version=v1.2.3); otherwise it is
// the module's.
var version string

// newVersion returns the command that says what this is.
func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Say which version this is",
		Example: `  proxy version`,
		Args:    commandline.NoArguments,
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprintln(cmd.OutOrStdout(), build())
		},
	}
}

// build returns what the binary knows of itself.
func build() buildinfo.Info { return buildinfo.Read(version) }
