// Package policies has the commands that work on policy files, alone or beside records:
// their flags and help texts.
//
// What it does: each command reads its flags and is a call of a package below
// internal/policytool. Policies are read as "proxy run" reads them.
//
// What it does not do: nothing of it serves, and it decides nothing by itself.
//
//	root.AddCommand(policies.Commands()...)
package policies

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/commandline"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/traffic"
)

// Commands returns the commands.
func Commands() []*cobra.Command {
	return []*cobra.Command{newCheck(), newWho(), newDiff(), newFmt(), newManifest(), newConvert(), newLearn(), newReplay()}
}

// mostStdin is more than a policy may have, so that one that is too long is said to be.
const mostStdin = 65 << 20

// readPolicy reads a file of this machine, or standard input for "-".
func readPolicy(file string, stdin io.Reader) ([]byte, error) {
	if file != "-" {
		return config.ReadFile(file)
	}
	data, err := io.ReadAll(io.LimitReader(stdin, mostStdin))
	if err != nil {
		return nil, fmt.Errorf("reading standard input: %w", err)
	}
	return data, nil
}

// readTraffic sums records up, and says on a terminal how far it is.
func readTraffic(cmd *cobra.Command, files []string) (*traffic.Traffic, error) {
	show := commandline.Progress(cmd.ErrOrStderr())
	defer show("")
	return traffic.Read(traffic.Options{
		Files: files, Stdin: cmd.InOrStdin(),
		Progress: func(lines int) { show(fmt.Sprintf("records read: %d", lines)) },
	})
}
