// Package reach says which functions of a policy may reach a target, and by which rule.
//
// What it does: it asks package policy about the target for each function, as the running
// proxy does for the one that calls, the deny list and report mode included. Of a literal
// address it asks too whether it is permitted.
//
// What it does not do: it has no rules of its own and looks no name up, so it does not know
// the aliases and addresses of a name. Who may call as a function is not its question.
//
//	answer, err := reach.Find(reach.Query{Config: cfg, File: "egress.yaml", Target: target, Now: time.Now()})
//	err = answer.Write(os.Stdout)
package reach

import (
	"net/netip"
	"time"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/verdict"
)

// Query is what is asked.
type Query struct {
	Config *config.Config
	File   string // where Config was read from, for the places of rules
	Target hostname.Target
	Now    time.Time
	// Self reports whether an address is a listener of the proxy itself; nil: none is.
	Self func(netip.AddrPort) bool
}

// Answer is who may reach the target. Its JSON is what "proxy who" prints.
type Answer struct {
	Target    string     `json:"target"`
	File      string     `json:"file"`
	Policy    string     `json:"policy"`              // the hash
	DeniedBy  *Rule      `json:"denied_by,omitempty"` // the line of the deny list; nil: it does not have the host
	Self      bool       `json:"self,omitempty"`      // the target is the proxy, which nobody reaches through it
	Total     int        `json:"total"`               // how many functions the policy has
	Functions []Function `json:"functions"`           // those that may, by name; never nil
}

// Function is one that may reach the target.
type Function struct {
	Name    string `json:"function"`
	Owner   string `json:"owner,omitempty"`
	Verdict string `json:"verdict"` // allow, or report: its list refuses, and report mode lets through
	// Reason is why its list refuses, ReportUntil the last day on which that is let through;
	// "" where the list allows.
	Reason      string `json:"reason,omitempty"`
	ReportUntil string `json:"report_until,omitempty"`
	Rule        *Rule  `json:"rule,omitempty"` // nil: none has the host
}

// Rule is a rule of the policy and where it stands.
type Rule struct {
	Path      string         `json:"path"`           // functions.NAME.allow[0], or deny[0]
	File      string         `json:"file,omitempty"` // the included file that it stands in; "": that of the answer
	Line      int            `json:"line"`
	Covers    string         `json:"covers"` // a pattern, a range, or "set" and its name
	TLS       string         `json:"tls,omitempty"`
	Addresses []netip.Prefix `json:"addresses,omitempty"` // where the host may resolve to beside the public internet
	Expires   string         `json:"expires,omitempty"`   // the last day on which it holds
	Ticket    string         `json:"ticket,omitempty"`
}

// Find asks for every function. It does not fail on a Config that was loaded.
func Find(q Query) (*Answer, error) {
	p, _, err := q.Config.Compile()
	if err != nil {
		return nil, err
	}
	a := &Answer{Target: q.Target.String(), File: q.File, Policy: p.Hash(), Total: len(p.Functions()), Functions: []Function{}}
	addr := q.Target.Host.Addr()
	if q.Self != nil && addr.IsValid() && q.Self(netip.AddrPortFrom(addr, q.Target.Port)) {
		a.Self = true
		return a, nil
	}
	if rule, denied := p.Denies(q.Target.Host.Name()); denied {
		a.DeniedBy = &Rule{Path: rule.String(), Line: rule.Line(), Covers: q.Config.Deny[rule.Index()].Pattern.String()}
	}
	specs := map[string]*config.Function{}
	for i := range q.Config.Functions {
		specs[q.Config.Functions[i].Name] = &q.Config.Functions[i]
	}
	for _, name := range p.Functions() {
		f := p.Function(name)
		d := p.Decide(f, q.Target, q.Now)
		if d.Verdict == verdict.Deny || addr.IsValid() && !d.PermitsAddress(addr) {
			continue
		}
		found := Function{Name: name, Owner: f.Owner(), Verdict: d.Verdict.String(), Rule: ruleOf(q.Config, specs[name], d.Rule)}
		if d.Verdict == verdict.Report {
			found.Reason, found.ReportUntil = d.Reason.String(), f.LastReportDay().Format(time.DateOnly)
		}
		a.Functions = append(a.Functions, found)
	}
	return a, nil
}

// ruleOf describes a rule of a function; nil: no rule.
func ruleOf(cfg *config.Config, f *config.Function, r policy.Rule) *Rule {
	if r.IsZero() {
		return nil
	}
	spec := f.Allow[r.Index()]
	described := &Rule{Path: r.String(), File: r.File(), Line: r.Line(), Covers: spec.Pattern.String(), TLS: r.TLS().String(), Ticket: r.Ticket()}
	switch {
	case spec.Set > 0:
		described.Covers = "set " + cfg.Sets[spec.Set-1].Name
	case spec.Prefix.IsValid():
		described.Covers = spec.Prefix.String()
	}
	if spec.Conditions != nil {
		described.Addresses = spec.Conditions.Addresses
		if at := spec.Conditions.Expires; !at.IsZero() {
			described.Expires = at.AddDate(0, 0, -1).Format(time.DateOnly)
		}
	}
	return described
}
