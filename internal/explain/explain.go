// Package explain decides one target as the running proxy would, and says why.
//
// What it does: it walks the steps of package gate for a function of a policy and a
// target that somebody asks about, and writes what each step has found, a line each,
// and the decision last. Whether the function may call from a source is a step before
// them, where a source is given.
//
// What it does not do: it has no rules of its own, dials nothing and records nothing.
// It looks a name up only by Query.Lookup, and only after the rules have allowed it.
//
//	q := &explain.Query{Config: cfg, File: "egress.yaml", Function: "billing", Target: "api.example.com:443"}
//	reason, err := q.Run(ctx, os.Stdout)
package explain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/gate"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/httphead"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policytool"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// Query is what is asked about one target.
type Query struct {
	Config   *config.Config
	File     string // where Config was read from, for the error about a function that it has not
	Function string // "": the one that Principal maps to
	// Principal is the ARN that a verified token of AWS would name; "": nobody asks about one.
	Principal string
	Source    string // the address that the function calls from; "": any that it may
	Target    string // HOST:PORT, or a URL of http or https

	// Lookup looks a name up as the running proxy would: its addresses and aliases, or
	// the reason why there are none. nil: names are not looked up, and the policy alone
	// decides.
	Lookup func(ctx context.Context, name hostname.Name) ([]netip.Addr, []string, verdict.Reason)
	// Self reports whether an address is a listener of the proxy itself; nil: none is.
	Self func(netip.AddrPort) bool
}

// Run writes the steps and the decision to out. It returns ReasonNone where the target
// is allowed or let through by report mode, else the reason of the refusal; an error is
// about the query, and nothing is decided.
func (q *Query) Run(ctx context.Context, out io.Writer) (verdict.Reason, error) {
	p, _, err := q.Config.Compile()
	if err != nil {
		return verdict.ReasonNone, err
	}
	var mapped string
	if q.Principal != "" {
		if mapped, err = q.mapPrincipal(); err != nil {
			return verdict.ReasonNone, err
		}
		if q.Function == "" {
			fmt.Fprintf(out, "principal: %s\n", mapped)
			return refused(out, verdict.ReasonIdentityRejected), nil
		}
	}
	if _, err := policytool.Find(q.File, q.Config, q.Function); err != nil {
		return verdict.ReasonNone, err
	}
	target, err := parseTarget(q.Target)
	if err != nil {
		fmt.Fprintln(out, err)
		return refused(out, verdict.ReasonBadTarget), nil
	}
	fmt.Fprintf(out, "target: %s for %s, policy %s\n", target, q.Function, p.Hash())
	if mapped != "" {
		fmt.Fprintf(out, "principal: %s\n", mapped)
	}
	if q.Source != "" {
		reason, err := q.callsFrom(out)
		if err != nil {
			return verdict.ReasonNone, err
		}
		if reason != verdict.ReasonNone {
			return refused(out, reason), nil
		}
	}
	return q.decide(ctx, out, p, target)
}

// refused writes the last line of a refusal.
func refused(out io.Writer, r verdict.Reason) verdict.Reason {
	fmt.Fprintf(out, "refused: %s\n", r)
	return r
}

// defaultPorts are those of the schemes whose URLs a target may be.
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

// decide walks the decision that the running proxy would, for a caller that is known.
func (q *Query) decide(ctx context.Context, out io.Writer, p *policy.Policy, target hostname.Target) (verdict.Reason, error) {
	anywhere := []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0)}
	caller, err := identity.New([]identity.Entry{{Function: q.Function, Sources: anywhere}})
	if err != nil {
		return verdict.ReasonNone, err
	}
	d := &gate.Decision{Policy: p, Identities: caller, Self: q.Self, Trace: func(line string) { fmt.Fprintln(out, line) }}
	d.Caller.Source = netip.IPv4Unspecified()
	front, head := requestFor(target, strings.HasPrefix(strings.ToLower(q.Target), "http://"))
	d.Begin(front, head, time.Now())
	if q.walk(ctx, out, d); d.Reason != verdict.ReasonNone {
		return refused(out, d.Reason), nil
	}
	if d.Decided.Verdict == verdict.Report {
		fmt.Fprintf(out, "let through: report mode until %s; by the list alone: %s\n", d.Function.LastReportDay().Format(time.DateOnly), d.Decided.Reason)
		return verdict.ReasonNone, nil
	}
	fmt.Fprintf(out, "allowed: %s, tls: %s\n", d.Decided.Rule, d.Decided.Rule.TLS())
	return verdict.ReasonNone, nil
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
func (q *Query) walk(ctx context.Context, out io.Writer, d *gate.Decision) {
	for {
		switch d.Next() {
		case gate.Slot, gate.Recordable:
			d.Give(verdict.ReasonNone)
		case gate.Names:
			d.GiveNames(true) // how many there were, the running proxy alone knows
		case gate.Lookup:
			if q.Lookup == nil {
				fmt.Fprintln(out, "addresses: not looked up")
				return
			}
			addresses, aliases, reason := q.Lookup(ctx, d.Target.Host.Name())
			if reason != verdict.ReasonNone {
				fmt.Fprintf(out, "addresses: looking %s up failed\n", d.Target.Host)
				d.Give(reason)
				continue
			}
			d.GiveAddresses(addresses, aliases)
		case gate.Token, gate.Failure, gate.Dial, gate.Open, gate.Hello, gate.Forward, gate.Tunnel, gate.Refused,
			gate.Records, gate.Record, gate.Answer: // of a DNS question alone
			return
		}
	}
}

// callsFrom says whether the function may call from the source: by its
// credential where it has one, else by the source itself.
func (q *Query) callsFrom(out io.Writer) (verdict.Reason, error) {
	source, err := netip.ParseAddr(q.Source)
	if err != nil {
		return verdict.ReasonNone, fmt.Errorf("--source: %q is not an IP address; write one such as 10.0.12.7", q.Source)
	}
	source = source.Unmap()
	entry := entryOf(q.Config, q.Function)
	if len(entry.Tokens)+len(entry.Certificates)+len(entry.AWS) > 0 {
		if len(entry.Sources) == 0 || contains(entry.Sources, source) {
			fmt.Fprintf(out, "source: %s may show the function's credential\n", source)
			return verdict.ReasonNone, nil
		}
		fmt.Fprintf(out, "source: %s lies in none of the function's sources, so its credential does not hold there\n", source)
		return verdict.ReasonIdentityRejected, nil
	}
	_, table, err := q.Config.Compile()
	if err != nil {
		return verdict.ReasonNone, err
	}
	id, err := table.Identify(identity.Caller{Source: source})
	switch {
	case errors.Is(err, identity.ErrRequired):
		fmt.Fprintf(out, "source: %s lies in no function's sources\n", source)
		return verdict.ReasonIdentityRequired, nil
	case err != nil || id.Function != q.Function:
		fmt.Fprintf(out, "source: %s belongs to %q, not to %q\n", source, id.Function, q.Function)
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
