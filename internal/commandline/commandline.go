// Package commandline is what the commands of a program have in common: how they are
// called, and what is said of a call that is wrong.
//
// What it does: errors of how a command is called are one line: what is wrong, and what
// would be right. What cobra and pflag say in their own way is said here in ours. Flags are
// read from the environment too.
//
// What it does not do: it knows no command, and prints nothing.
//
//	root.PersistentPreRunE = commandline.AllFlags
//	root.SetFlagErrorFunc(commandline.FlagError)
//	cmd.Args = commandline.Arguments("OLD", "NEW")
package commandline

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/suggest"
)

// NoArguments is for commands without arguments. Where the flag before the name of a
// file is missing, the error names it.
func NoArguments(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case cmd.Flags().Lookup("config") != nil:
		return fmt.Errorf("%q is not an argument of this command; write --config %s", args[0], args[0])
	default:
		return fmt.Errorf("%q is one argument too many; call it as %q", args[0], cmd.UseLine())
	}
}

// Arguments is for commands with exactly these arguments.
func Arguments(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) > len(names):
			return fmt.Errorf("%q is one argument too many; call it as %q", args[len(names)], cmd.UseLine())
		case len(args) < len(names):
			return fmt.Errorf("there is no %s; call it as %q", names[len(args)], cmd.UseLine())
		default:
			return nil
		}
	}
}

// SomeArguments is for commands with one argument or more.
func SomeArguments(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return fmt.Errorf("there is no %s; call it as %q", what, cmd.UseLine())
		}
		return nil
	}
}

// OneOf sees to it that the value of a flag is one of the choices, which are sorted.
func OneOf(flag, value string, choices ...string) error {
	if slices.Contains(choices, value) {
		return nil
	}
	return fmt.Errorf("--%s: %q is not known; %s", flag, value, suggest.For(value, choices))
}

// NameOf returns what a policy is called in messages: errors of standard input call it
// stdin.
func NameOf(config string) string {
	if config == "-" {
		return "stdin"
	}
	return config
}

// IsCommand is for what takes the name of a command, or none.
func IsCommand(cmd *cobra.Command, args []string) error {
	names := Names(cmd.Root())
	for _, arg := range args {
		return fmt.Errorf("unknown command %q; %s", arg, suggest.For(arg, names))
	}
	return nil
}

// Names returns the names of all commands, sorted.
func Names(root *cobra.Command) (names []string) {
	for _, c := range root.Commands() {
		if c.IsAvailableCommand() || c.Name() == "help" {
			names = append(names, c.Name())
		}
	}
	return names
}

// FlagError says what pflag found wrong.
func FlagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var valueless *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown):
		flag := "--" + unknown.GetSpecifiedName()
		meant := flag
		if short := unknown.GetSpecifiedShortnames(); short != "" {
			flag, meant = "-"+short, "--"+short
		}
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
		return fmt.Errorf("unknown flag %s; %s", flag, suggest.For(meant, names))
	case errors.As(err, &valueless):
		return fmt.Errorf("--%s has no value; write --%s", valueless.GetSpecifiedName(), withValue(valueless.GetFlag()))
	case errors.As(err, &invalid):
		return fmt.Errorf("--%s: %w", invalid.GetFlag().Name, valueError(invalid))
	default:
		return err
	}
}

// withValue returns a flag and what its value is called.
func withValue(f *pflag.Flag) string {
	name, _ := pflag.UnquoteUsage(f)
	return strings.TrimSpace(f.Name + " " + name)
}

// valueError says what the value of a flag should have been.
func valueError(e *pflag.InvalidValueError) error {
	switch e.GetFlag().Value.Type() {
	case "bool":
		return fmt.Errorf("%q is neither true nor false", e.GetValue())
	case "duration":
		return fmt.Errorf("%q is not a duration; write one such as 10s", e.GetValue())
	default:
		return fmt.Errorf("%q: %w", e.GetValue(), e.Unwrap())
	}
}

// AllFlags sets the flags that the command line does not from the environment,
// and sees to it that those are there which must be.
func AllFlags(cmd *cobra.Command, _ []string) error {
	if err := fromEnvironment(cmd.Flags()); err != nil {
		return err
	}
	var missing []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Annotations[cobra.BashCompOneRequiredFlag] != nil && !f.Changed {
			missing = append(missing, "--"+withValue(f))
		}
	})
	switch len(missing) {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("%s is missing", missing[0])
	default:
		return fmt.Errorf("%s are missing", strings.Join(missing, " and "))
	}
}

// fromEnvironment sets the flags that the command line does not from
// EGRESS_<FLAG>, with dashes as underscores.
func fromEnvironment(flags *pflag.FlagSet) (err error) {
	flags.VisitAll(func(f *pflag.Flag) {
		name := "EGRESS_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		text, ok := os.LookupEnv(name)
		if f.Changed || !ok || f.Name == "help" || f.Name == "version" || err != nil {
			return
		}
		var invalid *pflag.InvalidValueError
		if err = flags.Set(f.Name, text); errors.As(err, &invalid) {
			err = fmt.Errorf("%s: %w", name, valueError(invalid))
		}
	})
	return err
}
