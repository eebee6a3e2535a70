package proxy_test

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/proxy"
)

// A client that goes away ends what is looked up or dialed for it, by either driver: the
// times of both are an hour here. It is no failure of the host.
func TestClientThatGoesAwayEndsItsLookupAndItsDial(t *testing.T) {
	t.Parallel()
	silent, _ := deafListener(t)
	ends := make(chan struct{}, 1)
	r := newRig(t, rigOptions{
		limits: proxy.Limits{DialTimeout: time.Hour},
		functions: []function{{name: "billing", rules: []rule{
			{host: "*.test", ports: []uint16{silent}, any: true, addresses: loopback},
		}}},
		options: func(opt *proxy.Options) {
			next := opt.Lookup
			opt.Lookup = func(ctx context.Context, name hostname.Name) (proxy.Resolved, error) {
				if name.String() != "mute.test" || ctx.Err() != nil {
					return next(ctx, name)
				}
				<-ctx.Done()
				select {
				case ends <- struct{}{}:
				default:
				}
				return proxy.Resolved{}, ctx.Err()
			}
		},
	})
	r.resolves("silent.test", "127.0.0.1")
	for _, row := range []struct{ host, reason string }{{"mute.test", "dns_timeout"}, {"silent.test", "dial_timeout"}} {
		for _, how := range []string{"FIN", "reset"} {
			before := len(r.of("refused"))
			c, _ := r.send(connectAs("billing", fmt.Sprintf("%s:%d", row.host, silent)))
			eventually(t, "the request under way", func() bool { return r.server.Open() == 1 })
			leave(t, c, how)
			eventually(t, row.host+", "+how+": its end", func() bool { return r.server.Open() == 0 && len(r.of("refused")) == before+1 })
			if got := r.of("refused")[before]["reason"]; got != row.reason {
				t.Errorf("%s, %s: refused as %v, want %s", row.host, how, got, row.reason)
			}
		}
	}
	if len(ends) != 1 {
		t.Error("the lookup has not been ended")
	}
}

// leave closes a connection.
func leave(t *testing.T, c net.Conn, how string) {
	t.Helper()
	if how == "reset" {
		if err := c.(*net.TCPConn).SetLinger(0); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}
