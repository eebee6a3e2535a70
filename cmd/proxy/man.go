package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Manual pages are written here and not by cobra/doc: they are a few lines of
// man(7), and cobra/doc would bring a Markdown parser into the binary for them.

// newMan returns the command that writes the manual pages.
func newMan() *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write the manual pages, one of each command",
		Long: `man writes proxy.1 and a page of each command, such as proxy-run.1, to a folder that
exists. Their text is that of --help.`,
		Example: `  proxy man /usr/local/share/man/man1`,
		Args:    oneArgument("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, c := range slices.Concat([]*cobra.Command{cmd.Root()}, cmd.Root().Commands()) {
				name := strings.ReplaceAll(c.CommandPath(), " ", "-")
				if err := os.WriteFile(filepath.Join(args[0], name+".1"), []byte(manual(c, name)), 0o644); err != nil {
					return failed(fmt.Errorf("writing the manual: %w", err))
				}
			}
			return nil
		},
	}
}

// manual returns the page of a command in man(7).
func manual(c *cobra.Command, name string) string {
	c.InitDefaultHelpFlag()
	c.InitDefaultVersionFlag()
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s 1 \"\" \"proxy %s\" \"User Commands\"\n", roff(strings.ToUpper(name)), roff(build().version))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(name), roff(c.Short))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.nf\n%s\n.fi\n", roff(c.UseLine()))
	about := c.Long
	if about == "" {
		about = c.Short + "."
	}
	fmt.Fprintf(&b, ".SH DESCRIPTION\n.nf\n%s\n.fi\n", roff(about))
	if c.HasSubCommands() {
		b.WriteString(".SH COMMANDS\n")
		for _, sub := range c.Commands() {
			fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", roff(sub.Name()), roff(sub.Short))
		}
	}
	b.WriteString(".SH OPTIONS\n")
	c.Flags().VisitAll(func(f *pflag.Flag) {
		_, usage := pflag.UnquoteUsage(f)
		fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", roff("--"+withValue(f)), roff(usage+defaultOf(f)))
	})
	fmt.Fprintf(&b, ".SH \"EXIT STATUS\"\n%s\n", roff(exitCodes))
	fmt.Fprintf(&b, ".SH EXAMPLES\n.nf\n%s\n.fi\n", roff(c.Example))
	return b.String()
}

// defaultOf says what holds without a flag, where that is not nothing.
func defaultOf(f *pflag.Flag) string {
	switch f.DefValue {
	case "", "false", "0s":
		return ""
	default:
		return " (default " + f.DefValue + ")"
	}
}

// roff escapes text for man(7): it stands there as it is.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
