package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/daemon"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/gate"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/httphead"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// explainFlags are the flags of explain.
type explainFlags struct {
	config, function, source string
	offline                  bool
	clear                    bool // no flag: the target is a URL of plain HTTP
}

// newExplain returns the command that decides one target and says why.
func newExplain() *cobra.Command {
	var f explainFlags
	cmd := &cobra.Command{
		Use:   "explain --config FILE --function NAME [--source IP] HOST:PORT|URL",
		Short: "Decide one target as the running proxy would, and say why",
		Long: `explain decides one target as the running proxy would, step by step: the source
address, the deny list, the function's rules, and the addresses that the name
resolves to from where explain runs. A name that is refused is not looked up.
Of a URL the host and the port count, and that http:// is not TLS; nothing else of
it is read or printed.

Exit code 0: allowed (or let through by report mode); 3: refused.`,
		Example: `  proxy explain --config egress.yaml --function billing-webhook api.stripe.com:443
  proxy explain --config egress.yaml --function billing-webhook https://api.stripe.com/v1/charges
  proxy explain --config egress.yaml --function nightly-report --source 10.0.40.7 --offline example.org:443`,
		Args: oneArgument("HOST:PORT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := loadPolicy(cmd.Context(), f.config, cmd.InOrStdin())
			if err != nil {
				return failed(err)
			}
			return explain(cmd.Context(), cmd.OutOrStdout(), cfg, f, args[0])
		},
	}
	cmd.Flags().StringVar(&f.config, "config", "", "policy `FILE`, s3://bucket/key or https://host/path; - is standard input")
	cmd.Flags().StringVar(&f.function, "function", "", "`NAME` of the function that asks")
	cmd.Flags().StringVar(&f.source, "source", "", "the `IP` that it calls from")
	cmd.Flags().BoolVar(&f.offline, "offline", false, "do not look the name up; decide by the policy alone")
	for _, name := range []string{"config", "function"} {
		_ = cmd.MarkFlagRequired(name)
	}
	_ = cmd.RegisterFlagCompletionFunc("function", functionsOf("config"))
	return cmd
}

// refused ends explain with the code of a refusal.
func refused(out io.Writer, r verdict.Reason) error {
	fmt.Fprintf(out, "refused: %s\n", r)
	return &exitError{code: exitRefused}
}

// explain writes the trail and the decision.
func explain(ctx context.Context, out io.Writer, cfg *config.Config, f explainFlags, arg string) error {
	p, _, err := cfg.Compile()
	if err != nil {
		return failed(err)
	}
	if _, err := policytool.Find(f.config, cfg, f.function); err != nil {
		return failed(err)
	}
	f.clear = strings.HasPrefix(strings.ToLower(arg), "http://")
	target, err := parseTarget(arg)
	if err != nil {
		fmt.Fprintln(out, err)
		return refused(out, verdict.ReasonBadTarget)
	}
	fmt.Fprintf(out, "target: %s for %s, policy %s\n", target, f.function, p.Hash())
	if f.source != "" {
		reason, err := explainSource(out, cfg, f)
		if err != nil {
			return failed(err)
		}
		if reason != verdict.ReasonNone {
			return refused(out, reason)
		}
	}
	return explainTarget(ctx, out, cfg, f, p, target)
}

// defaultPorts are those of the schemes whose URLs explain takes.
var defaultPorts = map[string]uint16{"http": 80, "https": 443}

// parseTarget parses a host and a port, or a URL, of which nothing else counts.
func parseTarget(arg string) (hostname.Target, error) {
	scheme, rest, _ := strings.Cut(arg, "://")
	port, known := defaultPorts[strings.ToLower(scheme)]
	if !known || rest == "" {
		return hostname.ParseTarget(arg)
	}
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		rest = rest[:end]
	}
	return hostname.ParseAuthority(rest, port)
}

// explainTarget walks the decision that the running proxy would, for a caller that is
// known.
func explainTarget(ctx context.Context, out io.Writer, cfg *config.Config, f explainFlags, p *policy.Policy, target hostname.Target) error {
	anywhere := []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0)}
	caller, err := identity.New([]identity.Entry{{Function: f.function, Sources: anywhere}})
	if err != nil {
		return failed(err)
	}
	d := &gate.Decision{Policy: p, Identities: caller, Self: daemon.NewOwnAddrs(cfg).Has, Trace: func(line string) { fmt.Fprintln(out, line) }}
	d.Caller.Source = netip.IPv4Unspecified()
	front, head := requestFor(target, f.clear)
	d.Begin(front, head, time.Now())
	if walk(ctx, out, cfg, f, d); d.Reason != verdict.ReasonNone {
		return refused(out, d.Reason)
	}
	if d.Decided.Verdict == verdict.Report {
		fmt.Fprintf(out, "let through: report mode until %s; by the list alone: %s\n", d.Function.LastReportDay().Format(time.DateOnly), d.Decided.Reason)
		return nil
	}
	fmt.Fprintf(out, "allowed: %s, tls: %s\n", d.Decided.Rule, d.Decided.Rule.TLS())
	return nil
}

// requestFor returns the request that a client would send for the target.
func requestFor(t hostname.Target, clear bool) (gate.Front, *httphead.Head) {
	if clear {
		return gate.Plain, &httphead.Head{Method: http.MethodGet, Target: "http://" + t.String() + "/", Minor: 1, Hosts: []string{t.String()}}
	}
	return gate.Connect, &httphead.Head{Method: http.MethodConnect, Target: t.String(), Minor: 1}
}

// walk brings what the decision needs, up to where the proxy would act on it: nothing
// is recorded and nothing is dialed.
func walk(ctx context.Context, out io.Writer, cfg *config.Config, f explainFlags, d *gate.Decision) {
	for {
		switch d.Next() {
		case gate.Slot, gate.Recordable:
			d.Give(verdict.ReasonNone)
		case gate.Lookup:
			if f.offline {
				fmt.Fprintln(out, "addresses: not looked up")
				return
			}
			found, reason := daemon.LookupOnce(ctx, cfg, d.Target.Host.Name())
			if reason != verdict.ReasonNone {
				fmt.Fprintf(out, "addresses: looking %s up failed\n", d.Target.Host)
				d.Give(reason)
				continue
			}
			d.GiveAddresses(found.Addresses, found.Aliases)
		case gate.Content, gate.Failure, gate.Dial, gate.Open, gate.Hello, gate.Forward, gate.Tunnel, gate.Refused:
			return
		}
	}
}

// explainSource says whether the function may call from the source: by its
// credential where it has one, else by the source itself.
func explainSource(out io.Writer, cfg *config.Config, f explainFlags) (verdict.Reason, error) {
	source, err := netip.ParseAddr(f.source)
	if err != nil {
		return verdict.ReasonNone, fmt.Errorf("--source: %q is not an IP address; write one such as 10.0.12.7", f.source)
	}
	source = source.Unmap()
	entry := entryOf(cfg, f.function)
	if len(entry.Tokens)+len(entry.Certificates) > 0 {
		if len(entry.Sources) == 0 || contains(entry.Sources, source) {
			fmt.Fprintf(out, "source: %s may show the function's credential\n", source)
			return verdict.ReasonNone, nil
		}
		fmt.Fprintf(out, "source: %s lies in none of the function's sources, so its credential does not hold there\n", source)
		return verdict.ReasonIdentityRejected, nil
	}
	_, table, err := cfg.Compile()
	if err != nil {
		return verdict.ReasonNone, err
	}
	id, err := table.Identify(identity.Caller{Source: source})
	switch {
	case errors.Is(err, identity.ErrRequired):
		fmt.Fprintf(out, "source: %s lies in no function's sources\n", source)
		return verdict.ReasonIdentityRequired, nil
	case err != nil || id.Function != f.function:
		fmt.Fprintf(out, "source: %s belongs to %q, not to %q\n", source, id.Function, f.function)
		return verdict.ReasonIdentityRejected, nil
	}
	fmt.Fprintf(out, "source: %s is identified as %s\n", source, id.Function)
	return verdict.ReasonNone, nil
}

// entryOf returns how a function is identified.
func entryOf(cfg *config.Config, name string) identity.Entry {
	for _, f := range cfg.Functions {
		if f.Name == name {
			return f.Identify
		}
	}
	return identity.Entry{}
}

// contains reports whether one of the prefixes has the address.
func contains(prefixes []netip.Prefix, a netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
