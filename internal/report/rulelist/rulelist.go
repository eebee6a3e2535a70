// Package rulelist lists the rules of a policy file as a report shows them.
//
// What it does: it says of each rule in which file and line it
// stands, whose it is and what it covers.
//
// What it does not do: it does not know which rules were used; package report does.
//
//	cfg, err := config.Load("egress.yaml")
//	options.Policy = rulelist.Of("egress.yaml", cfg)
package rulelist

import (
	"fmt"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/report"
)

// Of lists the rules of a policy, which was loaded from that file.
func Of(file string, cfg *config.Config) *report.Policy {
	p := &report.Policy{File: file, Hash: cfg.Hash()}
	for _, f := range cfg.Functions {
		for i, r := range f.Allow {
			rule := report.Rule{
				Function: f.Name, Owner: f.Owner, Path: fmt.Sprintf("functions.%s.allow[%d]", f.Name, i),
				File: f.File, Line: r.Line, Pattern: covers(cfg, r),
			}
			if r.Conditions != nil {
				rule.Ticket, rule.Expires = r.Conditions.Ticket, r.Conditions.Expires
			}
			p.Rules = append(p.Rules, rule)
		}
	}
	return p
}

// covers says what a rule covers.
func covers(cfg *config.Config, r policy.RuleSpec) string {
	what := r.Pattern.String()
	switch {
	case r.Set > 0:
		set := cfg.Sets[r.Set-1]
		what = fmt.Sprintf("set %s (%d patterns)", set.Name, len(set.Patterns))
	case r.Prefix.IsValid():
		what = r.Prefix.String()
	}
	if r.Conditions == nil {
		return what
	}
	return what + " " + strings.ReplaceAll(strings.Trim(fmt.Sprint(r.Conditions.Ports), "[]"), " ", ",")
}
