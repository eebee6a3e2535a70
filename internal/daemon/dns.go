package daemon

import (
	"context"
	"fmt"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config/settings"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/dnsfilter"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/lookup"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/resolve"
)

// refusals maps the words of the file to those of the DNS filter.
var refusals = map[settings.Refusal]dnsfilter.Refusal{
	settings.NXDomain: dnsfilter.NXDomain,
	settings.Refused:  dnsfilter.Refused,
	settings.NoData:   dnsfilter.NoData,
}

// newFilter makes the DNS filter that the file asks for, nil where it asks for
// none. It has the policy, the resolver and the records of the proxy, and its
// decisions are counted with the proxy's.
func (p *program) newFilter() (*dnsfilter.Server, error) {
	if !p.cfg.Listen.DNS.IsValid() {
		return nil, nil
	}
	d := p.cfg.DNS
	f, err := dnsfilter.New(dnsfilter.Options{
		Policy:            p.file.Current,
		Exchange:          exchangeWith(p.resolver.Exchange),
		Audit:             p.audit,
		Count:             p.server.Count,
		Clients:           d.Clients,
		ProxyProtocolFrom: p.cfg.Listen.ProxyProtocolFrom,
		RefuseWith:        refusals[d.RefuseWith],
		RefuseUnknown:     !d.AnswerUnion,
		RecordAll:         d.RecordAll,
		Types:             d.Types,
		Names:             p.names,
		Limits:            dnsfilter.Limits{Conns: p.limits.DNSConns},
		Registerer:        p.reg,
		Logger:            p.log,
	})
	if err != nil {
		return nil, fmt.Errorf("starting the DNS filter: %w", err)
	}
	return f, nil
}

// exchangeWith makes the filter's Exchange of the resolver's. Question is the
// question of the DNS library, which both sides agree on: this package has no
// need to import it.
func exchangeWith[Question any](
	exchange func(context.Context, Question, bool) (resolve.Records, error),
) func(context.Context, Question, bool) (dnsfilter.Records, error) {
	return func(ctx context.Context, q Question, dnssec bool) (dnsfilter.Records, error) {
		r, err := exchange(ctx, q, dnssec)
		if err != nil {
			return dnsfilter.Records{}, lookup.Error(err)
		}
		return dnsfilter.Records{Answer: r.Answer, Authority: r.Authority, Rcode: r.Rcode, TTL: r.TTL, Stale: r.Stale}, nil
	}
}

// serveDNS answers questions until the filter is shut down.
func (p *program) serveDNS(socks *dnsfilter.Sockets) error {
	if err := p.filter.Serve(socks); err != nil {
		return fmt.Errorf("serving listen.dns: %w", err)
	}
	return nil
}
