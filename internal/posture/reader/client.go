//go:build aws

package reader

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go/logging"
)

// attempts is how often a call is tried: AWS throttles whoever reads hundreds of functions.
const attempts = 10

// Config returns what the SDK's default chain says: environment, files, the role of a task
// or an instance. A region has to be in it, and is us-east-1 where none is.
func Config(ctx context.Context) (aws.Config, error) {
	// The SDK logs text of its own to standard error unless it is told not to.
	cfg, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithHTTPClient(newSDKClient()), awsconfig.WithLogger(logging.Nop{}),
		awsconfig.WithRetryer(func() aws.Retryer { return retryer(20 * time.Second) }))
	if err != nil {
		return aws.Config{}, fmt.Errorf("configuring the AWS SDK: %w", err)
	}
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	return cfg, nil
}

// newSDKClient makes the client of the SDK. It goes where the SDK's variables say, and
// takes a proxy from the environment no more than the gate does. What makes many calls at
// once keeps their connections.
func newSDKClient() *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.Proxy = nil
		t.MaxIdleConnsPerHost = 2 * workers
	})
}

// retryer tries again what is throttled or has failed on the way, at intervals that grow
// up to longest and have chance in them.
func retryer(longest time.Duration) aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = attempts
		o.MaxBackoff = longest
		o.RateLimiter = unlimited{}
	})
}

// unlimited lets each call have its attempts. The SDK's own quota is shared by all calls
// of a client, and would be used up by the first few hundred that are throttled.
type unlimited struct{}

// GetToken always has one.
func (unlimited) GetToken(context.Context, uint) (func() error, error) {
	return func() error { return nil }, nil
}

// AddTokens has nothing to add to.
func (unlimited) AddTokens(uint) error { return nil }
