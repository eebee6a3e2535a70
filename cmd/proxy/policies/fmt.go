package policies

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/commandline"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/format"
)

// newFmt returns the command that writes policy files in their one layout.
func newFmt() *cobra.Command {
	var write bool
	cmd := &cobra.Command{
		Use:   "fmt [-w|--write] FILE...",
		Short: "Write policy files in their one layout, comments kept",
		Long: `fmt prints a policy in its canonical layout: two spaces for each level, text that is
quoted in double quotes, what stands in brackets over several lines with a line for
each member, at most one empty line in a row. It keeps every comment and the order of
everything, and changes no value. FILE is a path, or "-" for standard input.

With -w it writes the files instead, each in one step and only where it changes, and
prints the names of those. A file that does not load is not written: its errors are
those of check.

Exit code 0: done; 1: a file does not load, or cannot be read or written.`,
		Example: `  proxy fmt egress.yaml
  proxy fmt -w egress.yaml
  git show HEAD:egress.yaml | proxy fmt -`,
		Args: commandline.SomeArguments("FILE"),
		RunE: func(cmd *cobra.Command, files []string) error {
			if write {
				return writeFormatted(cmd.OutOrStdout(), files)
			}
			if len(files) > 1 {
				return errors.New("several files are formatted with -w alone; write it, or one FILE")
			}
			data, err := readPolicy(files[0], cmd.InOrStdin())
			if err != nil {
				return commandline.Failed(err)
			}
			canonical, err := format.Source(commandline.NameOf(files[0]), data, config.ReadFile)
			if err == nil {
				_, err = cmd.OutOrStdout().Write(canonical)
			}
			return commandline.Failed(err)
		},
	}
	cmd.Flags().BoolVarP(&write, "write", "w", false, "write the files instead of printing one")
	return cmd
}

// writeFormatted formats files where they are.
func writeFormatted(out io.Writer, files []string) error {
	var all error
	for _, file := range files {
		if file == "-" {
			return errors.New("standard input cannot be written; leave -w out")
		}
	}
	for _, file := range files {
		changed, err := format.File(file)
		if err == nil && changed {
			_, err = fmt.Fprintln(out, file)
		}
		all = errors.Join(all, err)
	}
	return commandline.Failed(all)
}
