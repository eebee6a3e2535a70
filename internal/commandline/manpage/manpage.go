// Package manpage writes manual pages of a command line.
//
// What it does: it turns the help of each command, with its flags and examples, into a
// page in man(7). The text is that of --help, and stands there as it is.
//
// What it does not do: it reads no Markdown, which cobra/doc would bring a parser into
// the binary for; a page is a few lines of man(7).
//
//	err := manpage.Manual{Version: "v1.2.3", ExitStatus: "0 ok, 1 failed."}.Write(root, dir)
package manpage

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Manual is what pages say beside the help of their command.
type Manual struct {
	Version    string // of the program
	ExitStatus string // what its exit codes mean
}

// Write writes a page of root and one of each of its commands to a folder that exists:
// for a command "x y" it is x-y.1.
func (m Manual) Write(root *cobra.Command, dir string) error {
	for _, c := range slices.Concat([]*cobra.Command{root}, root.Commands()) {
		name := strings.ReplaceAll(c.CommandPath(), " ", "-")
		if err := os.WriteFile(filepath.Join(dir, name+".1"), []byte(m.page(c, name)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// page returns the page of a command in man(7).
func (m Manual) page(c *cobra.Command, name string) string {
	c.InitDefaultHelpFlag()
	c.InitDefaultVersionFlag()
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s 1 \"\" \"proxy %s\" \"User Commands\"\n", roff(strings.ToUpper(name)), roff(m.Version))
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
		value, usage := pflag.UnquoteUsage(f)
		fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", roff(strings.TrimSpace("--"+f.Name+" "+value)), roff(usage+defaultOf(f)))
	})
	fmt.Fprintf(&b, ".SH \"EXIT STATUS\"\n%s\n", roff(m.ExitStatus))
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
