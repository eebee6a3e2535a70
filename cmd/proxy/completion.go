package main

import (
	"cmp"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/commandline"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/suggest"
)

// shells are those that there are completions for.
var shells = []string{"bash", "zsh", "fish", "powershell"}

// newCompletion returns the command that prints completions for a shell.
func newCompletion() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print what makes a shell complete commands, flags and functions",
		Long: `completion prints a script for a shell, which then completes commands, flags, and
the functions of the file that --config or --file names.`,
		Example: `  source <(proxy completion bash)
  proxy completion zsh > "${fpath[1]}/_proxy"`,
		Args:      commandline.Arguments("SHELL"),
		ValidArgs: shells,
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				return failed(root.GenBashCompletionV2(out, true))
			case "zsh":
				return failed(root.GenZshCompletion(out))
			case "fish":
				return failed(root.GenFishCompletion(out, true))
			case "powershell":
				return failed(root.GenPowerShellCompletionWithDesc(out))
			default:
				return fmt.Errorf("unknown shell %q; %s", args[0], suggest.For(args[0], shells))
			}
		},
	}
}

// functionsOf completes the functions of the file that a flag of the command
// line names. A file that does not load has none.
func functionsOf(flag string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		file, err := cmd.Flags().GetString(flag)
		if err != nil || file == "" {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		cfg, err := config.Load(file)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var names []cobra.Completion
		for _, f := range cfg.Functions {
			names = append(names, cobra.CompletionWithDesc(f.Name, f.Owner))
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// newHelp returns the command that shows the help of another.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "Show the help of a command",
		Example: `  proxy help explain`,
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err := cmp.Or(err, commandline.IsCommand(cmd, rest)); err != nil {
				return err
			}
			about.InitDefaultHelpFlag()
			about.InitDefaultVersionFlag()
			return failed(about.Help())
		},
	}
}
