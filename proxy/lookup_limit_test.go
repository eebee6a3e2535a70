package proxy_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/fair"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// A lookup says for whom it is, and one that its caller has no place for is refused as
// that, not as a failure of the resolver.
func TestALookupThatIsBeyondTheShareOfItsFunctionIsRefusedAsThat(t *testing.T) {
	o := newOrigin(t, echo)
	r := openRig(t, o, rigOptions{options: func(opt *proxy.Options) {
		opt.Lookup = func(ctx context.Context, _ hostname.Name) (proxy.Resolved, error) {
			if ctx.Err() != nil {
				return proxy.Resolved{}, ctx.Err()
			}
			if c := fair.CallerFrom(ctx); c != (fair.Caller{Function: "billing"}) {
				t.Errorf("looked up for %v", c)
			}
			return proxy.Resolved{}, fmt.Errorf("resolving: %w", &fair.ShareError{Reason: verdict.ReasonLimitFunction})
		}
	}})
	r.wantRefusal(r.ask(connectAs("billing", o.at("any.test"))), 503, "limit_function", "connection_limit_reached")
	if got := r.shed("lookups"); got != 1 {
		t.Errorf("%v counted, want 1", got)
	}
}
