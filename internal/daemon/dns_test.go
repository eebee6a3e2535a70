package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/config/settings"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/fair"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/lookup"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/resolve"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// What the machine lacks to ask with is no fault of the name: the client is told to try again.
func TestLookupThatTheMachineCannotMakeIsALimit(t *testing.T) {
	var limit *fair.ShareError
	if err := lookup.Error(fmt.Errorf("asking: %w", resolve.ErrLocal)); !errors.As(err, &limit) || limit.Reason != verdict.ReasonLimitTotal {
		t.Errorf("it is %v", err)
	}
	if err := lookup.Error(resolve.ErrFailed); errors.As(err, &limit) || !errors.Is(err, resolve.ErrFailed) {
		t.Errorf("another failure is %v", err)
	}
}

// A name about which the upstream keeps quiet is dns_timeout, not dns_failed,
// for both servers.
func TestSilentUpstreamIsATimeoutForBothServers(t *testing.T) {
	t.Parallel()
	quiet, err := net.ListenPacket("udp", "127.0.0.1:0") // reads nothing, so answers nothing
	if err != nil {
		t.Fatal(err)
	}
	defer quiet.Close()
	r, err := lookup.New(&config.Config{DNS: settings.DNS{Upstreams: []netip.AddrPort{netip.MustParseAddrPort(quiet.LocalAddr().String())}}}, 0, nil, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	name, err := hostname.ParseName("quiet.test")
	if err != nil {
		t.Fatal(err)
	}
	_, byProxy := lookup.With(r)(ctx, name)
	_, byFilter := exchangeWith(r.Exchange)(ctx, dns.Question{Name: "quiet.test.", Qtype: dns.TypeA, Qclass: dns.ClassINET}, false)
	for server, err := range map[string]error{"the proxy": byProxy, "the filter": byFilter} {
		var timeout interface{ Timeout() bool }
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("for %s it is %v", server, err)
		}
	}
}
