package convert

import (
	"fmt"
	"net/netip"
	"path/filepath"

	"github.com/lambda-egress-proxy/lambda-egress-proxy/config"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/hostname"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/identity"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/policy"
	"github.com/lambda-egress-proxy/lambda-egress-proxy/internal/yamlread"
)

// Extracted is what one function of a policy may reach, for another program. What that program
// cannot say is a problem of it.
type Extracted struct {
	Policy string // as problems call its file
	At     yamlread.Position
	Key    string // functions.billing
	Name   string
	Caller identity.Entry
	Deny   []hostname.Pattern // of the whole policy
	Rules  []ExtractedRule

	problems []yamlread.Problem
}

// ExtractedRule is a rule of the function and its place. A rule of a set is one for each pattern.
type ExtractedRule struct {
	At         yamlread.Position
	Key        string           // functions.billing.allow[2]
	Pattern    hostname.Pattern // zero: a rule for addresses
	Prefix     netip.Prefix     // zero: a rule for names
	Conditions *policy.Conditions
}

// Extract returns what a function of a policy may reach; file is what problems call the
// policy. Report mode, and rules that end on a day, are problems: no other program has them.
func Extract(cfg *config.Config, file, function string) *Extracted {
	e := &Extracted{Policy: file, At: yamlread.Position{File: file, Line: 1}, Key: "functions", Name: function}
	for i := range cfg.Functions {
		if f := &cfg.Functions[i]; f.Name == function {
			e.function(cfg, f)
			return e
		}
	}
	e.Refuse(e.At, e.Key, "there is no function %s; give one that the policy has with --function", yamlread.Quote(function))
	return e
}

// Refuse notes what cannot be said.
func (e *Extracted) Refuse(at yamlread.Position, key, format string, args ...any) {
	e.problems = append(e.problems, yamlread.Problem{Position: at, Key: key, Text: fmt.Sprintf(format, args...)})
}

// Errors returns the problems of some functions as a *yamlread.Error, or nil where there are none.
func Errors(functions ...*Extracted) error {
	var all []yamlread.Problem
	for _, e := range functions {
		all = append(all, e.problems...)
	}
	if len(all) == 0 {
		return nil
	}
	return &yamlread.Error{Problems: all}
}

// function fills in what is known of the function.
func (e *Extracted) function(cfg *config.Config, f *config.Function) {
	e.Key, e.Caller, e.At.Line = "functions."+f.Name, f.Identify, f.Line
	if f.File != "" {
		e.At.File = f.File
		if !filepath.IsAbs(f.File) {
			e.At.File = filepath.Join(filepath.Dir(e.Policy), f.File)
		}
	}
	for _, d := range cfg.Deny {
		e.Deny = append(e.Deny, d.Pattern)
	}
	if !f.ReportUntil.IsZero() {
		e.Refuse(e.At, e.Key+".mode", "report mode lets through what no rule has, until a day; enforce the function first")
	}
	for i, spec := range f.Allow {
		r := ExtractedRule{yamlread.Position{File: e.At.File, Line: spec.Line}, fmt.Sprintf("%s.allow[%d]", e.Key, i), spec.Pattern, spec.Prefix, spec.Conditions}
		if !r.Conditions.Expires.IsZero() {
			e.Refuse(r.At, r.Key, "the rule ends on a day, which only a policy says; convert without it")
		}
		if spec.Set == 0 {
			e.Rules = append(e.Rules, r)
			continue
		}
		for _, r.Pattern = range cfg.Sets[spec.Set-1].Patterns {
			e.Rules = append(e.Rules, r)
		}
	}
}
