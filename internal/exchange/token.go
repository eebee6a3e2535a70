package exchange

import (
	"context"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/attest"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verifier"
)

// VerifyToken has the token of AWS verified that the request shows, and gives whom it
// names. It waits for a turn: who has shown too much that does not hold has it behind all
// others, and is verified all the same.
func (x *Exchange) VerifyToken(ctx context.Context) {
	source := x.Conn.Client.Addr()
	token := verifier.Token{Raw: x.Attested.Token, Digest: x.Attested.Digest}
	p, result, err := x.shared.Tokens.Verify(ctx, token, x.Identities.AWS(), source, x.shared.Failures.Spent(source))
	switch {
	case err != nil: // it has not been looked at, and is not said to be wrong
		x.Give(verdict.ReasonLimitTotal)
	case result == attest.NoKeys:
		x.Give(verdict.ReasonKeysUnavailable)
	default:
		x.GivePrincipal(p)
	}
}
