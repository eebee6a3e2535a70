package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/commandline"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/commandline/manpage"
)

// newMan returns the command that writes the manual pages.
func newMan() *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write the manual pages, one of each command",
		Long: `man writes proxy.1 and a page of each command, such as proxy-run.1, to a folder that
exists. Their text is that of --help.`,
		Example: `  proxy man /usr/local/share/man/man1`,
		Args:    commandline.Arguments("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			manual := manpage.Manual{Version: build().Version, ExitStatus: exitCodes}
			if err := manual.Write(cmd.Root(), args[0]); err != nil {
				return failed(fmt.Errorf("writing the manual: %w", err))
			}
			return nil
		},
	}
}
