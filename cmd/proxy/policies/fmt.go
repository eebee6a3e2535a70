package policies

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/commandline"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/format"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/printable"
)

// fmtFlags are the flags of fmt.
type fmtFlags struct {
	write          bool
	policy, format string
}

// newFmt returns the command that writes policy files in their one layout.
func newFmt() *cobra.Command {
	var f fmtFlags
	cmd := &cobra.Command{
		Use:   "fmt [-w|--write] [--policy FILE] [--format text|json] FILE...",
		Short: "Write policy files in their one layout, comments kept",
		Long: `fmt prints a policy in its canonical layout: two spaces for each level, text that is
quoted in double quotes, what stands in brackets over several lines with a line for
each member, at most one empty line in a row. It keeps every comment and the order of
everything, and changes no value. FILE is a path, or "-" for standard input.

With -w it writes the files instead, each in one step and only where it changes, and
prints the names of those. A file that does not load is not written: its errors are
those of check. One that a policy includes is no policy by itself: --policy says
which one, and then none is written unless all of that policy loads.

With --format json it prints of each file whether it changes and, without -w, its text.

Exit code 0: done; 1: a file does not load, or cannot be read or written.`,
		Example: `  proxy fmt egress.yaml
  proxy fmt -w egress.yaml
  proxy fmt -w --policy egress.yaml teams/payments.yaml
  git show HEAD:egress.yaml | proxy fmt -`,
		Args: commandline.SomeArguments("FILE"),
		RunE: func(cmd *cobra.Command, files []string) error {
			if err := f.check(files); err != nil {
				return err
			}
			return commandline.Failed(f.run(cmd, files))
		},
	}
	cmd.Flags().BoolVarP(&f.write, "write", "w", false, "write the files instead of printing one")
	cmd.Flags().StringVar(&f.policy, "policy", "", "policy `FILE` that includes the others")
	cmd.Flags().StringVar(&f.format, "format", "text", "`FORMAT` of what is printed: text or json")
	return cmd
}

// check says what no command line may say.
func (f *fmtFlags) check(files []string) error {
	for _, file := range files {
		switch {
		case file == "-" && f.write:
			return errors.New("standard input cannot be written; leave -w out")
		case file == "-" && f.policy != "":
			return errors.New("standard input is no file that a policy includes; write its path")
		}
	}
	if len(files) > 1 && !f.write && f.format != "json" {
		return errors.New("several files are formatted with -w or --format json alone; write one of these, or one FILE")
	}
	return commandline.OneOf("format", f.format, "json", "text")
}

// run lays the files out, and writes or prints them. A file that fails holds up no other
// where each is a policy by itself.
func (f *fmtFlags) run(cmd *cobra.Command, files []string) error {
	var all error
	done := []*format.Text{}
	finish := func(t *format.Text, err error) {
		if err == nil && f.write {
			err = t.Write()
		}
		if all = errors.Join(all, err); err == nil {
			done = append(done, t)
		}
	}
	if f.policy != "" {
		texts, err := format.Included(f.policy, files...)
		all = err
		for _, t := range texts {
			finish(t, nil)
		}
	} else {
		for _, file := range files {
			finish(layOut(file, cmd.InOrStdin()))
		}
	}
	return errors.Join(all, f.print(cmd.OutOrStdout(), done))
}

// layOut lays out a policy of this machine, or standard input for "-".
func layOut(file string, stdin io.Reader) (*format.Text, error) {
	if file != "-" {
		return format.File(file)
	}
	data, err := readPolicy(file, stdin)
	if err != nil {
		return nil, err
	}
	name := commandline.NameOf(file)
	canonical, err := format.Source(name, data, config.ReadFile)
	return format.New(name, data, canonical), err
}

// print prints the texts, or with -w the names of those that have changed.
func (f *fmtFlags) print(w io.Writer, all []*format.Text) error {
	if f.format == "json" {
		if f.write {
			for _, t := range all {
				t.Canonical = ""
			}
		}
		return printable.WriteJSON(w, map[string][]*format.Text{"files": all})
	}
	for _, t := range all {
		text := t.Canonical
		if f.write {
			text = ""
			if t.Changed {
				text = t.File + "\n"
			}
		}
		if _, err := io.WriteString(w, text); err != nil {
			return fmt.Errorf("writing the layout: %w", err)
		}
	}
	return nil
}
