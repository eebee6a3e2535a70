package doctor

import (
	"crypto/tls"
	"errors"
	"net"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/extension/token"
)

// proxyRemedies says what to do about a proxy that cannot be reached.
func proxyRemedies(err error) []string {
	var dns *net.DNSError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &dns):
		return []string{"The name in EGRESS_PROXY is not known in this VPC, or the DNS firewall does not let it through."}
	case errors.As(err, &certificate):
		return []string{"EGRESS_CA does not have the authority of the proxy's certificate, or that is for another name than the one in EGRESS_PROXY, or it is over."}
	default:
		return []string{"The security groups: the function's must reach the proxy's on the port of EGRESS_PROXY, and the proxy's must let it in.",
			"EGRESS_PROXY is the address of the TLS listener, and its load balancer passes TCP through."}
	}
}

// The mistakes that several codes can mean.
const (
	noAction  = "The function's role needs sts:GetWebIdentityToken on Resource \"*\"."
	noMatch   = "Its condition on sts:IdentityTokenAudience has to be ForAllValues:StringEquals, with EGRESS_AUDIENCE: plain StringEquals denies."
	notOn     = "Federation is not enabled: call iam:EnableOutboundWebIdentityFederation once in the account."
	denied    = "The policy of the STS endpoint, a permissions boundary or an SCP of the organization may deny it too."
	clockOff  = "The machine's clock may be off: AWS takes no signature that is more than five minutes away."
	noneThere = "There is no way to STS: a closed network needs the VPC endpoint com.amazonaws.REGION.sts, with private DNS."
	noEntry   = "The endpoint's security group has to let the function's in on port 443."
)

// tokenRemedies says what to do about a code: each mistake that STS may answer with it.
func tokenRemedies(code string) []string {
	switch code {
	case "AccessDenied", "AccessDeniedException":
		return []string{noAction, noMatch, denied, notOn}
	case "OutboundWebIdentityFederationDisabledException", "OutboundWebIdentityFederationDisabled":
		return []string{notOn}
	case "SessionDurationEscalationException":
		return []string{"The role's session ends within a minute: a new environment has another."}
	case "Throttling", "ThrottlingException", "RequestLimitExceeded":
		return []string{"STS has too many requests of this account and region. The extension asks once in twelve minutes; see CloudTrail for who asks."}
	case "SignatureDoesNotMatch", "RequestExpired", "RequestTimeTooSkewed", "InvalidSignatureException":
		return []string{clockOff, "The credentials of the environment were changed: leave AWS_ACCESS_KEY_ID and its kin to Lambda."}
	case "ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException":
		return []string{"The credentials of the environment are over, or changed: leave AWS_ACCESS_KEY_ID and its kin to Lambda.", clockOff}
	case token.CodeTimeout, token.CodeUnreachable:
		return []string{noneThere, noEntry}
	case token.CodeBadAnswer:
		return []string{"What answers is not STS: see AWS_ENDPOINT_URL_STS, and the private hosted zones of the VPC."}
	case token.CodeNoCredentials:
		return []string{"The environment has no credentials: the function has no role, or its code has removed the variables."}
	case token.CodeNoRegion:
		return []string{"AWS_REGION is not set; Lambda sets it."}
	case token.CodeTokenExpired:
		return []string{clockOff}
	default:
		return []string{noAction, noMatch, notOn, noneThere, clockOff}
	}
}
