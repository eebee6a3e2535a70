// Package rulelist lists the rules of a policy file as a report shows them.
//
// What it does: it loads the file as the program does and says of each rule where it
// stands, whose it is and what it covers.
//
// What it does not do: it does not know which rules were used; package report does.
//
//	options.Policy, err = rulelist.Load("egress.yaml")
package rulelist

import (
	"fmt"
	"strings"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/report"
)

// Load loads a policy file and lists its rules.
func Load(file string) (*report.Policy, error) {
	cfg, err := config.Load(file)
	if err != nil {
		return nil, err
	}
	p := &report.Policy{File: file, Hash: cfg.Hash()}
	for _, f := range cfg.Functions {
		for i, r := range f.Allow {
			rule := report.Rule{
				Function: f.Name, Owner: f.Owner, Path: fmt.Sprintf("functions.%s.allow[%d]", f.Name, i),
				Line: r.Line, Pattern: covers(cfg, r),
			}
			if r.Conditions != nil {
				rule.Ticket, rule.Expires = r.Conditions.Ticket, r.Conditions.Expires
			}
			p.Rules = append(p.Rules, rule)
		}
	}
	return p, nil
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
