package policies

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/commandline"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool/release"
)

// newManifest returns the command that writes the manifest of a folder.
func newManifest() *cobra.Command {
	var main string
	cmd := &cobra.Command{
		Use:   "manifest [--main FILE] FOLDER",
		Short: "Write the manifest by which a folder is loaded from S3 as one policy",
		Long: `manifest checks the policy of a folder and writes manifest.json there: each file that
the policy reads, with its SHA-256 and its size. From s3://BUCKET/PREFIX/ nothing is
loaded but what the manifest there names, to the byte. So it is uploaded last: until
then, and when an upload breaks off, the old policy stays.

Files that the policy names by an absolute path, such as certificates, are those of the
machine it runs on and not in the manifest. They must be there for the check.

Exit code 0: it is written; 1: the policy is not good, or cannot be read, or the
manifest cannot be written; what was there before stays.`,
		Example: `  proxy manifest policy
  proxy manifest --main v42/egress.yaml policy`,
		Args: commandline.Arguments("FOLDER"),
		RunE: func(cmd *cobra.Command, args []string) error {
			files, err := release.Write(args[0], filepath.Clean(main))
			if err == nil {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "ok: the manifest names %d files\n", files)
			}
			return commandline.Failed(err)
		},
	}
	cmd.Flags().StringVar(&main, "main", "egress.yaml", "the policy, a `FILE` below the folder")
	return cmd
}
