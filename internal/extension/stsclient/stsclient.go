// Package stsclient gets tokens from STS: sts:GetWebIdentityToken, of IAM outbound
// identity federation.
//
// What it does: it asks for a token of a quarter of an hour, or of a minute where the
// role's session is shorter, and turns what can go wrong into one code.
//
// What it does not do: it keeps no token, and reads none.
//
//	c := stsclient.New("https://egress.example.internal")
//	t, err := c.Fetch(ctx)
package stsclient

import (
	"context"
	"errors"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/extension/token"
)

// The lives that are asked for. The second is the least that STS gives, for a role
// whose session ends before a token of the first would.
const (
	life      = 15 * time.Minute
	shortLife = time.Minute
)

// Client asks STS, safe for concurrent use. Make one with New.
type Client struct {
	audience string

	mu  sync.Mutex
	api *sts.Client // nil: not made yet
}

// New returns a client for tokens of an audience. It reads the environment and opens
// connections with the first Fetch only. The endpoint is that of the region, in
// AWS_REGION, or AWS_ENDPOINT_URL_STS.
func New(audience string) *Client { return &Client{audience: audience} }

// Fetch gets one token. Its errors are *token.Error.
func (c *Client) Fetch(ctx context.Context) (token.Token, error) {
	api, err := c.client(ctx)
	if err != nil {
		return token.Token{}, err
	}
	t, err := c.get(ctx, api, life)
	var short *types.SessionDurationEscalationException
	if errors.As(err, &short) {
		t, err = c.get(ctx, api, shortLife)
	}
	if err != nil {
		return token.Token{}, &token.Error{Code: code(err), Err: err}
	}
	return t, nil
}

// client makes the SDK's client once: what is wrong with the environment is told each
// time.
func (c *Client) client(ctx context.Context) (*sts.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.api != nil {
		return c.api, nil
	}
	cfg, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithHTTPClient(newSDKClient()), awsconfig.WithLogger(logging.Nop{}),
		// A function has no instance metadata: asking for it would take all the time there is.
		awsconfig.WithEC2IMDSClientEnableState(imds.ClientDisabled),
		awsconfig.WithRetryer(func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = 3, 500*time.Millisecond })
		}))
	if err != nil {
		return nil, &token.Error{Code: token.CodeNoCredentials, Err: err}
	}
	if cfg.Region == "" {
		return nil, &token.Error{Code: token.CodeNoRegion}
	}
	c.api = sts.NewFromConfig(cfg)
	return c.api, nil
}

// newSDKClient makes the client of the AWS SDK. It is of the SDK's own kind because the
// SDK puts AWS_CA_BUNDLE into no other. HTTPS_PROXY of the function names the extension
// itself, so it is not followed.
func newSDKClient() *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) { t.Proxy = nil })
}

// get asks for one token. Its life is that which was asked for at most, whatever the
// machine's clock makes of the time at which it ends.
func (c *Client) get(ctx context.Context, api *sts.Client, d time.Duration) (token.Token, error) {
	out, err := api.GetWebIdentityToken(ctx, &sts.GetWebIdentityTokenInput{
		Audience: []string{c.audience}, SigningAlgorithm: aws.String("RS256"), DurationSeconds: aws.Int32(int32(d / time.Second)),
	})
	if err != nil {
		return token.Token{}, err
	}
	if !isToken(aws.ToString(out.WebIdentityToken)) || out.Expiration == nil {
		return token.Token{}, errBadAnswer
	}
	now := time.Now()
	left := min(out.Expiration.Sub(now), d)
	return token.Token{Value: *out.WebIdentityToken, Expires: now.Add(left), Life: left}, nil
}

// errBadAnswer is an answer with status 200 that has no token.
var errBadAnswer = errors.New("the answer has no token")

// isToken reports whether s is of the form of a JWT, three parts of base64url, and not
// longer than the proxy takes: it becomes a field of a head.
func isToken(s string) bool {
	return len(s) <= 8<<10 && regexp.MustCompile(`^[\w-]+\.[\w-]+\.[\w-]+$`).MatchString(s)
}

// code returns what Error.Code is for an error of the SDK.
func code(err error) string {
	var api smithy.APIError
	var answer *smithy.DeserializationError
	var dial *net.OpError
	var dns *net.DNSError
	var status *awshttp.ResponseError
	switch {
	case errors.Is(err, errBadAnswer):
		return token.CodeBadAnswer
	case errors.Is(err, context.DeadlineExceeded):
		return token.CodeTimeout
	case errors.As(err, &api) && isCode(api.ErrorCode()):
		return api.ErrorCode()
	case errors.As(err, &dns), errors.As(err, &dial):
		return token.CodeUnreachable
	case errors.As(err, &answer), errors.As(err, &status) && status.HTTPStatusCode() != 0:
		return token.CodeBadAnswer
	case strings.Contains(err.Error(), "get identity"): // the SDK has no type for it
		return token.CodeNoCredentials
	default:
		return token.CodeUnreachable
	}
}

// isCode reports whether s can be shown as a code of AWS. What the SDK makes of an answer
// that is not AWS's is none.
func isCode(s string) bool {
	return s != "UnknownError" && regexp.MustCompile(`^[A-Za-z][A-Za-z0-9.]{0,63}$`).MatchString(s)
}
