package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
)

// tokenBytes is the length of a token before it is encoded: 256 random bits.
const tokenBytes = 32

// newToken returns the command that makes a token.
func newToken() *cobra.Command {
	return &cobra.Command{
		Use:   "token FUNCTION",
		Short: "Make a token: the function's HTTPS_PROXY and the line for the file",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !identity.ValidFunction(args[0]) {
				return failed(fmt.Errorf("%q is no function's name: it may have letters, digits and -._~, and 64 bytes at most", args[0]))
			}
			// base64url has letters, digits, - and _ alone, which no client decodes.
			secret := make([]byte, tokenBytes)
			_, _ = rand.Read(secret) // never fails; see crypto/rand
			token := base64.RawURLEncoding.EncodeToString(secret)
			fmt.Fprintf(cmd.OutOrStdout(), `# For the function, as a secret; put the proxy's own name for PROXY:
HTTPS_PROXY=http://%[1]s:%[2]s@PROXY:3128

# For the policy file, under functions.%[1]s.identify; the token cannot be read from it:
tokens: ["sha256:%[3]x"]
`, args[0], token, sha256.Sum256([]byte(token)))
			return nil
		},
	}
}
