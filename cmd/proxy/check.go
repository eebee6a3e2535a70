package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
)

// newCheck returns the command that reads files as run would.
func newCheck() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE...",
		Short: "Say every error of policy files, each with its line and its cure",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			bad := false
			for _, file := range files {
				line, err := check(file)
				if err != nil {
					bad = true
					line = err.Error()
				}
				if len(files) > 1 && err == nil {
					line = file + ": " + line
				}
				fmt.Fprintln(cmd.OutOrStdout(), line)
			}
			if bad {
				return &exitError{code: exitFailed}
			}
			return nil
		},
	}
}

// check loads and compiles one file, and says what it holds.
func check(file string) (string, error) {
	cfg, err := config.Load(file)
	if err != nil {
		return "", err
	}
	p, _, err := cfg.Compile()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("ok: %d functions, %d rules", len(p.Functions()), p.Rules()), nil
}
